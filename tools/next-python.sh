#!/usr/bin/env bash
# Bring a CPython that this Debian does not have yet: "next-python.sh 3.14" prints the path of its interpreter.
#
# It comes from Debian testing, in half a minute. Nothing is installed, and root is not needed: the packages are
# unpacked into a folder of the user's, together with the C library that they were built for. Of that one the
# interpreter is linked anew, by path; what it starts runs with the machine's.
set -eu

version=$1
home=${XDG_CACHE_HOME:-$HOME/.cache}/manyhands/python-$version
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

works() { "$1" -I -c 'import ctypes, sqlite3, ssl, pip, test.test_socketserver' 2>/dev/null; }

fail() {
    echo "cannot bring Python $version: $1" >&2
    exit 1
}

# apt with lists and packages of its own. It must never install anything here, whatever it is asked, so it has no dpkg.
apt() { APT_CONFIG=$work/apt.conf apt-get -qq -y "$@"; }

write_apt_conf() {
    mkdir -p "$work"/{lists,archives}/partial
    touch "$work/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror testing main" >"$work/sources.list"
    cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$work";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work";
Dir::Cache::Archives "$work/archives";
Dir::Bin::DPkg "/bin/false";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Debug::NoLocking "true";
CONF
}

download() {
    apt update &&
        apt install --download-only "python$version" "libpython$version-dev" "libpython$version-testsuite" python3-pip-whl
}

# The headers lead to the machine's own folder for its processor. (So do the paths within Debian's packages, but
# Python goes by the place of its executable.)
settle_headers() {
    cp "$work/root"/usr/include/*/"python$version/pyconfig.h" "$work/root/usr/include/python$version/"
}

link_interpreter() {
    local libraries loader source='int Py_BytesMain(int, char **); int main(int n, char **v) { return Py_BytesMain(n, v); }'
    libraries=$(dirname "$work/root"/usr/lib/*/libc.so.6)
    loader=$(basename "$libraries"/ld-linux*.so.*)
    rm "$work/root/usr/bin/python$version"
    # As it will be once it has been moved. An rpath of the old kind, which concerns what Python loads later too.
    libraries=$home${libraries#"$work/root"}
    echo "$source" | cc -x c -o "$work/root/usr/bin/python$version" - -x none \
        "$work/root${libraries#"$home"}/libpython$version.so.1.0" -Wl,--allow-shlib-undefined \
        -Wl,--disable-new-dtags,-rpath="$libraries" -Wl,--dynamic-linker="$libraries/$loader"
}

add_pip() {
    local wheel
    mkdir -p "$home/usr/lib/python3/dist-packages"
    wheel=$(echo "$home"/usr/share/python-wheels/pip-*.whl)
    "$home/usr/bin/python$version" -I -m zipfile -e "$wheel" "$home/usr/lib/python3/dist-packages"
}

mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9 # another clone may be at it
works "$home/usr/bin/python$version" && echo "$home/usr/bin/python$version" && exit
for tool in apt-get dpkg-deb cc; do
    command -v $tool >/dev/null || fail "$tool is needed for that, and this machine has none"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
write_apt_conf
echo "bringing Python $version from Debian testing" >&2
download >&2 || fail "Debian's packages could not be downloaded from $mirror"
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
settle_headers
link_interpreter >&2 || fail "its interpreter could not be linked"
rm -rf "$home"
mv "$work/root" "$home"
add_pip
works "$home/usr/bin/python$version" || fail "the one in $home does not run here"
echo "$home/usr/bin/python$version"
