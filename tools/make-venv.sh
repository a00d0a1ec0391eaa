#!/usr/bin/env bash
# Make or refresh a virtual environment with this package in it: "make-venv.sh FOLDER PYTHON LOCK...".
#
# Nothing is resolved here: the locks name every version, the build back-end's included.
set -eu

folder=$1 python=$2
shift 2

make_folder() {
    [ -x "$python" ] || { echo "cannot set up $folder: there is no interpreter at '$python'" >&2; exit 1; }
    "$python" -m venv --clear "$folder" >/dev/null 2>&1 && return
    # Debian without python3-venv has no ensurepip; the pip that is there can install into a venv without one.
    "$python" -m venv --clear --without-pip "$folder"
}

pip() {
    if "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
        "$folder/bin/python" -m pip "$@"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip --python "$folder/bin/python" "$@"
    else
        echo "cannot set up $folder: $python has no pip (Debian: apt-get install python3-pip)" >&2
        return 1
    fi
}

"$folder/bin/python" -c "" 2>/dev/null || make_folder
echo "setting up $folder ($("$folder/bin/python" -V))" >&2

locks=()
for lock in "$@"; do locks+=(-r "$lock"); done
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# Most of what is installed is never imported here, and what is gets compiled then.
pip install -qq --no-compile "${locks[@]}"
pip install -qq --no-deps --no-build-isolation -e '.[all]'
