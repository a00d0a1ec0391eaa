"""The addresses in a PROXY header: as the two versions of the header write them, and as Python has them.

"Section" means one of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

import enum
import os
import struct
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from manyhands.model.addresses import HIGHEST_PORT
from manyhands.protocol.proxy_errors import BadProxyHeader

UNIX_PATH_SIZE = 108
"""Bytes of a Unix address in a header of version 2 (section 2.2)."""

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | str | bytes
"""An address as `getpeername` gives it: IPv4, IPv6, a Unix path, a name in Linux's abstract namespace."""

Ends: TypeAlias = tuple[SocketAddress, SocketAddress]
"""The source and the destination."""


class Family(enum.IntEnum):
    """The family of the addresses (section 2.2)."""

    UNSPEC = 0x0
    INET = 0x1
    INET6 = 0x2
    UNIX = 0x3

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return _TITLES[self]

    @property
    def size(self) -> int:
        """Bytes of two addresses in a header of version 2."""
        return _LAYOUTS[self].size


_TITLES = {Family.INET: "IPv4", Family.INET6: "IPv6", Family.UNIX: "Unix"}

_LAYOUTS = {
    Family.INET: struct.Struct("!4s4sHH"),
    Family.INET6: struct.Struct("!16s16sHH"),
    Family.UNIX: struct.Struct(f"{UNIX_PATH_SIZE}s{UNIX_PATH_SIZE}s"),
}
"""Source and destination, then the ports if there are any (section 2.2)."""


def read_text(family: Family, name: str, host: bytes, port: bytes) -> SocketAddress:
    """Read one address of a header of version 1 (section 2.1).

    An IPv6 address may end in dots, as in ``::ffff:192.0.2.1``. The specification has only hexadecimal
    digits, but inet_ntop(3) writes it so, and with it HAProxy and nginx.

    Parameters
    ----------
    family : Family
        INET or INET6.
    name : str
        The field's name, for the sentence.
    host, port : bytes
        As they stand in the header.

    Raises
    ------
    BadProxyHeader
        They are no address, or not written as they should be.
    """
    kind = IPv4Address if family is Family.INET else IPv6Address
    # A zone would be one of the proxy's; the specification has none.
    text = "" if b"%" in host else host.decode("ascii", "replace")
    try:
        address = kind(text)
    except AddressValueError:
        raise BadProxyHeader(
            name,
            f"the {name} in the PROXY header, of {len(host)} bytes, is no {family.title} address",
        ) from None
    return _internet(address, _read_port(f"{name} port", port))


def _read_port(name: str, text: bytes) -> int:
    port = int(text) if text.isdigit() else HIGHEST_PORT + 1
    # Zeros in front make another text of the same number.
    if port > HIGHEST_PORT or text != b"%d" % port:
        raise BadProxyHeader(
            name,
            f"the {name} in the PROXY header, of {len(text)} bytes, is no number from 0 to {HIGHEST_PORT} "
            "without zeros before it",
        )
    return port


def read_block(family: Family, header: bytes, start: int) -> Ends:
    """Read both addresses of a header of version 2, which stand at `start` and are all there."""
    source, destination, *ports = _LAYOUTS[family].unpack_from(header, start)
    if family is Family.UNIX:
        return _read_unix(source), _read_unix(destination)
    kind = IPv4Address if family is Family.INET else IPv6Address
    return _internet(kind(source), ports[0]), _internet(kind(destination), ports[1])


def _internet(address: IPv4Address | IPv6Address, port: int) -> SocketAddress:
    host = _host(address)
    # Flow and scope are 0: a header has neither, and a scope of the proxy's would mean nothing here.
    return (host, port) if isinstance(address, IPv4Address) else (host, port, 0, 0)


def _host(address: IPv4Address | IPv6Address) -> str:
    """Write it as `getpeername` does, which not all versions of Python do of their own accord."""
    mapped = None if isinstance(address, IPv4Address) else address.ipv4_mapped
    return str(address) if mapped is None else f"::ffff:{mapped}"


def _read_unix(block: bytes) -> str | bytes:
    """Read a `sun_path` (unix(7)): the name of an abstract address begins with NUL, a path ends with it."""
    if block[:1] == b"\0":
        return block.rstrip(b"\0") or ""
    return os.fsdecode(block.partition(b"\0")[0])


def family_of(address: SocketAddress) -> Family:
    """Tell of which family an address is.

    Raises
    ------
    ValueError
        Its host is no IP address.
    """
    if isinstance(address, str | bytes):
        return Family.UNIX
    return Family.INET if isinstance(ip_address(address[0]), IPv4Address) else Family.INET6


def write_text(address: SocketAddress) -> tuple[str, str]:
    """Return host and port of an IPv4 or IPv6 address as a header of version 1 has them.

    Raises
    ------
    ValueError
        It is a Unix address.
    """
    if family_of(address) is Family.UNIX:
        raise ValueError(f"version 1 has no way to write the Unix address {address!r}")
    # Without the zone, which means nothing on another machine.
    return _host(ip_address(ip_address(address[0]).packed)), str(address[1])


def write_block(family: Family, source: SocketAddress, destination: SocketAddress) -> bytes:
    """Return two addresses of one family as a header of version 2 has them.

    Raises
    ------
    ValueError
        A Unix path is too long.
    """
    if isinstance(source, tuple) or isinstance(destination, tuple):
        hosts = [ip_address(address[0]).packed for address in (source, destination)]
        return _LAYOUTS[family].pack(*hosts, source[1], destination[1])
    return _write_unix(source) + _write_unix(destination)


def _write_unix(address: str | bytes) -> bytes:
    name = os.fsencode(address)
    if len(name) > UNIX_PATH_SIZE:
        raise ValueError(f"the Unix address {address!r} is longer than {UNIX_PATH_SIZE} bytes")
    return name.ljust(UNIX_PATH_SIZE, b"\0")
