#!/usr/bin/env bash
# Install the Debian packages that the tests need and the machine lacks; the arguments are interpreters under test.
#
# Without root the missing ones are named. Under CI that is a failure, because nothing is left out there in silence.
set -u

has_tests() {
    "$1" -I -c 'from importlib.util import find_spec
raise SystemExit(find_spec("test") is None or find_spec("test.test_socketserver") is None)' 2>/dev/null
}

# What the compiled half of the fiber engine is built with.
has_headers() {
    "$1" -I -c 'from pathlib import Path; from sysconfig import get_path
raise SystemExit(not (Path(get_path("include")) / "Python.h").exists())'
}

missing() {
    command -v nc >/dev/null || echo netcat-openbsd
    command -v telnet >/dev/null || echo telnet
    command -v haproxy /usr/sbin/haproxy >/dev/null || echo haproxy
    command -v systemd-socket-activate >/dev/null || echo systemd
    # A browser for the page, and a checker of types for what it runs there.
    command -v chromium >/dev/null || echo chromium
    command -v tsc >/dev/null || echo node-typescript
    command -v cc gcc clang >/dev/null || echo gcc libc6-dev
    for python in "$@"; do
        version=$("$python" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        has_tests "$python" || echo "libpython$version-testsuite"
        has_headers "$python" || echo "libpython$version-dev"
    done
}

install() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

packages=$(missing "$@")
[ -z "$packages" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing" $packages >&2
    install $packages
    packages=$(missing "$@")
    [ -z "$packages" ] && exit 0
fi
echo "the tests also need: sudo apt-get install" $packages >&2
[ "${CI:-}" != true ]
