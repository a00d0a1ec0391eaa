"""The reader of a connection: a file, frames and text from one buffer, each read with a deadline.

The standard library's file of a socket (`socket.SocketIO`) refuses every read after a timeout, and does not
say what its buffer holds. So the buffer is ours, and the file is a view of it: bytes that a timeout or a
limit leaves there are there for the next read, of whatever kind.
"""

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

from manyhands.protocol.framing import (
    FrameBuffer,
    FrameTooLong,
    IncompleteFrame,
    Prefix,
    TextDecoder,
)

Frame = TypeVar("Frame", bytes, str)

USUAL_RECEIVE = 8 * 1024
"""Bytes of a receive while no more are known to be missing: what `io` takes for a socket's file."""

LARGEST_RECEIVE = 64 * 1024
"""Bytes of the largest receive. `recv` allocates all of them beforehand, so a peer that only announces a
large frame gets no more memory than this."""

_SHORTEST = 0.001
"""Seconds of the shortest wait: a timeout of 0 makes the socket non-blocking, and raises
`BlockingIOError`."""


class _DeadlinePassed(TimeoutError):  # noqa: N818 - what happened
    """The deadline of a frame has passed, and not the connection's own timeout."""


class ConnectionReader(io.BufferedIOBase):
    """Reads from a connection, as a file and in frames.

    Parameters
    ----------
    connection : socket.socket
        A connected stream socket: of a thread or of a fiber, plain or TLS.
    clock : callable
        The time in seconds; it never goes back.

    Notes
    -----
    The connection's own timeout (`settimeout`) bounds each receive. The `timeout` of a method bounds the
    whole frame; while the method waits it sets the socket's timeout, so a thread that sends on the connection
    meanwhile is bound by it too. After a `TimeoutError` the bytes that have come stay in the buffer.

    At the peer's end of file the methods for frames return None; in the middle of a frame they raise
    `IncompleteFrame`. Not thread-safe.
    """

    def __init__(self, connection: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._buffer = FrameBuffer()
        # Only so that the socket counts us among its files: `socket.close` then keeps the descriptor until
        # this file is closed as well, as a program expects of `makefile`. Nothing is read through it.
        self.raw: Any = connection.makefile("rb", 0)

        self.receive_by: Callable[[int, float | None], bytes | None] | None = None
        """What receives while a frame is waited for, where another process may go on with the connection: so
        many bytes, within so many seconds. None comes back when nothing has come."""

    # Frames

    def read_exactly(self, count: int, limit: int, timeout: float | None = None) -> bytes | None:
        """Read `count` bytes.

        Raises
        ------
        FrameTooLong
            When `count` is more than `limit`.
        IncompleteFrame
            When the peer ends before the last of them.
        TimeoutError
            When they have not come in `timeout` seconds.
        """
        if count < 0:
            raise ValueError(f"a number of bytes is 0 or more, not {count}")
        if count > limit:
            raise FrameTooLong(limit, count)
        return self._read(lambda: self._buffer.exactly(count), timeout)

    def read_until(
        self, delimiter: bytes, limit: int, timeout: float | None = None
    ) -> bytes | None:
        """Read the bytes before `delimiter`, and consume the delimiter with them.

        Raises
        ------
        FrameTooLong
            When there are more than `limit`.
        IncompleteFrame
            When the peer ends before the delimiter.
        TimeoutError
            When it has not come in `timeout` seconds.
        """
        if not delimiter:
            raise ValueError("a delimiter has one byte or more")
        return self._read(lambda: self._buffer.until(delimiter, limit), timeout)

    def read_line(self, limit: int, timeout: float | None = None) -> bytes | None:
        r"""Read a line; return it without its end, ``\n`` or ``\r\n``.

        Raises
        ------
        FrameTooLong
            When it has more than `limit` bytes.
        IncompleteFrame
            When the peer ends before the end of the line.
        TimeoutError
            When it has not come in `timeout` seconds.
        """
        return self._read(lambda: self._buffer.line(limit), timeout)

    def read_frame(self, prefix: Prefix, limit: int, timeout: float | None = None) -> bytes | None:
        """Read a frame with its length before it; return it without the length.

        Raises
        ------
        FrameTooLong
            When its length says more than `limit` bytes.
        BadLengthPrefix
            When no frame has such a length.
        IncompleteFrame
            When the peer ends before the end of the frame.
        TimeoutError
            When it has not come in `timeout` seconds.
        """
        return self._read(lambda: self._buffer.frame(prefix, limit), timeout)

    def read_text(
        self, decoder: TextDecoder, limit: int, timeout: float | None = None
    ) -> str | None:
        """Read the text that has come: one character at least, and none cut in two.

        Raises
        ------
        UndecodableText
            When the decoder is strict, and the bytes are no text.
        FrameTooLong
            When one character has more than `limit` bytes.
        TimeoutError
            When no character has come in `timeout` seconds.
        """
        try:
            return self._read(lambda: self._buffer.text(decoder, limit), timeout)
        except IncompleteFrame as half:
            # The peer ends within a character: the decoder says what becomes of the half that came.
            self._buffer.available(len(half.partial))
            return (decoder.feed(half.partial) + decoder.finish()) or None

    # The file

    def readable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        descriptor: int = self.raw.fileno()
        return descriptor

    def close(self) -> None:
        """Close the file; the connection stays open unless the program has closed it."""
        if not self.closed:
            self.raw.close()
        super().close()

    def feed(self, data: bytes) -> None:
        """Have bytes read that were received by other means."""
        self._buffer.feed(data)

    def take_unread(self) -> bytes:
        """Give back all that is in the buffer, to be read by other means."""
        return self._buffer.available(len(self._buffer))

    def pending(self) -> int:
        """Return how many bytes are in the buffer, still to be read."""
        return len(self._buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or fewer at the end of file; without a size, all bytes until then."""
        self._check_open()
        most = None if size is None or size < 0 else size
        while most is None or len(self._buffer) < most:
            missing = LARGEST_RECEIVE if most is None else most - len(self._buffer)
            if not self._receive(missing):
                break
        return self._buffer.available(len(self._buffer) if most is None else most)

    def read1(self, size: int | None = -1, /) -> bytes:
        """Read what the buffer holds, `size` bytes at most; receive once if it is empty."""
        self._check_open()
        if size != 0 and not self._buffer:
            self._receive(USUAL_RECEIVE)
        return self._buffer.available(len(self._buffer) if size is None or size < 0 else size)

    def peek(self, size: int = 0, /) -> bytes:  # noqa: ARG002 - as `io.BufferedReader` has it
        """Return what the buffer holds, without taking it; receive once if it is empty. `size` is ignored."""
        self._check_open()
        if not self._buffer:
            self._receive(USUAL_RECEIVE)
        return self._buffer.peek()

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line with its end, or `size` bytes of it, or what is left at the end of file."""
        self._check_open()
        most = None if size is None or size < 0 else size
        while (line := self._buffer.piece(most)) is None:
            if not self._receive(USUAL_RECEIVE):
                return self._buffer.available(len(self._buffer))
        return line

    # Receiving

    def _read(self, attempt: Callable[[], Frame | None], timeout: float | None) -> Frame | None:
        self._check_open()
        deadline = None if timeout is None else self._clock() + timeout
        left = timeout
        while (frame := attempt()) is None:
            try:
                if not self._receive(self._buffer.missing, left, by=self.receive_by):
                    self._buffer.finish()
                    return None
            except _DeadlinePassed:
                raise TimeoutError(f"no whole frame came within {timeout:g} s") from None
            left = None if deadline is None else deadline - self._clock()
        return frame

    def _receive(
        self,
        missing: int,
        left: float | None = None,
        by: Callable[[int, float | None], bytes | None] | None = None,
    ) -> bool:
        """Receive once, within the seconds that are left; return False at the end of file."""
        size = min(max(missing, USUAL_RECEIVE), LARGEST_RECEIVE)
        if by is not None:
            data = self._receive_by(by, size, left)
        elif left is None:
            data = self._connection.recv(size)
        else:
            data = self._receive_within(size, left)
        self._buffer.feed(data)
        return bool(data)

    def _receive_by(
        self, receive: Callable[[int, float | None], bytes | None], size: int, left: float | None
    ) -> bytes:
        own = self._connection.gettimeout()
        if own == 0 and left is None:
            data: bytes = self._connection.recv(size)  # it does not wait
            return data
        if left is not None and left < 0:
            raise _DeadlinePassed
        is_own_shorter = bool(own) and (left is None or own < left)
        try:
            received = receive(size, own if is_own_shorter else left)
        finally:
            # It may wait by the timeout of the socket. Where that has gone to another process, it has none.
            if self._connection.fileno() >= 0:
                self._connection.settimeout(own)
        if received is None:
            raise TimeoutError("timed out") if is_own_shorter else _DeadlinePassed
        return received

    def _receive_within(self, size: int, left: float) -> bytes:
        if left < 0:
            raise _DeadlinePassed
        # A connection that does not block (0) waits for the frame all the same: the caller gave a deadline.
        own = self._connection.gettimeout()
        is_own_shorter = bool(own) and own < left
        self._connection.settimeout(own if is_own_shorter else max(left, _SHORTEST))
        try:
            data: bytes = self._connection.recv(size)
        except TimeoutError as error:
            # Which timeout has passed follows from the one that was set, not from the clock: an event loop's
            # timer may fire a little early, and by the clock neither would have passed.
            raise error if is_own_shorter else _DeadlinePassed from None
        finally:
            self._connection.settimeout(own)
        return data

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
