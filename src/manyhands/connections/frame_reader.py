"""What a handler reads from: a file, frames and text, all of one buffer, with a deadline for each.

The standard library's file of a socket (`socket.SocketIO`) refuses to read after a timeout, and what its
buffer holds cannot be asked for. So the buffer is ours, and the file is one on it: whatever a timeout, a
limit or another way of reading leaves there is there for the next.
"""

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

from manyhands.protocol.framing import FrameBuffer, FrameTooLong, IncompleteFrame, Prefix
from manyhands.protocol.text_decoder import TextDecoder

Frame = TypeVar("Frame", bytes, str)

RECEIVE = 8 * 1024
"""Bytes of a receive, where no more are known to be missing: what `io` takes for a socket's file."""

LARGEST_RECEIVE = 64 * 1024
"""Bytes of the largest receive: where more than that is missing it still comes bit by bit, and no peer gets
memory for what it only announces."""

_SHORTEST = 0.001
"""Seconds of the shortest wait; 0 would be another mode of the socket, with exceptions of its own."""


class _DeadlinePassed(TimeoutError):  # noqa: N818 - what happened
    """The deadline of a frame has passed, and not the connection's own timeout."""


class ConnectionReader(io.BufferedIOBase):
    """Reads from a connection, as a file and in frames.

    Parameters
    ----------
    connection : socket.socket
        A connected stream socket: a plain one, one of a fiber, or either's TLS socket.
    clock : callable
        The time in seconds; it never goes back.

    Notes
    -----
    Every method takes a connection's own timeout (`settimeout`) as that of one receive. A method that has a
    `timeout` takes it as that of the whole; while it waits, it is the connection's as well, so a thread that
    sends on the connection meanwhile is bound by it too. Whatever had come when either has passed
    (`TimeoutError`) stays in the buffer.

    At the end of what the peer has to say, the methods for frames return None; in the middle of a frame they
    raise `IncompleteFrame`. Not thread-safe.
    """

    def __init__(self, connection: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._buffer = FrameBuffer()
        # It keeps the connection open for as long as it is open itself, as a file of a socket does.
        self.raw: Any = connection.makefile("rb", 0)

    # Frames

    def read_exactly(self, count: int, limit: int, timeout: float | None = None) -> bytes | None:
        """Read `count` bytes.

        Raises
        ------
        FrameTooLong
            When `count` is more than `limit`.
        IncompleteFrame
            When fewer were to come.
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
        """Read the bytes before `delimiter`, and consume that with them.

        Raises
        ------
        FrameTooLong
            When there are more than `limit`.
        IncompleteFrame
            When the delimiter was not to come.
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
            When its end was not to come.
        TimeoutError
            When it has not come in `timeout` seconds.
        """
        return self._read(lambda: self._buffer.line(limit), timeout)

    def read_frame(self, prefix: Prefix, limit: int, timeout: float | None = None) -> bytes | None:
        """Read a frame whose length stands before it; return it without that.

        Raises
        ------
        FrameTooLong
            When it is to have more than `limit` bytes.
        BadLengthPrefix
            When no frame has such a length.
        IncompleteFrame
            When not all of it was to come.
        TimeoutError
            When it has not come in `timeout` seconds.
        """
        return self._read(lambda: self._buffer.frame(prefix, limit), timeout)

    def read_text(
        self, decoder: TextDecoder, limit: int, timeout: float | None = None
    ) -> str | None:
        """Read what text there is, a character at least and none cut in two.

        Raises
        ------
        UndecodableText
            When the decoder is strict, and it is none.
        FrameTooLong
            When one character has more than `limit` bytes.
        TimeoutError
            When there is none in `timeout` seconds.
        """
        try:
            return self._read(lambda: self._buffer.text(decoder, limit), timeout)
        except IncompleteFrame as half:
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
        """Close the file; the connection stays open, if nobody has closed that."""
        if not self.closed:
            self.raw.close()
        super().close()

    def pending(self) -> int:
        """Return how many bytes have been received and are still to be read."""
        return len(self._buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, or fewer when no more are to come; without a size, all that are."""
        self._check_open()
        most = None if size is None or size < 0 else size
        while most is None or len(self._buffer) < most:
            missing = LARGEST_RECEIVE if most is None else most - len(self._buffer)
            if not self._receive(missing):
                break
        return self._buffer.available(len(self._buffer) if most is None else most)

    def read1(self, size: int | None = -1, /) -> bytes:
        """Read what is there, `size` bytes at most; wait only if nothing is."""
        self._check_open()
        if size != 0 and not self._buffer:
            self._receive(RECEIVE)
        return self._buffer.available(len(self._buffer) if size is None or size < 0 else size)

    def peek(self, size: int = 0, /) -> bytes:  # noqa: ARG002 - as `io.BufferedReader` has it
        """Return what is there, and leave it there; wait only if nothing is. `size` says nothing."""
        self._check_open()
        if not self._buffer:
            self._receive(RECEIVE)
        return self._buffer.peek()

    def readline(self, size: int | None = -1, /) -> bytes:
        """Read a line with its end, or `size` bytes of it, or what there is when no more is to come."""
        self._check_open()
        most = None if size is None or size < 0 else size
        while (line := self._buffer.piece(most)) is None:
            if not self._receive(RECEIVE):
                return self._buffer.available(len(self._buffer))
        return line

    # Receiving

    def _read(self, attempt: Callable[[], Frame | None], timeout: float | None) -> Frame | None:
        self._check_open()
        deadline = None if timeout is None else self._clock() + timeout
        left = timeout
        while (frame := attempt()) is None:
            try:
                if not self._receive(self._buffer.missing, left):
                    self._buffer.finish()
                    return None
            except _DeadlinePassed:
                raise TimeoutError(f"no whole frame came within {timeout:g} s") from None
            left = None if deadline is None else deadline - self._clock()
        return frame

    def _receive(self, missing: int, left: float | None = None) -> bool:
        """Receive once, within the time that is left; return False when no more is to come."""
        size = min(max(missing, RECEIVE), LARGEST_RECEIVE)
        data = self._connection.recv(size) if left is None else self._receive_within(size, left)
        self._buffer.feed(data)
        return bool(data)

    def _receive_within(self, size: int, left: float) -> bytes:
        if left < 0:
            raise _DeadlinePassed
        own = self._connection.gettimeout()
        is_own_shorter = bool(own) and own < left
        self._connection.settimeout(own if is_own_shorter else max(left, _SHORTEST))
        try:
            data: bytes = self._connection.recv(size)
        except TimeoutError as error:
            # Not by the clock: a timer of a loop may be early by a little.
            raise error if is_own_shorter else _DeadlinePassed from None
        finally:
            self._connection.settimeout(own)
        return data

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
