"""From a stream of bytes to frames, without a socket."""

import itertools
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.protocol.framing import (
    BadLengthPrefix,
    FrameBuffer,
    FrameTooLong,
    FramingError,
    IncompleteFrame,
    Prefix,
    UndecodableText,
)
from manyhands.protocol.length_prefixes import LengthPrefix, VarintPrefix

PREFIXES: list[Prefix] = [
    VarintPrefix(),
    *(
        LengthPrefix(size, order, counts)
        for size in (1, 2, 4, 8)
        for order in ("big", "little")
        for counts in (False, True)
    ),
]


def holding(data: bytes) -> FrameBuffer:
    buffer = FrameBuffer()
    buffer.feed(data)
    return buffer


def all_frames(pieces: list[bytes], ask: Callable[[FrameBuffer], bytes | None]) -> list[bytes]:
    """Feed the pieces, and ask for frames after each of them until there is none."""
    buffer, frames = FrameBuffer(), []
    for piece in pieces:
        buffer.feed(piece)
        while (frame := ask(buffer)) is not None:
            frames.append(frame)
    buffer.finish()
    return frames


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends)]


# Exactly, until, line


def test_exactly_so_many_bytes_come_and_the_rest_stays() -> None:
    buffer = holding(b"ab")
    assert buffer.exactly(4) is None
    assert buffer.missing == 2
    buffer.feed(b"cdef")
    assert buffer.exactly(4) == b"abcd"
    assert buffer.peek() == b"ef"
    assert buffer.exactly(0) == b""


def test_a_delimiter_ends_a_frame_wherever_it_was_cut() -> None:
    buffer = holding(b"one\r")
    assert buffer.until(b"\r\n\r\n", 10) is None
    buffer.feed(b"\n\r")
    assert buffer.until(b"\r\n\r\n", 10) is None
    buffer.feed(b"\ntwo")
    assert buffer.until(b"\r\n\r\n", 10) == b"one"
    assert buffer.peek() == b"two"


def test_another_delimiter_is_looked_for_from_the_start() -> None:
    buffer = holding(b"a;b")
    assert buffer.until(b"\n", 10) is None
    assert buffer.until(b";", 10) == b"a"
    assert buffer.peek() == b"b"


def test_a_line_ends_with_lf_or_cr_lf() -> None:
    buffer = holding(b"one\ntwo\r\n\n\r\nthr\ree\r")
    assert [buffer.line(10) for _ in range(5)] == [b"one", b"two", b"", b"", None]
    buffer.feed(b"\n")
    assert buffer.line(10) == b"thr\ree"


# Limits


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_just_its_limit_is_taken_and_one_byte_more_is_not(end: bytes) -> None:
    buffer = FrameBuffer()
    for octet in b"abcd" + end:
        assert buffer.line(4) is None
        buffer.feed(bytes([octet]))
    assert buffer.line(4) == b"abcd"
    with pytest.raises(FrameTooLong, match="a line is longer than 4 bytes"):
        holding(b"abcde").line(4)
    with pytest.raises(FrameTooLong):
        holding(b"abcde" + end).line(4)


def test_a_delimited_frame_is_too_long_as_soon_as_no_more_bytes_could_end_it_in_time() -> None:
    assert holding(b"abcd\r").until(b"\r\n", 4) is None
    assert holding(b"abc\r\r").until(b"\r\n", 4) is None
    for certain in (b"abcde", b"abcd\rx", b"abcde\r\n", b"abcde\r"):
        with pytest.raises(FrameTooLong, match=r"what stands before b'\\r\\n' is longer than 4"):
            holding(certain).until(b"\r\n", 4)


def test_an_error_consumes_nothing() -> None:
    buffer = holding(b"abcdef\n")
    for _ in range(2):
        with pytest.raises(FrameTooLong):
            buffer.line(4)
    assert buffer.line(6) == b"abcdef"


def test_a_frame_over_its_limit_is_refused_by_its_prefix_alone() -> None:
    buffer = holding(b"\xff\xff\xff\xff")
    with pytest.raises(FrameTooLong, match="a frame of 4294967295 bytes is longer than 100") as far:
        buffer.frame(LengthPrefix(4), 100)
    assert (far.value.limit, far.value.length) == (100, 2**32 - 1)


def test_a_huge_announcement_within_the_limit_spends_no_memory_before_its_bytes_come() -> None:
    buffer = holding(b"\x7f\xff\xff\xff")
    tracemalloc.start()
    try:
        assert buffer.frame(LengthPrefix(4), 2**32) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert buffer.missing == 2**31 - 1


# Prefixes


@pytest.mark.parametrize("prefix", PREFIXES, ids=str)
def test_a_prefix_tells_what_was_packed_and_an_empty_frame_is_one(prefix: Prefix) -> None:
    for length in (0, 1, 100, 200):
        buffer = FrameBuffer()
        for octet in prefix.pack(length) + bytes(length):
            assert buffer.frame(prefix, 200) is None
            buffer.feed(bytes([octet]))
        assert buffer.frame(prefix, 200) == bytes(length)
        assert len(buffer) == 0


def test_the_longest_frame_is_what_the_prefix_can_tell() -> None:
    assert LengthPrefix(1).pack(255) == b"\xff"
    assert LengthPrefix(1, counts_itself=True).pack(254) == b"\xff"
    assert VarintPrefix().pack(2**64 - 1) == b"\xff" * 9 + b"\x01"
    for prefix, length in (
        (LengthPrefix(1), 256),
        (LengthPrefix(1, counts_itself=True), 255),
        (VarintPrefix(), 2**64),
    ):
        with pytest.raises(FrameTooLong, match="for a prefix of"):
            prefix.pack(length)


def test_the_order_of_bytes_is_what_was_asked_for() -> None:
    assert LengthPrefix(2, "big").pack(1) == b"\x00\x01"
    assert LengthPrefix(2, "little").pack(1) == b"\x01\x00"
    assert LengthPrefix(4, counts_itself=True).pack(1) == b"\x00\x00\x00\x05"
    assert VarintPrefix().pack(150) == b"\x96\x01"  # the specification's own example


def test_a_prefix_that_no_frame_can_have_is_named() -> None:
    with pytest.raises(BadLengthPrefix, match="3 bytes cannot count its own 4 bytes"):
        holding(b"\0\0\0\3").frame(LengthPrefix(4, counts_itself=True), 100)
    with pytest.raises(BadLengthPrefix, match="no end within 10 bytes"):
        holding(b"\xff" * 10).frame(VarintPrefix(), 100)
    with pytest.raises(BadLengthPrefix, match="more than 64 bits"):
        holding(b"\xff" * 9 + b"\x7f").frame(VarintPrefix(), 100)


def test_a_prefix_that_cannot_be_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="1, 2, 4 or 8 bytes, not 3"):
        LengthPrefix(3)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ValueError, match="'big' or 'little', not 'middle'"):
        LengthPrefix(4, "middle")  # type: ignore[arg-type]  # the mistake under test


# The end


def test_the_end_between_frames_is_clean_and_within_one_is_not() -> None:
    buffer = holding(b"\0\2ab\0\2a")
    assert buffer.frame(LengthPrefix(2), 10) == b"ab"
    assert buffer.frame(LengthPrefix(2), 10) is None
    with pytest.raises(IncompleteFrame, match="in the middle of a frame, after 3 bytes") as cut_off:
        buffer.finish()
    assert cut_off.value.partial == b"\0\2a"
    FrameBuffer().finish()


def test_all_errors_are_of_one_family() -> None:
    for kind in (FrameTooLong, IncompleteFrame, BadLengthPrefix, UndecodableText):
        assert issubclass(kind, FramingError)
    assert issubclass(FramingError, ValueError)
    assert issubclass(IncompleteFrame, EOFError)


# However it is cut

splits = st.lists(st.integers(0, 10_000), max_size=20)


@given(st.lists(st.binary(max_size=60)), splits, st.sampled_from(PREFIXES))
def test_any_split_gives_the_same_length_prefixed_frames(
    frames: list[bytes], places: list[int], prefix: Prefix
) -> None:
    stream = b"".join(prefix.pack(len(frame)) + frame for frame in frames)
    assert all_frames(cut(stream, places), lambda buffer: buffer.frame(prefix, 60)) == frames


@given(st.lists(st.text("ab\r", max_size=8)), splits)
def test_any_split_gives_the_same_lines(lines: list[str], places: list[int]) -> None:
    stream = "".join(f"{line}\n" for line in lines).encode()
    expected = [line.removesuffix("\r").encode() for line in lines]
    assert all_frames(cut(stream, places), lambda buffer: buffer.line(8)) == expected


@given(st.text("ab\r\n").map(str.encode), splits, st.sampled_from([b"\n", b"\r\n", b"aab"]))
def test_any_split_gives_the_same_delimited_frames(
    body: bytes, places: list[int], delimiter: bytes
) -> None:
    *expected, _ = (body + delimiter).split(delimiter)
    stream = b"".join(frame + delimiter for frame in expected)
    limit = len(stream)
    got = all_frames(cut(stream, places), lambda buffer: buffer.until(delimiter, limit))
    assert got == expected


@given(st.binary(max_size=40), splits, st.integers(0, 10), st.sampled_from([b"\n", b"\r\n", b"aa"]))
def test_any_split_meets_the_same_limit(
    data: bytes, places: list[int], limit: int, delimiter: bytes
) -> None:
    def outcome(pieces: list[bytes]) -> object:
        try:
            return all_frames(pieces, lambda buffer: buffer.until(delimiter, limit))
        except IncompleteFrame as cut_off:
            return cut_off.partial
        except FrameTooLong:
            return FrameTooLong

    assert outcome(cut(data, places)) == outcome([data])


def test_a_drip_is_looked_at_once() -> None:
    class Counting(bytearray):
        looked_at = 0

        def find(self, sub: bytes, start: int = 0, *rest: int) -> int:  # type: ignore[override]
            Counting.looked_at += len(self) - start
            return super().find(sub, start, *rest)

    buffer = FrameBuffer()
    buffer._data = Counting()
    for _ in range(10_000):
        buffer.feed(b"x")
        assert buffer.until(b"\r\n", 20_000) is None
    assert Counting.looked_at <= 2 * 10_000
