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

# gevent has no wheel for every machine (a new Python, a rare processor or libc), and its source wants a compiler.
# Where MAY_LACK_FIBERS is set, the environment is made without it then, for all else runs without it.
install_locks() {
    local locks=() lock problem rest
    for lock in "$@"; do locks+=(-r "$lock"); done
    # Most of what is installed is never imported here, and what is gets compiled then.
    [ -n "${MAY_LACK_FIBERS:-}" ] || { pip install -qq --no-compile "${locks[@]}"; return; }
    problem=$(pip install -qq --no-compile "${locks[@]}" 2>&1) && return
    rest=$(mktemp)
    grep -hvE '^(gevent|greenlet|zope-)' "$@" >"$rest"
    if pip install -qq --no-compile -r "$rest" 2>/dev/null; then
        rm -f "$rest"
        echo "gevent could not be installed, so the engine \"fibers\" is missing from $folder; all else is there." \
            "(With a compiler it can: Debian: apt-get install gcc python3-dev, and then \"make clean run\".)" >&2
        return
    fi
    rm -f "$rest"
    printf '%s\n' "$problem" >&2
    return 1
}

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
install_locks "$@"
# One after the other, where several environments are made at once: each builds in this tree.
exec 9<pyproject.toml
flock 9
pip install -qq --no-deps --no-build-isolation -e '.[all]'
