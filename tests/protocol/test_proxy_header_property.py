"""PROXY headers of every kind: what is written is read, however it is cut, and nothing else gets through."""

import socket
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from manyhands.protocol.proxy_addresses import SocketAddress
from manyhands.protocol.proxy_encoder import encode_local, encode_v1, encode_v2
from manyhands.protocol.proxy_errors import BadProxyHeader
from manyhands.protocol.proxy_header import Command, ProxyHeader, ProxyHeaderParser, Transport
from manyhands.protocol.proxy_tlvs import ClientFlag, ClientTls, Tlv, TlvType

Ends = tuple[SocketAddress, SocketAddress]

ports = st.integers(0, 65535)


def v4(packed: bytes, port: int) -> SocketAddress:
    return socket.inet_ntop(socket.AF_INET, packed), port


def v6(packed: bytes, port: int) -> SocketAddress:
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0


def both(address: st.SearchStrategy[SocketAddress]) -> st.SearchStrategy[Ends]:
    return st.tuples(address, address)


# inet_ntop writes `::1.2.3.4` for addresses that RFC 4291, section 2.5.5.1, has given up; Python does not.
groups = st.lists(st.sampled_from([0, 0, 0, 0xA, 0x2001, 0xFFFF]), min_size=8, max_size=8)
wide = (
    st.binary(min_size=16, max_size=16)
    | groups.map(lambda numbers: b"".join(number.to_bytes(2, "big") for number in numbers))
).filter(lambda packed: packed[:12] != bytes(12))
mapped = st.binary(min_size=4, max_size=4).map(lambda last: bytes(10) + b"\xff\xff" + last)
internet = both(st.builds(v4, st.binary(min_size=4, max_size=4), ports)) | both(
    st.builds(v6, wide | mapped, ports)
)
paths = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=108)
# A name's NULs at its end cannot be told from those that fill the field.
names = st.binary(max_size=106).map(lambda name: b"\0" + name + b"!")
unix = both(paths | names)

plain_tlvs = st.builds(
    Tlv,
    st.integers(0, 255).filter(lambda kind: kind not in set(TlvType)) | st.just(TlvType.ALPN),
    st.binary(max_size=50),
)
tls_tlvs = st.builds(
    ClientTls,
    st.integers(0, 255).map(ClientFlag),
    st.integers(0, 2**32 - 1),
    st.lists(plain_tlvs, max_size=3).map(tuple),
).map(ClientTls.tlv)
tlvs = st.lists(plain_tlvs | tls_tlvs, max_size=5).map(tuple)
transports = st.sampled_from([Transport.STREAM, Transport.DGRAM])

headers = st.one_of(
    st.builds(lambda ends: encode_v1(*ends), internet),
    st.binary(max_size=91)
    .filter(lambda rest: b"\r\n" not in rest)
    .map(lambda rest: b"PROXY UNKNOWN " + rest + b"\r\n"),
    st.builds(
        lambda ends, more, transport, has_checksum: encode_v2(
            *ends, tlvs=more, transport=transport, has_checksum=has_checksum
        ),
        internet | unix,
        tlvs,
        transports,
        st.booleans(),
    ),
    st.just(encode_v2()),
    st.just(encode_local()),
)


def outcome(pieces: list[bytes]) -> tuple[ProxyHeader | str | None, int]:
    """Feed pieces; return the header, or the field that was wrong, and the bytes that belong to it."""
    parser = ProxyHeaderParser()
    taken = 0
    try:
        for piece in pieces:
            taken += (count := parser.feed(piece))
            assert taken == parser.received
            assert (parser.header is None) == (parser.wanted > 0)
            assert count == len(piece) or parser.header is not None, (
                "a part was left short of the end"
            )
    except BadProxyHeader as error:
        return _field(error), 0
    return parser.header, taken


def _field(error: BadProxyHeader) -> str:
    assert str(error).isprintable()
    assert len(str(error)) < 300
    return error.field


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


cuts = st.lists(st.integers(0, 1000), max_size=8)


@given(internet)
def test_a_header_of_version_1_says_what_was_written(ends: Ends) -> None:
    header, _ = outcome([encode_v1(*ends)])
    assert isinstance(header, ProxyHeader)
    assert (header.source, header.destination) == ends


@given(internet | unix, tlvs, transports, st.booleans())
def test_a_header_of_version_2_says_what_was_written(
    ends: Ends, more: tuple[Tlv, ...], transport: Transport, has_checksum: bool
) -> None:
    data = encode_v2(*ends, tlvs=more, transport=transport, has_checksum=has_checksum)
    header, taken = outcome([data])
    assert isinstance(header, ProxyHeader)
    assert taken == len(data)
    assert (header.source, header.destination, header.transport) == (*ends, transport)
    assert header.tlvs[: len(more)] == more
    assert len(header.tlvs) == len(more) + has_checksum


@given(headers, st.binary(max_size=200), cuts)
def test_however_it_is_cut_it_says_the_same_and_ends_at_the_same_byte(
    header: bytes, rest: bytes, places: list[int]
) -> None:
    found, taken = outcome([header])
    assert isinstance(found, ProxyHeader)
    assert taken == len(header)
    assert outcome([header + rest]) == (found, taken)
    assert outcome(cut(header + rest, places)) == (found, taken)
    singly = [bytes([byte]) for byte in header + rest]
    assert outcome(singly) == (found, taken)


@given(headers, st.data())
def test_short_of_its_end_it_wants_more(header: bytes, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(header) - 1))
    assert outcome([header[:size]]) == (None, size)


@given(st.binary(max_size=300), cuts)
@example(b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n", [])
def test_of_any_bytes_it_makes_a_header_or_wants_more_or_refuses(
    data: bytes, places: list[int]
) -> None:
    assert outcome(cut(data, places)) == outcome([data])


@given(headers, st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 255)), max_size=4), cuts)
def test_of_a_header_with_wrong_bytes_it_makes_the_same_however_it_is_cut(
    header: bytes, wrong: list[tuple[int, int]], places: list[int]
) -> None:
    changed = bytearray(header)
    for place, bits in wrong:
        changed[place % len(changed)] ^= bits
    data = bytes(changed)
    found, taken = outcome([data])
    assert outcome(cut(data, places)) == (found, taken)
    if isinstance(found, ProxyHeader):
        _check(found)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300), st.integers(-3, 3), cuts)
def test_of_any_binary_header_it_makes_the_same_however_it_is_cut(
    command: int, kind: int, block: bytes, off: int, places: list[int]
) -> None:
    length = max(len(block) + off, 0)
    data = b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, kind]) + length.to_bytes(2, "big") + block
    assert outcome(cut(data, places)) == outcome([data])


words = st.sampled_from(
    [b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"1.1.1.1", b"::1", b"80", b"-1", b"080", b"%", b""]
)


@given(st.lists(words, max_size=8), st.sampled_from([b" ", b"  ", b"\t"]))
def test_of_words_in_any_order_only_a_strict_line_is_a_header(
    order: list[bytes], space: bytes
) -> None:
    line = b"PROXY " + space.join(order) + b"\r\n"
    found, _ = outcome([line])
    if isinstance(found, ProxyHeader) and found.source is not None:
        assert found.destination is not None
        assert _check(found) == line


def _check(header: ProxyHeader) -> bytes | None:
    """Check that a header makes sense; return it written anew if it is of version 1."""
    assert header.command is Command.PROXY or header.source is None
    for address in (header.source, header.destination):
        if isinstance(address, tuple):
            kind = IPv4Address if len(address) == 2 else IPv6Address
            kind(address[0])
            assert 0 <= address[1] <= 65535
    has_text = header.version == 1 and header.source is not None
    return encode_v1(header.source, header.destination) if has_text else None
