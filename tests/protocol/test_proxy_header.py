"""PROXY headers as the specification has them, piece by piece, without a socket."""

import struct
from typing import Any

import pytest

from manyhands.protocol.proxy_addresses import Family
from manyhands.protocol.proxy_encoder import encode_local, encode_v1, encode_v2
from manyhands.protocol.proxy_errors import BadProxyHeader
from manyhands.protocol.proxy_header import (
    LONGEST_HEADER,
    Command,
    ProxyHeader,
    ProxyHeaderParser,
    Transport,
)
from manyhands.protocol.proxy_tlvs import ClientFlag, ClientTls, SslTlvType, Tlv, TlvType, crc32c

SIGNATURE = bytes.fromhex("0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A")

V4 = ("192.0.2.1", 56324), ("192.0.2.2", 443)
V6 = ("2001:db8::1", 56324, 0, 0), ("2001:db8::2", 443, 0, 0)


def parsed(data: bytes, **keywords: Any) -> ProxyHeader:
    """Parse what is one whole header and nothing else."""
    parser = ProxyHeaderParser(**keywords)
    assert parser.feed(data) == len(data)
    assert parser.header is not None, "it wants more"
    assert parser.wanted == 0
    return parser.header


def refused(data: bytes, **keywords: Any) -> BadProxyHeader:
    with pytest.raises(BadProxyHeader) as caught:
        ProxyHeaderParser(**keywords).feed(data)
    assert str(caught.value).isprintable()
    return caught.value


def v2(command: int, kind: int, block: bytes, length: int | None = None) -> bytes:
    """Write a header by hand, right or wrong."""
    size = len(block) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, kind, size) + block


V4_BLOCK = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!HH", 56324, 443)


def with_tlvs(tlvs: bytes) -> bytes:
    return v2(0x21, 0x11, V4_BLOCK + tlvs)


# Version 1


def test_the_example_of_the_specification_tells_client_and_server() -> None:
    request = b"GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"
    line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    parser = ProxyHeaderParser()
    assert parser.feed(line + request) == len(line)
    assert parser.header == ProxyHeader(
        1,
        Command.PROXY,
        Family.INET,
        Transport.STREAM,
        source=("192.168.0.1", 56324),
        destination=("192.168.0.11", 443),
    )


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", 56),
        (b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n", 104),
        (b"PROXY UNKNOWN\r\n", 15),
        (b"PROXY UNKNOWN " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n", 107),
    ],
)
def test_the_longest_lines_of_the_specification_are_taken(line: bytes, size: int) -> None:
    assert len(line) == size
    assert parsed(line).version == 1


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (b"::1", "::1"),
        (b"::", "::"),
        (b"2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        (b"::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        (b"::FFFF:c000:201", "::ffff:192.0.2.1"),
    ],
)
def test_an_ipv6_address_is_written_as_a_socket_gives_it(text: bytes, host: str) -> None:
    header = parsed(b"PROXY TCP6 " + text + b" ::2 0 65535\r\n")
    assert header.family is Family.INET6
    assert (header.source, header.destination) == ((host, 0, 0, 0), ("::2", 65535, 0, 0))


@pytest.mark.parametrize(
    "rest", [b"", b" ", b" anything at all", b" \xff\x00\t", b" a\rb\nc", b" \r", b" TCP4 1.2.3.4"]
)
def test_of_unknown_everything_up_to_cr_lf_is_ignored_and_the_sockets_own_peer_counts(
    rest: bytes,
) -> None:
    header = parsed(b"PROXY UNKNOWN" + rest + b"\r\n")
    assert header == ProxyHeader(1, Command.PROXY)
    assert (header.source, header.destination) == (None, None)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"GET / HTTP/1.1\r\n", "signature"),
        (b"P0", "signature"),
        (b"proxy TCP4 ", "signature"),
        (b"PROXYTCP4", "signature"),
        (b" PROXY TCP4 ", "signature"),
        (b"\x16\x03\x01\x02\x00\x01", "signature"),
        (b"\r\n\r\n\x00\r\nQUIT\r", "signature"),
        (b"\r\n\r\nGET", "signature"),
        (b"PROXY  TCP4", "protocol"),
        (b"PROXY TCP5", "protocol"),
        (b"PROXY tcp4", "protocol"),
        (b"PROXY UDP4 ", "protocol"),
        (b"PROXY TCP4\t", "protocol"),
        (b"PROXY TCP4\r\n", "protocol"),
        (b"PROXY \r\n", "protocol"),
        (b"PROXY UNKNOWNX\r\n", "protocol"),
        (b"PROXY UNKNOWN\n", "protocol"),
        (b"PROXY UNKNOWN\r\r", "protocol"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n", "line"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rG", "line"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r\n", "line"),
        (b"PROXY TCP4 1.1.1.1\n1.1.1.1 1 1\r\n", "line"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n", "line"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n", "line"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1  1 1\r\n", "line"),
        (b"PROXY TCP4  1.1.1.1 1.1.1.1 1\r\n", "source"),
        (b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 256.1.1.1 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 1.1.1.1. 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 0x1.1.1.1 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 16843009 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 1.1.1.\xb2 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 ::1 1.1.1.1 1 1\r\n", "source"),
        (b"PROXY TCP4 1.1.1.1 ::1 1 1\r\n", "destination"),
        (b"PROXY TCP6 1.1.1.1 ::1 1 1\r\n", "source"),
        (b"PROXY TCP6 ::1%eth0 ::1 1 1\r\n", "source"),
        (b"PROXY TCP6 [::1] ::1 1 1\r\n", "source"),
        (b"PROXY TCP6 ::1 1::2::3 1 1\r\n", "destination"),
        (b"PROXY TCP6 ::1 ::12345 1 1\r\n", "destination"),
        (b"PROXY TCP6 ::1 1:2:3:4:5:6:7 1 1\r\n", "destination"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n", "source port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 00 1\r\n", "source port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n", "source port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n", "source port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1_0 1\r\n", "source port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", "destination port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1x\r\n", "destination port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n", "destination port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\t\r\n", "destination port"),
        (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 " + b"9" * 50 + b"\r\n", "destination port"),
    ],
)
def test_what_is_no_header_of_version_1_is_refused_by_the_field_that_is_wrong(
    data: bytes, field: str
) -> None:
    assert refused(data).field == field


def test_a_refusal_is_a_sentence() -> None:
    assert str(refused(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 07\r\n")) == (
        "the destination port in the PROXY header, of 2 bytes, is no number from 0 to 65535 "
        "without zeros before it"
    )
    assert isinstance(refused(b"?"), ValueError)


@pytest.mark.parametrize(
    ("data", "came"),
    [
        (b"GET /?token=hunter2 HTTP/1.1\r\n", "30 bytes that begin like an HTTP request"),
        (b"\x16\x03\x01\x02hunter2", "11 bytes that begin like a TLS ClientHello"),
        (b"SSH-2.0-hunter2", "15 bytes that begin like an SSH client"),
        (b"hunter2", "7 bytes"),
        (b"\r\n\r\nhunter2", "11 bytes"),
        (b"\0", "1 byte"),
    ],
)
def test_another_protocol_is_reported_by_what_it_looks_like(data: bytes, came: str) -> None:
    assert str(refused(data)) == (
        f"a PROXY header was expected, of version 1 or 2, and there came {came}"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"hunter2",
        b"hunter2\r\n",
        b"PROXY hunter2 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 hunter2 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 hunter2 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 hunter2 1\r\n",
        b"PROXY TCP4 hunter2\r\n",
        SIGNATURE + b"hunter2 hunter2",
        b"\r\nhunter2",
    ],
)
def test_a_refusal_quotes_nothing_of_what_came(data: bytes) -> None:
    assert "hunter2" not in str(refused(data))


@pytest.mark.parametrize("start", [b"PROXY UNKNOWN ", b"PROXY TCP6 "])
def test_a_line_of_108_bytes_is_refused_when_107_are_there(start: bytes) -> None:
    line = start.ljust(107, b"x")
    assert ProxyHeaderParser().feed(line[:106]) == 106
    assert refused(line).field == "line"
    assert refused(line[:106] + b"\r\n").field == "line"


def test_what_no_header_can_begin_with_is_refused_at_its_first_wrong_byte() -> None:
    for good, bad in ((b"PRO", b"x"), (b"PROXY TC", b"x"), (SIGNATURE[:4], b"x")):
        parser = ProxyHeaderParser()
        assert parser.feed(good) == len(good)
        with pytest.raises(BadProxyHeader):
            parser.feed(bad)


# Version 2


def test_a_binary_header_tells_client_and_server() -> None:
    assert parsed(v2(0x21, 0x11, V4_BLOCK)) == ProxyHeader(
        2, Command.PROXY, Family.INET, Transport.STREAM, *V4
    )


def test_the_addresses_of_ipv6_are_as_a_socket_gives_them() -> None:
    block = bytes.fromhex(
        "20010db8000000000000000000000001 00000000000000000000ffffc0000201 dc04 01bb"
    )
    header = parsed(v2(0x21, 0x21, block))
    assert header.source == ("2001:db8::1", 56324, 0, 0)
    assert header.destination == ("::ffff:192.0.2.1", 443, 0, 0)


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        (b"/run/client.sock", "/run/client.sock"),
        (b"/run/\xff", "/run/\udcff"),
        (b"/run/a\0what was there before", "/run/a"),
        (b"x" * 108, "x" * 108),
        (b"", ""),
        (b"\0name", b"\0name"),
    ],
)
def test_the_addresses_of_a_unix_socket_are_as_it_gives_them(
    sent: bytes, given: str | bytes
) -> None:
    block = sent.ljust(108, b"\0") + b"/server".ljust(108, b"\0")
    header = parsed(v2(0x21, 0x31, block))
    assert (header.family, header.source, header.destination) == (Family.UNIX, given, "/server")


@pytest.mark.parametrize("kind", [0x12, 0x22, 0x32])
def test_a_client_may_have_come_by_datagrams(kind: int) -> None:
    header = parsed(v2(0x21, kind, bytes(216)))
    assert header.transport is Transport.DGRAM
    assert header.source is not None


@pytest.mark.parametrize("kind", [0x00, 0x11, 0x99])
@pytest.mark.parametrize("block", [b"", b"whatever", bytes(216)])
def test_of_local_family_and_addresses_are_ignored(kind: int, block: bytes) -> None:
    assert parsed(v2(0x20, kind, block)) == ProxyHeader(2, Command.LOCAL)


@pytest.mark.parametrize("kind", [0x00, 0x01, 0x02, 0x10, 0x20, 0x30])
@pytest.mark.parametrize("block", [b"", b"whatever", bytes(216)])
def test_of_what_is_unspecified_the_addresses_are_ignored(kind: int, block: bytes) -> None:
    assert parsed(v2(0x21, kind, block)) == ProxyHeader(2, Command.PROXY)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (v2(0x11, 0x11, V4_BLOCK), "version"),
        (v2(0x31, 0x11, V4_BLOCK), "version"),
        (v2(0x22, 0x11, V4_BLOCK), "command"),
        (v2(0x2F, 0x11, V4_BLOCK), "command"),
        (v2(0x21, 0x41, V4_BLOCK), "family"),
        (v2(0x21, 0x13, V4_BLOCK), "transport"),
        (v2(0x21, 0x03, b""), "transport"),
        (v2(0x21, 0x11, V4_BLOCK[:11]), "length"),
        (v2(0x21, 0x11, b""), "length"),
        (v2(0x21, 0x21, bytes(35)), "length"),
        (v2(0x21, 0x31, bytes(215)), "length"),
        (v2(0x21, 0x11, b"", length=LONGEST_HEADER - 15), "length"),
        (v2(0x20, 0x00, b"", length=0xFFFF), "length"),
    ],
)
def test_what_is_no_header_of_version_2_is_refused_by_the_field_that_is_wrong(
    data: bytes, field: str
) -> None:
    assert refused(data).field == field


@pytest.mark.parametrize(("size", "field"), [(13, "version"), (14, "family")])
def test_a_wrong_byte_is_refused_before_the_header_is_there(size: int, field: str) -> None:
    start = SIGNATURE + (b"\x31" if field == "version" else b"\x21\x51")
    assert ProxyHeaderParser().feed(start[:-1]) == size - 1
    assert refused(start).field == field


def test_the_limit_is_of_the_whole_header_and_refused_before_it_is_there() -> None:
    assert parsed(v2(0x20, 0, bytes(84)), limit=100).command is Command.LOCAL
    assert refused(v2(0x20, 0, b"", length=85), limit=100).field == "length"


def test_it_wants_what_is_missing_and_no_more() -> None:
    header = v2(0x21, 0x11, V4_BLOCK)
    parser = ProxyHeaderParser()
    assert parser.wanted == 107
    assert parser.feed(b"") == 0
    assert (parser.feed(header[:1]), parser.wanted) == (1, 15)
    assert (parser.feed(header[1:16]), parser.wanted) == (15, 12)
    assert (parser.feed(header[16:20]), parser.wanted) == (4, 8)
    assert (parser.feed(header[20:] + b"TLS"), parser.wanted) == (8, 0)
    assert (parser.feed(b"more"), parser.received) == (0, len(header))


def test_a_line_in_pieces_is_wanted_to_its_107_bytes_until_its_end_has_come() -> None:
    parser = ProxyHeaderParser()
    line = b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"
    assert (parser.feed(line[:-1]), parser.wanted) == (len(line) - 1, 107 - len(line) + 1)
    assert (parser.feed(b"\nhello"), parser.wanted) == (1, 0)


# TLVs and the checksum


def test_tlvs_are_there_by_type_and_in_order() -> None:
    header = parsed(
        with_tlvs(
            b"\x01\x00\x02h2\x02\x00\x05a.org\xea\x00\x00\x01\x00\x01x\x05\x00\x02id",
        )
    )
    assert header.tlv(TlvType.ALPN) == b"h2"
    assert header.tlv(TlvType.AUTHORITY) == b"a.org"
    assert header.tlv(TlvType.UNIQUE_ID) == b"id"
    assert header.tlv(0xEA) == b""
    assert header.tlv(TlvType.NETNS) is None
    assert header.tls is None
    assert [tlv.type for tlv in header.tlvs] == [1, 2, 0xEA, 1, 5]


def test_a_unique_id_has_at_most_128_bytes() -> None:
    longest = Tlv(TlvType.UNIQUE_ID, bytes(128))
    assert parsed(encode_v2(*V4, tlvs=[longest])).tlvs == (longest,)
    assert refused(encode_v2(*V4, tlvs=[Tlv(TlvType.UNIQUE_ID, bytes(129))])).field == "tlv"


def test_padding_is_ignored() -> None:
    assert parsed(with_tlvs(b"\x04\x00\x03abc" + b"\x04\x00\x00")).tlvs == ()


@pytest.mark.parametrize(
    "tlvs",
    [
        b"\x01",
        b"\x01\x00",
        b"\x01\x00\x01",
        b"\x01\xff\xffabc",
        b"\x04\x00\x05abc",
        b"\x01\x00\x02h2\x00\x00",
        b"\x03\x00\x03abc",
        b"\x03\x00\x05abcde",
        b"\x20\x00\x04\x01\x00\x00\x00",
        b"\x20\x00\x07\x01\x00\x00\x00\x00\x21\x00",
        b"\x20\x00\x08\x01\x00\x00\x00\x00\x21\x00\x01",
    ],
)
def test_a_malformed_tlv_is_refused(tlvs: bytes) -> None:
    assert refused(with_tlvs(tlvs)).field == "tlv"


def test_how_the_client_spoke_tls_is_there() -> None:
    sent = ClientTls(
        ClientFlag.TLS | ClientFlag.CERTIFICATE_ON_CONNECTION,
        verify=0,
        tlvs=(
            Tlv(SslTlvType.VERSION, b"TLSv1.3"),
            Tlv(SslTlvType.COMMON_NAME, "Zoë".encode()),
            Tlv(5, bytes(200)),
        ),
    )
    header = parsed(encode_v2(*V4, tlvs=[sent.tlv()]))
    tls = header.tls
    assert tls == sent
    assert (tls.version, tls.common_name, tls.cipher) == ("TLSv1.3", "Zoë", None)
    assert tls.is_verified


@pytest.mark.parametrize(
    ("client", "verify", "is_verified"),
    [(0x01, 0, False), (0x03, 0, True), (0x05, 0, True), (0x03, 18, False), (0x00, 0, False)],
)
def test_a_client_without_a_certificate_is_not_verified_whatever_the_proxy_found(
    client: int, verify: int, *, is_verified: bool
) -> None:
    assert ClientTls(ClientFlag(client), verify).is_verified is is_verified


def test_text_that_is_no_utf8_is_escaped() -> None:
    assert (
        ClientTls(ClientFlag.TLS, 0, (Tlv(SslTlvType.COMMON_NAME, b"a\xff"),)).common_name
        == "a\\xff"
    )


def test_the_checksum_of_the_known_answer() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    # RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and counting up.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_a_checksum_of_haproxys_is_right() -> None:
    # Recorded from HAProxy 2.6.12: send-proxy-v2 proxy-v2-options crc32c,unique-id
    block = bytes.fromhex("7f000001 7f000001 d690 8e8d 03 0004 b7954e1e 05 0009") + b"id-1693-2"
    header = parsed(v2(0x21, 0x11, block))
    assert header.source == ("127.0.0.1", 54928)
    assert header.tlv(TlvType.UNIQUE_ID) == b"id-1693-2"


def test_what_haproxy_says_of_a_clients_tls_is_read() -> None:
    # Recorded from HAProxy 2.6.12, with ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority and more.
    said = (
        b"\x07\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x22\x00\x0aZoe Client\x25\x00\x05EC256"
        b"\x24\x00\x11ecdsa-with-SHA256\x23\x00\x16TLS_AES_256_GCM_SHA384"
    )
    more = b"\x01\x00\x02h2\x02\x00\x09localhost\x05\x00\x09id-1693-7"
    ends = bytes.fromhex("7f000001 7f000001 c796 8f7f")
    block = ends + b"\x03\x00\x04\xa3i0(" + more + b"\x20\x00" + bytes([len(said)]) + said
    header = parsed(v2(0x21, 0x11, block))
    assert header.tlv(TlvType.AUTHORITY) == b"localhost"
    tls = header.tls
    assert (tls.version, tls.cipher) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    assert (tls.common_name, tls.is_verified) == ("Zoe Client", True)


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_right_checksum_is_taken_wherever_it_stands(place: str) -> None:
    alpn, zero = b"\x01\x00\x02h2", b"\x03\x00\x04" + bytes(4)
    header = with_tlvs(zero + alpn if place == "first" else alpn + zero)
    right = crc32c(header).to_bytes(4, "big")
    at = 16 + 12 + 3 if place == "first" else len(header) - 4
    assert parsed(header[:at] + right + header[at + 4 :]).tlv(TlvType.CRC32C) == right


def test_a_header_with_a_checksum_is_refused_when_any_bit_of_an_address_is_wrong() -> None:
    header = encode_v2(*V4, has_checksum=True)
    assert parsed(header).source == V4[0]
    for place in range(16, 28):
        for bit in range(8):
            wrong = bytearray(header)
            wrong[place] ^= 1 << bit
            assert refused(bytes(wrong)).field == "checksum"


def test_a_wrong_checksum_and_a_second_one_are_refused() -> None:
    assert refused(encode_v2(*V4, tlvs=[Tlv(TlvType.CRC32C, b"nope")])).field == "checksum"
    second = encode_v2(*V4, tlvs=[Tlv(TlvType.CRC32C, bytes(4))], has_checksum=True)
    assert refused(second).field == "checksum"


# What is sent


def test_headers_are_written_as_the_specification_has_them() -> None:
    assert encode_v1(*V4) == b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
    assert encode_v1(*V6) == b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"
    assert encode_v1() == b"PROXY UNKNOWN\r\n"
    assert encode_v2(*V4) == v2(0x21, 0x11, V4_BLOCK)
    assert encode_v2(*V4, transport=Transport.DGRAM) == v2(0x21, 0x12, V4_BLOCK)
    assert encode_v2() == v2(0x21, 0x00, b"")
    assert encode_local() == v2(0x20, 0x00, b"")


def test_a_zone_and_an_ipv6_address_in_a_pair_are_sent_as_addresses() -> None:
    line = encode_v1(("fe80::1%eth0", 1, 0, 3), ("::1", 2))
    assert line == b"PROXY TCP6 fe80::1 ::1 1 2\r\n"


@pytest.mark.parametrize(
    "write",
    [
        lambda: encode_v1("/run/a", "/run/b"),
        lambda: encode_v1(V4[0], V6[0]),
        lambda: encode_v1(V4[0]),
        lambda: encode_v1(("localhost", 1), ("localhost", 2)),
        lambda: encode_v2(V4[0], "/run/b"),
        lambda: encode_v2(destination=V4[0]),
        lambda: encode_v2("x" * 109, "y"),
        lambda: encode_v2(*V4, tlvs=[Tlv(1, bytes(65_530))]),
        lambda: encode_v2(*V4, tlvs=[Tlv(1, bytes(65_536))]),
        lambda: encode_v2(*V4, tlvs=[Tlv(256, b"")]),
    ],
)
def test_what_cannot_be_sent_is_an_error(write: Any) -> None:
    with pytest.raises(ValueError, match=" "):
        write()
