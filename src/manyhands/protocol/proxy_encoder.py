"""PROXY headers to send: for proxies, and for tests of a server that stands behind one.

"Section" means one of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

from collections.abc import Iterable

from manyhands.protocol.proxy_addresses import (
    Family,
    SocketAddress,
    family_of,
    write_block,
    write_text,
)
from manyhands.protocol.proxy_header import PREFIX, SIGNATURE, VERSION_2, Command, Transport
from manyhands.protocol.proxy_tlvs import CHECKSUM_SIZE, Tlv, TlvType, checksum_of


def encode_v1(
    source: SocketAddress | None = None, destination: SocketAddress | None = None
) -> bytes:
    r"""Return a header of version 1 (section 2.1).

    Parameters
    ----------
    source, destination : tuple, optional
        The client's address and the one that it called, both IPv4 or both IPv6, as `getpeername` gives
        them. Without them it is ``PROXY UNKNOWN\r\n``.

    Raises
    ------
    ValueError
        They are no such addresses, or only one of them is given.
    """
    family = _common_family(source, destination)
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    hosts, ports = zip(write_text(source), write_text(destination), strict=True)
    protocol = "TCP4" if family is Family.INET else "TCP6"
    return " ".join(("PROXY", protocol, *hosts, *ports)).encode("ascii") + b"\r\n"


def encode_v2(
    source: SocketAddress | None = None,
    destination: SocketAddress | None = None,
    *,
    transport: Transport = Transport.STREAM,
    tlvs: Iterable[Tlv] = (),
    has_checksum: bool = False,
) -> bytes:
    """Return a header of version 2 (section 2.2).

    Parameters
    ----------
    source, destination : tuple, str or bytes, optional
        The client's address and the one that it called, both of one family, as `getpeername` gives them.
        Without them family and transport are UNSPEC.
    transport : Transport
        What the client uses.
    tlvs : iterable of Tlv
        What else is to be said. One of type `CRC32C` is sent as it is, be it right or wrong.
    has_checksum : bool
        Whether to add one that is right.

    Raises
    ------
    ValueError
        The addresses are no such addresses, or only one of them is given; or the whole is too long.
    """
    family = _common_family(source, destination)
    block = b""
    if source is None or destination is None:
        transport = Transport.UNSPEC
    else:
        block = write_block(family, source, destination)
    block += b"".join(map(Tlv.encode, tlvs))
    # Last, so that its place in the whole header is known.
    if has_checksum:
        block += Tlv(TlvType.CRC32C, bytes(CHECKSUM_SIZE)).encode()
    if len(block) > 0xFFFF:
        raise ValueError(f"a PROXY header cannot have {len(block)} bytes of addresses and TLVs")
    header = _prefix(Command.PROXY, family << 4 | transport, len(block)) + block
    return _with_checksum(header) if has_checksum else header


def encode_local() -> bytes:
    """Return the header of version 2 with which a proxy speaks for itself, as in a health check."""
    return _prefix(Command.LOCAL, 0, 0)


def _prefix(command: Command, kind: int, length: int) -> bytes:
    return PREFIX.pack(SIGNATURE, VERSION_2 << 4 | command, kind, length)


def _with_checksum(header: bytes) -> bytes:
    place = len(header) - CHECKSUM_SIZE
    return header[:place] + checksum_of(header, place)


def _common_family(source: SocketAddress | None, destination: SocketAddress | None) -> Family:
    families = {
        Family.UNSPEC if address is None else family_of(address)
        for address in (source, destination)
    }
    # One address alone counts as two families: its own and none.
    if len(families) > 1:
        raise ValueError(f"{source!r} and {destination!r} are not of one family")
    return families.pop()
