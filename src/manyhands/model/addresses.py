"""Where a server listens and where a client calls: `tcp://127.0.0.1:8008`, `unix:///run/x.sock`, `fd://3`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Any

from manyhands.model.address_queries import READERS, NotSo, read_query, write_query
from manyhands.model.usage_errors import Mistake

LONGEST_PATH = 107
"""Bytes: `sun_path` holds 108 on Linux, and a path needs a closing NUL (unix(7))."""

_STREAMS = frozenset({"tcp", "tls", "unix"})

_TLS = frozenset({"tls", "tls+fd", "tls+systemd"})

HIGHEST_PORT = 65_535
"""A port is 16 bits wide (RFC 9293, section 3.1; RFC 768)."""

HIGHEST_ZONE = 2**32 - 1
"""`sin6_scope_id` is 32 bits wide (ipv6(7))."""

HIGHEST_DESCRIPTOR = 2**31 - 1
"""A descriptor is a C int."""

LONGEST_SOCKET_NAME = 255
"""Characters of a name that systemd gives to a socket (`FileDescriptorName=` in systemd.socket(5))."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address, as `parse` reads it; `str(address)` is its canonical text.

    Immutable and hashable, so safe to share between threads.

    Attributes
    ----------
    scheme : str
        `tcp`, `tls`, `udp`, `unix` or `unix-datagram`; of sockets that are given `fd` or `systemd`, and
        `tls+fd` or `tls+systemd` where TLS is to be spoken on them.
    host : str
        A name or an IP address without brackets; ``""`` means every interface of both families.
        Always ``""`` for the Unix schemes.
    port : int
        0 to 65535, where 0 lets the kernel choose; 0 for the Unix schemes.
    path : str
        The path of a Unix socket, relative ones to the current folder; `@name` is a name in
        Linux's abstract namespace. ``""`` for all others.
    descriptor : int
        The number of an open socket's descriptor, for `fd` and `tls+fd`; -1 for all others.
    name : str
        The name that systemd gave to its sockets, for `systemd` and `tls+systemd`, where ``""`` means
        all of them; ``""`` for all others.
    mode : int or None
        The permissions of a Unix socket's file, such as ``0o660``; None leaves them to the umask.
    owner, group : str
        The user and the group that the file of a Unix socket belongs to, by name or by number; ``""``
        leaves them as they come.
    interface : str
        The interface on which the group of a multicast address is joined; ``""`` leaves it to the kernel.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    descriptor: int = -1
    name: str = ""
    mode: int | None = None
    owner: str = ""
    group: str = ""
    interface: str = ""

    @property
    def is_stream(self) -> bool:
        """Whether it is for connections, and not for datagrams; of a given socket only the socket tells."""
        return self.scheme in _STREAMS

    @property
    def is_given(self) -> bool:
        """Whether it stands for sockets that are bound already, and are given to this process."""
        return self.descriptor >= 0 or self.scheme.endswith("systemd")

    @property
    def is_tls(self) -> bool:
        """Whether connections begin with a TLS handshake."""
        return self.scheme in _TLS

    def __str__(self) -> str:
        if self.descriptor >= 0:
            return f"{self.scheme}://{self.descriptor}"
        if self.is_given:
            return f"{self.scheme}://{self.name}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{self.path or f'{host}:{self.port}'}{write_query(self._setup)}"

    @property
    def _setup(self) -> dict[str, Any]:
        """What its query says, by key."""
        values = {key: getattr(self, key) for key in READERS.get(self.scheme, ())}
        return {key: value for key, value in values.items() if value not in {None, ""}}


def parse(text: str, default_scheme: str = "tcp") -> Address:
    """Read an address.

    Parameters
    ----------
    text : str
        `tcp://HOST:PORT`, `tls://HOST:PORT`, `udp://HOST:PORT`, `unix://PATH` or
        `unix-datagram://PATH`; of sockets that are given `fd://NUMBER`, `systemd://NAME` or `systemd://`
        (all of them), with `tls+` before it for TLS. HOST is a name, an IPv4 address, an IPv6
        address in brackets (with a zone where it needs one: `[fe80::1%eth0]`), or nothing or `*` for
        every interface.
        A Unix path may be followed by the mode, the owner and the group of its file
        (`unix:///run/x.sock?mode=660&owner=www&group=www`), and the group of a multicast address by the
        interface on which to join it (`udp://239.1.2.3:5000?interface=eth0`).
        Without a scheme also a mere `PORT`.
    default_scheme : str
        The scheme of a text that names none.

    Returns
    -------
    Address
        Its `str()` parses back to the same address.

    Raises
    ------
    Mistake
        The text is no address; the sentence quotes it and says what would be right.
    """
    try:
        scheme, rest, query = _split_scheme(text, default_scheme)
        address = SCHEMES[scheme](scheme, rest)
        return address if query is None else _set_up(address, query)
    except NotSo as reason:
        raise Mistake(f"{text!r} is not an address: {reason}") from None


def address_of(given: object) -> Address:
    """Read an address as programs give it: an `Address`, its text, or what a TCP socket is bound to.

    Raises
    ------
    Mistake
        It is none of these.
    """
    if isinstance(given, Address):
        return given
    if isinstance(given, str):
        return parse(given)
    try:
        return _of_tuple(given)
    except NotSo as reason:
        raise Mistake(f"{_shown(given)} is not an address: {reason}") from None


def _of_tuple(given: object) -> Address:
    match given if isinstance(given, tuple) else None:
        # Of IPv6 the kernel has two numbers more (ipv6(7)); the second is the zone.
        case (str(host), int(port)) | (str(host), int(port), int(), 0):
            zone = ""
        case (str(host), int(port), int(), int(scope)) if 0 < scope <= HIGHEST_ZONE:
            zone = f"%{scope}"
        case (_, _) | (_, _, _, _):
            raise NotSo("the host must be a text and the port a number, as in ('127.0.0.1', 8008)")
        case _:
            raise NotSo("it must be a text, such as tcp://127.0.0.1:8008, or a pair (host, port)")
    # True is an int too, and no port.
    if isinstance(port, bool) or not 0 <= port <= HIGHEST_PORT:
        raise NotSo(f"the port must be from 0 to {HIGHEST_PORT}")
    host = host.removeprefix("[").removesuffix("]")
    return _internet("tcp", f"[{host}{zone}]:{port}" if ":" in host else f"{host}:{port}")


def _shown(given: object) -> str:
    try:
        shown = repr(given)
    except ValueError:  # a number of thousands of digits
        return "such a number"
    return shown if len(shown) <= 2 * LONGEST_PATH else f"{shown[:LONGEST_PATH]}..."


def _set_up(address: Address, query: str) -> Address:
    values = read_query(address.scheme, query)
    if address.path.startswith("@"):
        raise NotSo("an abstract name has no file, and so no mode, owner or group")
    if "interface" in values and not _is_group(address.host):
        raise NotSo(
            "an interface is for the group of a multicast address, as in udp://239.1.2.3:5000?interface=eth0"
        )
    if "%" in address.host:
        raise NotSo("it names the interface twice, as zone and in the query")
    return replace(address, **values)


def _is_group(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_multicast
    except ValueError:
        return False


_SECURED = "TLS over TCP is tls://"

_OTHER_SCHEMES = {
    "http": "HTTP is spoken over tcp://",
    "https": "HTTPS is spoken over tls://",
    "ssl": _SECURED,
    "tcps": _SECURED,
    "tcp+tls": _SECURED,
    "tls+tcp": _SECURED,
    "file": "a Unix socket is unix://PATH",
    "unixgram": "datagrams on a Unix socket are unix-datagram://PATH",
}
"""Schemes as other programs have them, and what is right here."""


def _split_scheme(text: str, default_scheme: str) -> tuple[str, str, str | None]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = default_scheme, _without_scheme(text)
        # A mere port. (`isdecimal` alone would take the digits of other scripts too.)
        if rest.isascii() and rest.isdecimal() and SCHEMES.get(scheme) is _internet:
            rest = f":{rest}"
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        meant = _OTHER_SCHEMES.get(scheme)
        hint = f"; {meant}" if meant else ""
        raise NotSo(f"the schemes are {', '.join(SCHEMES)}{hint}")
    # It means nothing here, so it would silently become a part of the host or the path.
    if "#" in rest:
        raise NotSo("it cannot have a fragment ('#' and what follows)")
    rest, mark, query = rest.partition("?")
    if mark and scheme not in READERS:
        raise NotSo("it cannot have a query ('?' and what follows)")
    return scheme, rest, query if mark else None


def _without_scheme(text: str) -> str:
    start, colon, _ = text.partition(":")
    if colon and start.lower() in SCHEMES:
        raise NotSo(f"two slashes follow the scheme, as in {start.lower()}://")
    return text


def _internet(scheme: str, rest: str) -> Address:
    if rest != "".join(rest.split()):
        raise NotSo(f"it cannot have spaces, as in {scheme}://127.0.0.1:8008")
    host, port = _split_port(scheme, rest)
    return Address(scheme, _host(host), _port(port))


def _split_port(scheme: str, rest: str) -> tuple[str, str]:
    before, slash, _ = rest.partition("/")
    if slash and before.rpartition(":")[2].isdecimal():
        raise NotSo(f"nothing can follow the port, as in {scheme}://{before}")
    if slash:
        raise NotSo("it has a '/' where HOST:PORT belongs; the path of a socket is unix://PATH")
    # The last colon: an IPv6 address has others.
    host, colon, port = rest.rpartition(":")
    if rest.endswith("]") or not colon:
        sketch = f":{rest}" if rest.isdecimal() else f"{rest or '127.0.0.1'}:8008"
        raise NotSo(f"the port is missing, as in {scheme}://{sketch}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise NotSo(f"an IPv6 address needs brackets, as in {scheme}://[::1]:8008")
    return host, port


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise NotSo(f"the port must be a number from 0 to {HIGHEST_PORT}, not {text!r}")
    # int() refuses thousands of digits with an error of its own (CVE-2020-10735).
    port = int(text) if len(text) < 100 else HIGHEST_PORT + 1
    if port > HIGHEST_PORT:
        raise NotSo(f"the port must be from 0 to {HIGHEST_PORT}")
    return port


def _host(text: str) -> str:
    if text in {"", "*"}:
        return ""
    if text.startswith("["):
        return _ipv6(text[1:-1])
    # `getaddrinfo` would read 127.1 as 127.0.0.1, and 010 as 8 (inet_aton(3)): it must be a whole address.
    if text.replace(".", "").isdecimal():
        return _ipv4(text)
    return _name(text)


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise NotSo(f"{text!r} is not an IPv6 address") from None


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise NotSo(f"{text!r} is not an IPv4 address (four numbers from 0 to 255)") from None


def _name(text: str) -> str:
    # Names of hosts have no underscore (RFC 952), but names of containers do, and resolvers take it.
    plain = text.replace(".", "").replace("-", "").replace("_", "")
    try:
        # getaddrinfo encodes names the same way; an empty or overlong label fails here, not there.
        text.encode("idna")
    except UnicodeError:
        plain = ""
    if not plain.isalnum():
        raise NotSo(f"{text!r} is not the name of a host")
    return text.lower() if text.isascii() else text


def _unix(scheme: str, rest: str) -> Address:
    if rest in {"", "@"}:
        raise NotSo(f"the path is empty, as in {scheme}:///run/x.sock")
    # Such a path is a slip of quoting, as a rule, and its file is hard to remove by hand.
    if rest != rest.strip() or not all(map(str.isprintable, _decodable(rest))):
        raise NotSo("the path cannot begin or end with a space or hold control characters")
    if rest.endswith("/"):
        raise NotSo("the path names a folder, not a socket in it")
    _check_length(rest)
    return Address(scheme, path=rest)


def _decodable(path: str) -> str:
    """Leave out the bytes that are no UTF-8 (PEP 383's surrogates); file names may have them."""
    return "".join(character for character in path if not "\udc80" <= character <= "\udcff")


def _check_length(path: str) -> None:
    try:
        name = os.fsencode(path.removeprefix("@"))
    except UnicodeEncodeError:
        raise NotSo("the path cannot be written in the file system's encoding") from None
    if len(name) > LONGEST_PATH:
        raise NotSo(f"the path has {len(name)} bytes and the kernel takes {LONGEST_PATH}")


def _descriptor(scheme: str, rest: str) -> Address:
    if not (rest.isascii() and rest.isdecimal()):
        raise NotSo(
            f"a descriptor is a number, as in {scheme}://3 (sockets by their name are "
            f"{scheme.replace('fd', 'systemd')}://NAME)"
        )
    number = int(rest) if len(rest) < 100 else HIGHEST_DESCRIPTOR + 1
    if number > HIGHEST_DESCRIPTOR:
        raise NotSo(f"the number of a descriptor is at most {HIGHEST_DESCRIPTOR}")
    return Address(scheme, descriptor=number)


def _by_name(scheme: str, rest: str) -> Address:
    if (
        len(rest) > LONGEST_SOCKET_NAME
        or not rest.isascii()
        or not rest.isprintable()
        or ":" in rest
    ):
        raise NotSo(
            f"the name of a socket has at most {LONGEST_SOCKET_NAME} ASCII characters, and no ':' or control "
            "character is one of them (FileDescriptorName= in its unit)"
        )
    return Address(scheme, name=rest)


SCHEMES: dict[str, Callable[[str, str], Address]] = {
    "tcp": _internet,
    "tls": _internet,
    "udp": _internet,
    "unix": _unix,
    "unix-datagram": _unix,
    "fd": _descriptor,
    "tls+fd": _descriptor,
    "systemd": _by_name,
    "tls+systemd": _by_name,
}
"""Each scheme, and the reader of what follows its `://`."""
