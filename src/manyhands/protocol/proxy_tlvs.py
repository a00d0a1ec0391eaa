"""What a PROXY header of version 2 says beside the addresses: type, length and value, one after the other.

"Section" means one of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt; all is from section 2.2.1
and those after it.
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from manyhands.protocol.proxy_errors import BadProxyHeader

LONGEST_UNIQUE_ID = 128
"""Bytes (section 2.2.5)."""

LONGEST_VALUE = 0xFFFF
"""Bytes: what the two bytes of a length can say."""

CHECKSUM_SIZE = 4
"""Bytes of a CRC32c (section 2.2.3)."""

_HEAD = struct.Struct("!BH")
_TLS_HEAD = struct.Struct("!BI")


class TlvType(enum.IntEnum):
    """The types that are registered (section 2.2); 0xE0 to 0xEF are the applications' own."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    NETNS = 0x30


class SslTlvType(enum.IntEnum):
    """The types within a TLV of type `SSL` (section 2.2.6)."""

    VERSION = 0x21
    COMMON_NAME = 0x22
    CIPHER = 0x23
    SIGNATURE_ALGORITHM = 0x24
    KEY_ALGORITHM = 0x25


class ClientFlag(enum.IntFlag):
    """How the client spoke to the proxy (section 2.2.6); bits that have no name here are kept."""

    TLS = 0x01
    CERTIFICATE_ON_CONNECTION = 0x02
    CERTIFICATE_IN_SESSION = 0x04


@dataclass(frozen=True, slots=True)
class Tlv:
    """One piece of information; types without a name are handed on as they are.

    Attributes
    ----------
    type : int
        0 to 255; `TlvType` has names, and within a TLV of type `SSL` it is `SslTlvType`.
    value : bytes
        At most 65535 of them.
    """

    type: int
    value: bytes

    def encode(self) -> bytes:
        """Return it as it is sent.

        Raises
        ------
        ValueError
            The type or the value's length has no room in its field.
        """
        if len(self.value) > LONGEST_VALUE:
            raise ValueError(f"a TLV cannot have {len(self.value)} bytes, only {LONGEST_VALUE}")
        if not 0 <= self.type <= 0xFF:
            raise ValueError(f"the type of a TLV is a number from 0 to 255, not {self.type}")
        return _HEAD.pack(self.type, len(self.value)) + self.value


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How the client spoke TLS with the proxy: the value of a TLV of type `SSL`.

    Attributes
    ----------
    client : ClientFlag
        Whether it spoke TLS, and whether it had a certificate.
    verify : int
        0 when its certificate was verified, or when there was nothing to verify: see `is_verified`.
    tlvs : tuple of Tlv
        The version, the cipher and more, by `SslTlvType`.
    """

    client: ClientFlag
    verify: int
    tlvs: tuple[Tlv, ...] = ()

    @property
    def is_verified(self) -> bool:
        """Whether the client had a certificate that the proxy verified.

        Proxies send a `verify` of 0 for clients without a certificate too, so the flags count as well.
        """
        certificate = ClientFlag.CERTIFICATE_ON_CONNECTION | ClientFlag.CERTIFICATE_IN_SESSION
        return self.verify == 0 and bool(self.client & certificate)

    @property
    def version(self) -> str | None:
        """The version of TLS, as in ``"TLSv1.3"``."""
        return self._text(SslTlvType.VERSION)

    @property
    def cipher(self) -> str | None:
        """The cipher, as in ``"ECDHE-RSA-AES128-GCM-SHA256"``."""
        return self._text(SslTlvType.CIPHER)

    @property
    def common_name(self) -> str | None:
        """The common name in the client's certificate; it means something only if `is_verified`."""
        return self._text(SslTlvType.COMMON_NAME)

    def tlv(self) -> Tlv:
        """Return it as the TLV that says it."""
        head = _TLS_HEAD.pack(self.client, self.verify)
        return Tlv(TlvType.SSL, head + b"".join(map(Tlv.encode, self.tlvs)))

    def _text(self, kind: int) -> str | None:
        value = first(self.tlvs, kind)
        # UTF-8 by the specification. What is not is shown as it came: refusing it would cut the client off.
        return None if value is None else value.decode("utf-8", "backslashreplace")


def first(tlvs: tuple[Tlv, ...], kind: int) -> bytes | None:
    """Return the value of the first TLV of a type, or None."""
    return next((tlv.value for tlv in tlvs if tlv.type == kind), None)


def read_tlvs(header: bytes, start: int) -> tuple[Tlv, ...]:
    """Read the TLVs of a whole header, but for those of type `NOOP`, and check its checksum if it has one.

    Parameters
    ----------
    header : bytes
        All of it, since that is what the checksum is of.
    start : int
        Where the addresses end.

    Raises
    ------
    BadProxyHeader
        One is longer than what is left, or its value is not what its type says.
    """
    tlvs, checksums = [], []
    for value_at, tlv in _split(header, start):
        if tlv.type == TlvType.NOOP:  # section 2.2.4: to be ignored
            continue
        _check(tlv)
        if tlv.type == TlvType.CRC32C:
            checksums.append(value_at)
        tlvs.append(tlv)
    _check_checksum(header, checksums)
    return tuple(tlvs)


def read_client_tls(value: bytes) -> ClientTls:
    """Read the value of a TLV of type `SSL`.

    Raises
    ------
    BadProxyHeader
        It is none.
    """
    if len(value) < _TLS_HEAD.size:
        raise BadProxyHeader(
            "tlv", f"a TLV of type SSL has {len(value)} bytes, and {_TLS_HEAD.size} are the least"
        )
    client, verify = _TLS_HEAD.unpack_from(value)
    inner = tuple(tlv for _, tlv in _split(value, _TLS_HEAD.size))
    return ClientTls(ClientFlag(client), verify, inner)


def checksum_of(header: bytes, value_at: int) -> bytes:
    """Return the checksum that belongs at `value_at` in a whole header (section 2.2.3)."""
    # Of the header with zeros in the place of the checksum itself.
    zeroed = header[:value_at] + bytes(CHECKSUM_SIZE) + header[value_at + CHECKSUM_SIZE :]
    return crc32c(zeroed).to_bytes(CHECKSUM_SIZE, "big")


def _split(block: bytes, start: int) -> Iterator[tuple[int, Tlv]]:
    """Split what follows `start` into TLVs; give each with the index of its value."""
    while start < len(block):
        if start + _HEAD.size > len(block):
            raise BadProxyHeader(
                "tlv", f"{len(block) - start} bytes are left over, too few for a TLV"
            )
        kind, length = _HEAD.unpack_from(block, start)
        value_at = start + _HEAD.size
        start = value_at + length
        if start > len(block):
            there = len(block) - value_at
            raise BadProxyHeader(
                "tlv", f"a TLV of type {kind:#04x} announces {length} bytes, and {there} are left"
            )
        yield value_at, Tlv(kind, block[value_at:start])


def _check(tlv: Tlv) -> None:
    size = len(tlv.value)
    if tlv.type == TlvType.SSL:
        read_client_tls(tlv.value)
    elif tlv.type == TlvType.UNIQUE_ID and size > LONGEST_UNIQUE_ID:
        raise BadProxyHeader(
            "tlv", f"a unique id has {size} bytes, and {LONGEST_UNIQUE_ID} are the most"
        )
    elif tlv.type == TlvType.CRC32C and size != CHECKSUM_SIZE:
        raise BadProxyHeader("tlv", f"a checksum has {size} bytes instead of {CHECKSUM_SIZE}")


def _check_checksum(header: bytes, places: list[int]) -> None:
    if not places:
        return
    if len(places) > 1:
        # Each of them would have to be zero while the other is calculated.
        raise BadProxyHeader("checksum", f"the PROXY header has {len(places)} checksums")
    [place] = places
    given, right = header[place : place + CHECKSUM_SIZE], checksum_of(header, place)
    if given != right:
        raise BadProxyHeader(
            "checksum",
            f"the PROXY header's checksum is 0x{given.hex()}, and 0x{right.hex()} would be right",
        )


_POLYNOMIAL = 0x82F63B78
"""Castagnoli's 0x1EDC6F41, its bits in reverse: each byte goes in with its lowest bit first."""


def crc32c(data: bytes) -> int:
    """Return the CRC32c of `data` (RFC 3720, section 12.1; RFC 4960, appendix B): a number of 32 bits.

    Of ``b"123456789"`` it is 0xE3069283.
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _divided(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


# One byte at a time: a header is short, and most have no checksum.
_TABLE = tuple(map(_divided, range(256)))
