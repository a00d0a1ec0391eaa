"""CRC32c, the checksum of iSCSI, SCTP and PROXY headers (RFC 3720, section 12.1; RFC 4960, appendix B)."""

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's 0x1EDC6F41, its bits in reverse: each byte goes in with its lowest bit first."""


def crc32c(data: bytes) -> int:
    """Return the CRC32c of `data`, from 0 to 2**32 - 1: of ``b"123456789"`` it is 0xE3069283."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _divided(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_divided, range(256)))
