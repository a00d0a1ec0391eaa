"""Lengths that stand before a frame: of fixed size, and in as many bytes as it takes."""

from dataclasses import dataclass
from typing import Literal

from manyhands.protocol.framing import LONGEST_PREFIX, BadLengthPrefix, FrameTooLong

_SIZES = (1, 2, 4, 8)
_LONGEST_VARINT = 2**64 - 1


@dataclass(frozen=True, slots=True)
class LengthPrefix:
    """A length of fixed size, without a sign.

    Parameters
    ----------
    size : int
        Its bytes: 1, 2, 4 or 8.
    byteorder : str
        ``"big"``, which is network order (RFC 1700), or ``"little"``.
    counts_itself : bool
        Whether these bytes are in the length (PostgreSQL's messages have it so, DNS over TCP has not).

    Raises
    ------
    ValueError
        When `size` or `byteorder` is something else.
    """

    size: Literal[1, 2, 4, 8] = 4
    byteorder: Literal["big", "little"] = "big"
    counts_itself: bool = False

    def __post_init__(self) -> None:
        if self.size not in _SIZES:
            raise ValueError(f"a length prefix has 1, 2, 4 or 8 bytes, not {self.size!r}")
        if self.byteorder not in ("big", "little"):
            raise ValueError(f"a byte order is 'big' or 'little', not {self.byteorder!r}")

    def parse(self, head: bytes) -> tuple[int, int] | None:
        """Return the bytes of the prefix and of the frame after it; None: `head` has not all of the prefix.

        Raises
        ------
        BadLengthPrefix
            When a length that counts itself is less than that.
        """
        if len(head) < self.size:
            return None
        length = int.from_bytes(head[: self.size], self.byteorder)
        if not self.counts_itself:
            return self.size, length
        if length < self.size:
            raise BadLengthPrefix(
                f"a length of {length} bytes cannot count its own {self.size} bytes"
            )
        return self.size, length - self.size

    def pack(self, length: int) -> bytes:
        """Return the prefix of a frame of `length` bytes.

        Raises
        ------
        FrameTooLong
            When that is more than `size` bytes can tell.
        """
        itself = self.size if self.counts_itself else 0
        longest = 2 ** (8 * self.size) - 1 - itself
        if length > longest:
            raise FrameTooLong(longest, length, f"for a prefix of {self.size} bytes, a frame")
        return (length + itself).to_bytes(self.size, self.byteorder)


@dataclass(frozen=True, slots=True)
class VarintPrefix:
    """A length in groups of 7 bits, the lowest first; the high bit says that another follows.

    It is how Protocol Buffers delimit messages
    (https://protobuf.dev/programming-guides/encoding/#varints), of at most 64 bits.
    """

    def parse(self, head: bytes) -> tuple[int, int] | None:
        """Return the bytes of the prefix and of the frame after it; None: `head` has not all of the prefix.

        Raises
        ------
        BadLengthPrefix
            When it has no end within 10 bytes, or more than 64 bits.
        """
        # At most LONGEST_PREFIX bytes: a peer could send high bits for ever.
        length = 0
        for count, octet in enumerate(head[:LONGEST_PREFIX], 1):
            length |= (octet & 0x7F) << (7 * (count - 1))
            if octet < 0x80:  # the high bit
                return count, _bounded(length)
        if len(head) >= LONGEST_PREFIX:
            raise BadLengthPrefix(f"a varint has no end within {LONGEST_PREFIX} bytes")
        return None

    def pack(self, length: int) -> bytes:
        """Return the prefix of a frame of `length` bytes.

        Raises
        ------
        FrameTooLong
            When that is more than 64 bits can tell.
        """
        if length > _LONGEST_VARINT:
            raise FrameTooLong(_LONGEST_VARINT, length, "for a prefix of 64 bits, a frame")
        packed = bytearray()
        while length >= 0x80:
            packed.append(length & 0x7F | 0x80)
            length >>= 7
        packed.append(length)
        return bytes(packed)


def _bounded(length: int) -> int:
    # Ten groups of 7 bits could hold 70.
    if length > _LONGEST_VARINT:
        raise BadLengthPrefix("a varint has more than 64 bits")
    return length
