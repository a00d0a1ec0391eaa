#!/usr/bin/env bash
# Resolve requirements/*.in into *.txt with the interpreter given: "lock.sh PYTHON".
set -eu

[ -x "${1:-}" ] || { echo "make lock needs Python 3.11, and this machine has none" >&2; exit 1; }

"$1" -m venv --clear .venv-lock
.venv-lock/bin/python -m pip install -qq pip-tools
cd requirements
for name in run test editors browser libraries bench fuzz; do
    # The locks name versions only: where packages come from is each machine's own setting.
    ../.venv-lock/bin/pip-compile -q --upgrade --allow-unsafe --strip-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
        "$name.in" --output-file "$name.txt"
done
