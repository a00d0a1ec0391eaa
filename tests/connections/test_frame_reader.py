"""A reader of a connection is the file that a socket makes, and more."""

import io
import itertools
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhands.connections.frame_reader import ConnectionReader
from manyhands.protocol.framing import FrameTooLong, IncompleteFrame
from manyhands.protocol.length_prefixes import LengthPrefix
from manyhands.testing import FakeClock
from tests.support.waiting import PATIENCE

Pair = tuple[ConnectionReader, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A reader, and the peer that it hears."""
    near, far = socket.socketpair()
    near.settimeout(PATIENCE)
    with near, far, ConnectionReader(near) as reader:
        yield reader, far


sizes = st.integers(-1, 12)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("read"), sizes),
        st.tuples(st.just("readline"), sizes),
        st.tuples(st.just("readinto"), st.integers(0, 12).map(bytearray)),
        st.tuples(st.just("readlines"), st.integers(0, 12)),
        st.tuples(st.just("__next__")),
    ),
    max_size=8,
)


def outcome(file: Any, name: str, *arguments: Any) -> object:
    try:
        result = getattr(file, name)(
            *map(bytearray, arguments) if name == "readinto" else arguments
        )
    except StopIteration:
        return "the end"
    return result


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"some more"])).map(b"".join), operations)
def test_it_reads_as_the_file_of_a_socket_does(data: bytes, program: list[tuple[Any, ...]]) -> None:
    def run(open_file: Callable[[socket.socket], Any]) -> list[object]:
        near, far = socket.socketpair()
        with near, far, open_file(near) as file:
            far.sendall(data)
            far.shutdown(socket.SHUT_WR)
            return [outcome(file, *step) for step in program]

    assert run(ConnectionReader) == run(lambda sock: sock.makefile("rb"))


def test_read1_and_peek_wait_only_when_nothing_is_there(pair: Pair) -> None:
    reader, far = pair
    far.sendall(b"abc\nd")
    assert reader.peek(1) == b"abc\nd"
    assert reader.read1(2) == b"ab"
    assert reader.pending() == 3
    assert reader.read1() == b"c\nd"
    assert reader.read1(0) == b""
    far.close()
    assert reader.read1() == reader.peek() == b""


def test_it_can_be_read_as_text_by_the_standard_wrapper(pair: Pair) -> None:
    reader, far = pair
    far.sendall("eins\r\nzwölf\n".encode())
    far.shutdown(socket.SHUT_WR)
    with io.TextIOWrapper(reader, "utf-8") as text:  # type: ignore[type-var]  # it names its own kinds
        assert text.readlines() == ["eins\n", "zwölf\n"]


def test_it_has_what_programs_ask_of_the_file_of_a_socket(pair: Pair) -> None:
    reader, _ = pair
    assert reader.fileno() == reader.raw._sock.fileno() >= 0
    assert reader.readable()
    assert not reader.writable()
    assert not reader.closed


def test_a_closed_one_says_so_and_the_connection_stays_open(pair: Pair) -> None:
    reader, far = pair
    sock = reader.raw._sock
    reader.close()
    reader.close()
    for read in (
        reader.read,
        reader.read1,
        reader.readline,
        reader.peek,
        lambda: reader.read_line(10),
    ):
        with pytest.raises(ValueError, match="closed file"):
            read()
    far.sendall(b"still")
    assert sock.recv(10) == b"still"


def test_it_keeps_a_closed_connection_open_as_files_do(pair: Pair) -> None:
    reader, far = pair
    sock = reader.raw._sock
    sock.close()
    far.sendall(b"line\n")
    assert reader.readline() == b"line\n"
    reader.close()
    assert sock.fileno() == -1


def test_the_file_goes_on_after_a_timeout_with_what_had_come(pair: Pair) -> None:
    reader, far = pair
    reader.raw._sock.settimeout(0.01)
    far.sendall(b"half")
    for read in (reader.readline, lambda: reader.read(10), reader.read):
        with pytest.raises(TimeoutError):
            read()
    far.sendall(b" a line\n")
    assert reader.readline() == b"half a line\n"


class Scripted:
    """A connection that gives what it is told to, and takes the time that it is told to."""

    def __init__(self, *script: tuple[bytes, float]) -> None:
        self._script = iter(script)
        self._timeout: float | None = None
        self.clock = FakeClock(100.0)
        self.timeouts: list[float | None] = []
        self.sizes: list[int] = []

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO()

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def recv(self, size: int) -> bytes:
        data, seconds = next(self._script)
        self.timeouts.append(self._timeout)
        self.sizes.append(size)
        if self._timeout is not None and seconds > self._timeout:
            self.clock.advance(self._timeout)
            raise TimeoutError("timed out")
        self.clock.advance(seconds)
        return data


def reading(connection: Scripted) -> ConnectionReader:
    return ConnectionReader(connection, connection.clock)


def test_the_deadline_is_that_of_the_whole_frame() -> None:
    connection = Scripted(*[(b"x", 3.0)] * 10)
    reader = reading(connection)
    with pytest.raises(TimeoutError, match="no whole frame came within 10 s"):
        reader.read_line(100, timeout=10)
    assert connection.timeouts == [10, 7, 4, 1]
    assert connection.clock() == 110
    assert connection.gettimeout() is None
    assert reader.pending() == 3


def test_a_deadline_that_passes_while_something_comes_has_passed() -> None:
    connection = Scripted((b"x", 1.0), (b"\n", 0.0))
    six_seconds_a_look = itertools.count(100.0, 6.0).__next__
    reader = ConnectionReader(connection, six_seconds_a_look)
    with pytest.raises(TimeoutError, match="within 5 s"):
        reader.read_line(100, timeout=5)
    assert reader.pending() == 1
    assert reader.read_line(100) == b"x"


def test_the_connections_own_timeout_holds_when_it_is_shorter_and_is_told_as_ever() -> None:
    connection = Scripted((b"x", 1.0), (b"y", 3.0), (b"z\n", 1.0))
    connection.settimeout(2)
    reader = reading(connection)
    with pytest.raises(TimeoutError, match="timed out"):
        reader.read_line(100, timeout=10)
    assert connection.timeouts == [2, 2]
    assert reader.read_line(100) == b"xz"


def test_a_timer_that_is_a_little_early_is_the_deadline_all_the_same() -> None:
    class Early(Scripted):
        def recv(self, size: int) -> bytes:
            self.clock.advance((self._timeout or 0) - 0.01)
            raise TimeoutError("timed out")

    with pytest.raises(TimeoutError, match="no whole frame came within 10 s"):
        reading(Early()).read_line(100, timeout=10)


def test_what_is_there_needs_no_time() -> None:
    connection = Scripted((b"one\ntwo\n", 0.0))
    reader = reading(connection)
    assert reader.read_line(100, timeout=0) == b"one"
    assert reader.read_line(100, timeout=0) == b"two"
    assert len(connection.timeouts) == 1


def test_without_time_whatever_the_kernel_has_is_read(pair: Pair) -> None:
    reader, far = pair
    with pytest.raises(TimeoutError, match="no whole frame came within 0 s"):
        reader.read_line(100, timeout=0)
    far.sendall(b"now\n")
    assert reader.read_line(100, timeout=0) == b"now"


def test_a_long_frame_is_received_in_large_pieces_and_never_larger_ones() -> None:
    frame = bytes(200_000)
    stream = LengthPrefix(4).pack(len(frame)) + frame
    pieces = [
        stream[:4],
        *(stream[start : start + 65_536] for start in range(4, len(stream), 65_536)),
    ]
    connection = Scripted(*((piece, 0.0) for piece in pieces))
    assert reading(connection).read_frame(LengthPrefix(4), 10**9) == frame
    assert connection.sizes == [8192, 65_536, 65_536, 65_536, 8192]


def test_what_a_limit_refuses_is_still_there() -> None:
    connection = Scripted((b"abcdef\n", 0.0))
    reader = reading(connection)
    with pytest.raises(FrameTooLong):
        reader.read_line(3)
    assert reader.read_line(6) == b"abcdef"


def test_the_end_is_none_between_frames_and_an_error_within_one(pair: Pair) -> None:
    reader, far = pair
    far.sendall(b"\n\0\0\0\0ab")
    far.shutdown(socket.SHUT_WR)
    assert reader.read_line(10) == b""
    assert reader.read_frame(LengthPrefix(4), 10) == b""
    for _ in range(2):
        with pytest.raises(IncompleteFrame) as cut_off:
            reader.read_exactly(3, 10)
        assert cut_off.value.partial == b"ab"
    assert reader.read() == b"ab"
    assert reader.read_exactly(3, 10) is None
    assert reader.read_exactly(0, 10) == b""


def test_mistakes_are_named(pair: Pair) -> None:
    reader, _ = pair
    with pytest.raises(ValueError, match="0 or more, not -1"):
        reader.read_exactly(-1, 10)
    with pytest.raises(ValueError, match="one byte or more"):
        reader.read_until(b"", 10)
    with pytest.raises(FrameTooLong, match="a frame of 11 bytes is longer than 10 bytes"):
        reader.read_exactly(11, 10)


def test_frames_lines_and_the_file_take_turns_at_every_split() -> None:
    stream = b"one\ntwo\0\0\0\3abcxyz" + "€".encode() + b"rest"
    for first, second in itertools.combinations(range(len(stream)), 2):
        pieces = [stream[:first], stream[first:second], stream[second:], b""]
        reader = reading(Scripted(*((piece, 0.0) for piece in pieces if piece), (b"", 0.0)))
        assert reader.readline() == b"one\n"
        assert reader.read_exactly(3, 10) == b"two"
        assert reader.read_frame(LengthPrefix(4), 10) == b"abc"
        assert reader.read(2) == b"xy"
        assert reader.read_until("€".encode(), 10) == b"z"
        assert reader.read() == b"rest"
