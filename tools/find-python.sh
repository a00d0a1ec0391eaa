#!/usr/bin/env bash
# Print the path of a CPython that really runs: "find-python.sh 3.12", or the newest usable one without argument.
#
# Every candidate is run, because a pyenv shim exists on the PATH even with no version behind it. One that carries
# CPython's own tests (the package `test`) comes before one that does not.
set -u

wanted=${1:-}

candidates() {
    type -ap "python$1" python3 python
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/"python$1" \
        "$HOME"/.local/share/uv/python/*/bin/"python$1" \
        /usr/local/bin/"python$1" /usr/bin/"python$1" 2>/dev/null | sort -Vr
    # What next-python.sh has brought, for one who asks for that version.
    [ -z "$wanted" ] || ls "${XDG_CACHE_HOME:-$HOME/.cache}/manyhands/python-$1/usr/bin/python$1" 2>/dev/null
}

# The real file behind a candidate: what a shim or a virtual environment leads to may change tomorrow.
resolve() {
    "$2" -I -c 'import sys
if sys.implementation.name == "cpython" and "%d.%d" % sys.version_info[:2] == sys.argv[1]:
    print(sys._base_executable)' "$1" 2>/dev/null
}

has_tests() {
    "$1" -I -c 'from importlib.util import find_spec
raise SystemExit(find_spec("test") is None or find_spec("test.test_socketserver") is None)' 2>/dev/null
}

find_version() {
    local candidate first=""
    while read -r candidate; do
        candidate=$(resolve "$1" "$candidate")
        [ -n "$candidate" ] || continue
        has_tests "$candidate" && echo "$candidate" && return
        first=${first:-$candidate}
    done < <(candidates "$1")
    [ -n "$first" ] && echo "$first"
}

for version in ${wanted:-3.14 3.13 3.12 3.11}; do
    find_version "$version" && exit 0
done
[ $# -gt 0 ] && exit 1

python3 -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && type -p python3 && exit 0
echo "manyhands needs Python 3.11 or newer, and this machine has none (Debian: apt-get install python3 python3-pip)" >&2
exit 1
