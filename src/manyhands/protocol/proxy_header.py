r"""The PROXY header: where a connection comes from, as told by the proxy that it came through.

Pure code: the caller of `ProxyHeaderParser` looks at what has come, and takes what is the header's.
"Section" means one of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.

=============================================  ==============================================================
what comes in                                  what it means
=============================================  ==============================================================
``PROXY TCP4 192.0.2.1 192.0.2.2 56324 443``,  version 1, one line: the client is 192.0.2.1, port 56324, and
CR LF, in at most 107 bytes                    called 192.0.2.2, port 443; ``TCP6`` likewise
``PROXY UNKNOWN``, anything, CR LF             version 1: the proxy cannot say; the socket's own peer counts
12 bytes that no other protocol begins with,   version 2: the same in binary, for UDP and Unix sockets too,
then command, family, length, addresses        and more about the client as type, length and value (TLV)
the same with the command LOCAL                the proxy speaks for itself; the socket's own peer counts
anything else                                  `BadProxyHeader`, as soon as it shows
=============================================  ==============================================================

Nothing is guessed: a server that wants headers wants one of every connection (section 5).
"""

import enum
import struct
from dataclasses import dataclass

from manyhands.protocol.proxy_addresses import Family, SocketAddress, read_block, read_text
from manyhands.protocol.proxy_errors import BadProxyHeader, sniffed
from manyhands.protocol.proxy_tlvs import ClientTls, Tlv, TlvType, first, read_client_tls, read_tlvs

LONGEST_V1 = 107
"""Bytes of a header of version 1 with its CR LF: that of the longest one that can be (section 2.1)."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""How each header of version 2 begins (section 2.2)."""

LONGEST_HEADER = 16_384
"""Bytes of a header of version 2 that are taken at most, by default.

Section 2 wants it to fit in 536. TLVs may hold names, cookies and a client's certificate, so some do not; but
HAProxy's own are never longer than its buffers, which are of this size.
"""

PREFIX = struct.Struct("!12sBBH")
"""Signature, version and command, family and transport, and how many bytes follow (section 2.2)."""

VERSION_2 = 0x2
"""The only version that this layout has."""

_V1_NAME = b"PROXY "

_V1_STARTS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN ", b"PROXY UNKNOWN\r\n")
"""Section 2.1: after each but the last come four fields, or, of UNKNOWN, anything."""


class Command(enum.IntEnum):
    """For which end the proxy speaks (section 2.2)."""

    LOCAL = 0x0
    """Itself, as in a health check: the connection is from the proxy."""

    PROXY = 0x1
    """A client."""


class Transport(enum.IntEnum):
    """What the client used to speak with the proxy (section 2.2)."""

    UNSPEC = 0x0
    STREAM = 0x1
    DGRAM = 0x2


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a PROXY header says. Immutable, so safe to share between threads.

    Attributes
    ----------
    version : int
        1 or 2.
    command : Command
        Of version 1 it is always PROXY.
    family : Family
        Of LOCAL and of UNKNOWN it is UNSPEC, whatever the header has there.
    transport : Transport
        What the client used; likewise UNSPEC.
    source, destination : tuple, str, bytes or None
        The client's address and the one that it called, as `getpeername` and `getsockname` would give them.
        Both are None of LOCAL, UNKNOWN and UNSPEC: then the socket's own are right.
    tlvs : tuple of Tlv
        What else a header of version 2 says, in its order; `NOOP` is left out. Where there are no addresses
        there are none of these, for what stands there is to be ignored.
    """

    version: int
    command: Command
    family: Family = Family.UNSPEC
    transport: Transport = Transport.UNSPEC
    source: SocketAddress | None = None
    destination: SocketAddress | None = None
    tlvs: tuple[Tlv, ...] = ()

    def tlv(self, kind: int) -> bytes | None:
        """Return the value of the first TLV of a type (`TlvType`, or any number), or None."""
        return first(self.tlvs, kind)

    @property
    def tls(self) -> ClientTls | None:
        """How the client spoke TLS with the proxy, if the header says so."""
        value = self.tlv(TlvType.SSL)
        return None if value is None else read_client_tls(value)


class ProxyHeaderParser:
    """Finds out, piece by piece, what the PROXY header of one connection says, and where it ends.

    Parameters
    ----------
    limit : int
        Bytes that a header of version 2 may have in all.

    Attributes
    ----------
    header : ProxyHeader or None
        What it says, once all of it was fed.
    wanted : int
        How many bytes more can be the header's, as far as can be told by now: look at no more than these.
        0 when there is the header.

    Notes
    -----
    Not thread-safe: one connection, one parser, one thread. After `BadProxyHeader` it is of no more use.
    """

    def __init__(self, limit: int = LONGEST_HEADER) -> None:
        self.header: ProxyHeader | None = None
        self.wanted = LONGEST_V1
        self._limit = limit
        self._size = PREFIX.size
        self._kept = bytearray()

    @property
    def received(self) -> int:
        """How many bytes of the header were fed."""
        return len(self._kept)

    def feed(self, data: bytes) -> int:
        """Look at what came next, and tell how much of it belongs to the header: that is to be taken.

        What follows the header is left alone, so it does no harm to feed too much. Short of the header's end
        all that there is belongs to it, so that the caller need not look at it a second time.

        Raises
        ------
        BadProxyHeader
            It is no PROXY header. The connection is to be closed, and nothing more read (section 2).
        """
        before = len(self._kept)
        if self.header is None and data:
            # The first byte tells the two apart: no header of version 1 begins with CR.
            is_v2 = (self._kept or data)[0] == SIGNATURE[0]
            (self._feed_v2 if is_v2 else self._feed_v1)(data)
        return len(self._kept) - before

    def _feed_v1(self, data: bytes) -> None:
        before = len(self._kept)
        self._keep(data, LONGEST_V1)
        # The CR may have come before.
        end = self._kept.find(b"\r\n", max(before - 1, 0)) + 2
        is_whole = end >= 2
        # What follows the line is the client's, and stays in the socket.
        if is_whole:
            del self._kept[end:]
        line = bytes(self._kept)
        _check_line(line)
        if is_whole:
            self._finish(_read_v1(line))
        elif not self.wanted:
            raise BadProxyHeader(
                "line", f"the PROXY header has no CR LF within its first {LONGEST_V1} bytes"
            )

    def _feed_v2(self, data: bytes) -> None:
        if len(self._kept) < PREFIX.size:
            data = self._keep(data, PREFIX.size)
            _check_prefix(bytes(self._kept))
            if self.wanted:
                return
            self._size = self._announced_size()
        self._keep(data, self._size)
        if not self.wanted:
            self._finish(_read_v2(bytes(self._kept)))

    def _announced_size(self) -> int:
        # Refused as soon as it is announced: the rest would have to be kept in memory.
        *_, length = PREFIX.unpack_from(self._kept)
        size: int = PREFIX.size + length
        if size > self._limit:
            raise BadProxyHeader(
                "length", f"the PROXY header announces {size} bytes, and {self._limit} are the most"
            )
        return size

    def _keep(self, data: bytes, size: int) -> bytes:
        """Keep what is missing to `size` bytes, and return the rest."""
        missing = size - len(self._kept)
        self._kept += data[:missing]
        self.wanted = size - len(self._kept)
        return data[missing:]

    def _finish(self, header: ProxyHeader) -> None:
        self.header = header
        self.wanted = 0


def _check_line(line: bytes) -> None:
    """Refuse what no header of version 1 begins with; the rest shows when the line is whole."""
    if not any(start.startswith(line[: len(start)]) for start in _V1_STARTS):
        is_proxy = line.startswith(_V1_NAME) or _V1_NAME.startswith(line)
        if not is_proxy:
            raise _no_signature(line)
        raise BadProxyHeader("protocol", "the PROXY header is not of TCP4, TCP6 or UNKNOWN")
    # Of UNKNOWN everything before a CR LF is ignored, a CR or a LF that stands alone included.
    if line.startswith(_V1_STARTS[:2]):
        body = line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\r")
        if b"\r" in body or b"\n" in body:
            raise BadProxyHeader("line", "the PROXY header has a CR or a LF that stands alone")


def _no_signature(start: bytes) -> BadProxyHeader:
    return BadProxyHeader(
        "signature",
        f"a PROXY header was expected, of version 1 or 2, and there came {sniffed(start)}",
    )


def _read_v1(line: bytes) -> ProxyHeader:
    if line.startswith(b"PROXY UNKNOWN"):
        return ProxyHeader(1, Command.PROXY)
    # One space and no other separator between two fields, so two spaces make an empty field.
    fields = line[:-2].split(b" ")
    if len(fields) != 6:
        raise BadProxyHeader(
            "line", f"the PROXY header has {len(fields)} fields, one space between them, and not 6"
        )
    family = Family.INET if fields[1] == b"TCP4" else Family.INET6
    source = read_text(family, "source", fields[2], fields[4])
    destination = read_text(family, "destination", fields[3], fields[5])
    return ProxyHeader(1, Command.PROXY, family, Transport.STREAM, source, destination)


def _check_prefix(start: bytes) -> None:
    """Refuse what no header of version 2 begins with, as soon as it is there."""
    # Byte by byte: a client of another protocol may wait for an answer after fewer bytes than a header has.
    if not SIGNATURE.startswith(start[: len(SIGNATURE)]):
        raise _no_signature(start)
    if len(start) > 12:
        _check_command(start[12])
    # Of LOCAL the family is ignored (section 2.2).
    if len(start) > 13 and start[12] & 0xF != Command.LOCAL:
        _check_kind("family", start[13] >> 4, Family)
        _check_kind("transport", start[13] & 0xF, Transport)


def _check_command(byte: int) -> None:
    if byte >> 4 != VERSION_2:
        raise BadProxyHeader(
            "version", f"the PROXY header is of version {byte >> 4}, which is not 2"
        )
    _check_kind("command", byte & 0xF, Command)


def _check_kind(field: str, value: int, known: type[enum.IntEnum]) -> None:
    if value not in set(known):
        raise BadProxyHeader(field, f"the PROXY header has a {field} of {value:#x}, which is none")


def _read_v2(header: bytes) -> ProxyHeader:
    _, command, kind, _ = PREFIX.unpack_from(header)
    if command & 0xF == Command.LOCAL:
        return ProxyHeader(2, Command.LOCAL)
    family, transport = Family(kind >> 4), Transport(kind & 0xF)
    # What there is instead of addresses is not said, and so not where TLVs would begin.
    if Family.UNSPEC is family or Transport.UNSPEC is transport:
        return ProxyHeader(2, Command.PROXY)
    end = PREFIX.size + family.size
    if end > len(header):
        raise BadProxyHeader(
            "length",
            f"the PROXY header has {len(header) - PREFIX.size} bytes after its first {PREFIX.size}, "
            f"and two {family.title} addresses are {family.size}",
        )
    source, destination = read_block(family, header, PREFIX.size)
    tlvs = read_tlvs(header, end)
    return ProxyHeader(2, Command.PROXY, family, transport, source, destination, tlvs)
