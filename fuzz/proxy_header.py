"""Fuzz the PROXY header, guided by coverage: ``python fuzz/proxy_header.py [FOLDER] [-max_total_time=600]``.

The arguments are libFuzzer's; FOLDER keeps what it found, for the next run. `make fuzz` runs it with the
others.

Whatever the bytes are, and however they are cut, the parser makes the same of them: a header that makes sense
and ends at the same byte, `BadProxyHeader` for the same field, or it wants more.
"""

import sys
from ipaddress import ip_address

import atheris

with atheris.instrument_imports(include=["manyhands"]):
    from manyhands.protocol.proxy_encoder import encode_v1, encode_v2
    from manyhands.protocol.proxy_errors import BadProxyHeader
    from manyhands.protocol.proxy_header import LONGEST_V1, Command, ProxyHeader, ProxyHeaderParser
    from manyhands.protocol.proxy_tlvs import TlvType, crc32c

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

STARTS = (
    b"",
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 ",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2",
    b"PROXY UNKNOWN",
    SIGNATURE,
    SIGNATURE + b"\x21\x11",
    SIGNATURE + b"\x21\x21",
    SIGNATURE + b"\x21\x31\0\xe0",
)
"""Fuzzing finds these by itself, and needs minutes for it each time."""

WORDS = (
    *(b" ", b"\r\n", b"\r", b"\n", b"1.1.1.1", b"01.1.1.1", b"255.255.255.255", b"::", b"::1"),
    *(
        b"::ffff:1.2.3.4",
        b":".join([b"ffff"] * 8),
        b"%eth0",
        b"0",
        b"80",
        b"65535",
        b"65536",
        b"-1",
        b"+1",
    ),
)
"""What the bytes from 128 on stand for where a line of text is to come."""


class Nonsense(Exception):  # noqa: N818 - what it is
    """The parser did what it never should."""


def outcome(pieces: list[bytes]) -> tuple[ProxyHeader | str | None, int]:
    """Feed pieces; return the header, or the field that was wrong, and the bytes that belong to it."""
    parser = ProxyHeaderParser()
    taken = 0
    try:
        for piece in pieces:
            count = parser.feed(piece)
            taken += count
            if parser.header is None and count < len(piece):
                raise Nonsense(f"it left {piece[count:]!r}, and has no header")
            if (parser.header is None) != (parser.wanted > 0):
                raise Nonsense(f"it wants {parser.wanted} bytes more, and has {parser.header}")
    except BadProxyHeader as error:
        if not str(error).isprintable() or len(str(error)) > 300:
            raise Nonsense(f"nobody can print {str(error)!r}") from error
        return error.field, 0
    return parser.header, taken


def check(header: ProxyHeader, size: int) -> None:
    """Check that a header makes sense, and that written anew it says the same."""
    if header.version == 1 and size > LONGEST_V1:
        raise Nonsense(f"a line of {size} bytes")
    check_addresses(header)
    if header.tls is not None:
        _ = header.tls.is_verified, header.tls.version, header.tls.cipher, header.tls.common_name
    if header.source is not None:
        check_written_anew(header)


def check_addresses(header: ProxyHeader) -> None:
    """Check that the addresses are some, and that only a client has them."""
    if header.command is Command.LOCAL and header.source is not None:
        raise Nonsense("the proxy speaks for itself, and says where it comes from")
    for address in (header.source, header.destination):
        if isinstance(address, tuple):
            ip_address(address[0])
            if not 0 <= address[1] <= 65535:
                raise Nonsense(f"a port of {address[1]}")


def check_written_anew(header: ProxyHeader) -> None:
    """Check that what is written of a header is read as the same."""
    if header.version == 1:
        again = encode_v1(header.source, header.destination)
    else:
        again = encode_v2(
            header.source,
            header.destination,
            transport=header.transport,
            tlvs=[tlv for tlv in header.tlvs if tlv.type != TlvType.CRC32C],
        )
    read, _ = outcome([again])
    if not isinstance(read, ProxyHeader) or ends(read) != ends(header):
        raise Nonsense(f"{header} was written as {again!r}, and read as {read}")


def ends(header: ProxyHeader) -> object:
    """Return what a header says of the addresses."""
    return header.family, header.transport, header.source, header.destination


def with_right_checksum(data: bytes) -> bytes:
    """Put a right checksum into a header of version 2 with IPv4 addresses: chance never finds one."""
    whole = data[: 16 + int.from_bytes(data[14:16], "big")]
    at = 16 + 12 + 3
    if len(whole) < at + 4 or whole[at - 3 : at] != b"\x03\x00\x04":
        return data
    crc = crc32c(whole[:at] + bytes(4) + whole[at + 4 :]).to_bytes(4, "big")
    return whole[:at] + crc + data[at + 4 :]


def in_words(data: bytes) -> bytes:
    """Put words in the place of the bytes that stand for some."""
    return b"".join(
        WORDS[byte - 128] if 128 <= byte < 128 + len(WORDS) else bytes([byte]) for byte in data
    )


def test_one_input(data: bytes) -> None:
    """Try one input: what it begins with, where it is cut, and the bytes."""
    provider = atheris.FuzzedDataProvider(data)
    start = STARTS[provider.ConsumeIntInRange(0, len(STARTS) - 1)]
    mends_checksum = provider.ConsumeBool()
    places = [provider.ConsumeIntInRange(0, 400) for _ in range(4)]
    rest = provider.ConsumeBytes(provider.remaining_bytes())
    sent = start + (in_words(rest) if start.startswith(b"PROXY") else rest)
    if mends_checksum:
        sent = with_right_checksum(sent)
    edges = [0, *sorted(min(place, len(sent)) for place in places), len(sent)]
    pieces = [sent[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]
    whole, cut = outcome([sent]), outcome(pieces)
    if whole != cut:
        raise Nonsense(f"in one piece {whole}, in pieces {cut}")
    if isinstance(whole[0], ProxyHeader):
        check(*whole)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
