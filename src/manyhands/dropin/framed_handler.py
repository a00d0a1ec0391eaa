"""The handler for protocols of lines, of delimited blocks, and of frames with their length before them."""

import functools
from typing import Any

from manyhands.connections.frame_reader import ConnectionReader
from manyhands.dropin.handlers import StreamRequestHandler
from manyhands.dropin.resumable import make_resumable
from manyhands.protocol.framing import Prefix, TextDecoder, UndecodableText
from manyhands.protocol.length_prefixes import LengthPrefix


class FramedRequestHandler(StreamRequestHandler):
    r"""Reads whole frames from the client, each within a limit and, if given, a timeout.

    Every method to read takes these keywords:

    limit : int
        Bytes that the frame may have, in the place of `max_line` or `max_frame`. A longer frame raises
        `FrameTooLong` as soon as its length is known, and nothing is consumed.
    timeout : float
        Seconds within which the whole frame has to come, however the client drips it. After them the method
        raises `TimeoutError`, the bytes that have come stay, and the next call goes on with them. Without
        it each receive may take the connection's own timeout, which is the attribute `timeout`.

    and returns None when the client has ended its side between two frames (an empty frame is ``b""``)::

        while (message := self.read_frame(timeout=30)) is not None:
            self.write_frame(answer(message))

    When it ends in the middle of a frame they raise `IncompleteFrame`, which holds the bytes that came.

    `rfile` is a file on the same buffer: reading from it and reading frames can take turns, and no byte is
    lost. Not thread-safe: one thread or fiber reads a connection.

    With workers a connection can outlive the process that serves it: see `resumable`.
    """

    resumable: bool = False
    """Whether a worker that leaves (reload, upgrade, `ctl workers restart`) hands its connections over to
    another one, each while a method that reads a frame waits for the client. There `pause` is called; then
    `handle` ends by an exception that is not to be caught, and in the other worker, after `setup`, `resume`
    is called in the place of `handle`. What was received and not read, what waits to be sent, the rooms, and
    the handler's deadlines go with the connection; TLS connections stay, and so do all on the engines
    `processes` and `sequential`. Without workers it changes nothing."""

    is_handed_over: bool = False
    """Whether another worker goes on with the connection, as `finish`, or a ``finally``, may want to know."""

    max_line: int = 8 * 1024
    """Bytes of a line without its end: more than RFC 9112 (section 3) asks for HTTP's first line."""

    max_frame: int = 1024 * 1024
    """Bytes of any other frame. A thousand clients, each in the middle of such a frame, take a gigabyte."""

    frame_prefix: Prefix = LengthPrefix(4)
    """The form of a frame's length: four bytes in network order, which are not counted in it."""

    encoding: str = "utf-8"
    """The encoding of `read_text_line` and `read_text`."""

    encoding_errors: str = "strict"
    """What to do with bytes that are no text, as in `bytes.decode`; ``"strict"`` raises `UndecodableText`."""

    rfile: ConnectionReader

    def __init__(self, request: Any, client_address: Any, server: Any, **state: Any) -> None:
        if self.resumable:
            make_resumable(self)
        try:
            super().__init__(request, client_address, server, **state)
        except OSError:
            # Its `finish` has written to a client that is not its own any more.
            if not self.is_handed_over:
                raise

    def pause(self) -> bytes | None:
        """Return what `resume` needs to go on; None where the handler cannot be left just now. A hook.

        Called between two frames, and perhaps more than once: it changes nothing. What it raises is reported,
        and the connection stays where it is.
        """
        return b""

    def resume(self, state: bytes) -> None:  # noqa: ARG002 - a hook
        """Go on in another worker with what `pause` has returned there, perhaps in older code. A hook.

        In the place of `handle`, which it calls if it is not overridden.
        """
        self.handle()

    def _open_rfile(self) -> ConnectionReader:
        return ConnectionReader(self.connection)

    def read_exactly(
        self, count: int, *, limit: int | None = None, timeout: float | None = None
    ) -> bytes | None:
        """Read `count` bytes. They have a limit too, `max_frame`, for the count often comes from the client.

        Raises
        ------
        FrameTooLong, IncompleteFrame, TimeoutError
            As the class has it.
        OSError
            When the connection is lost.
        """
        return self.rfile.read_exactly(count, _or(limit, self.max_frame), timeout)

    def read_until(
        self, delimiter: bytes, *, limit: int | None = None, timeout: float | None = None
    ) -> bytes | None:
        """Read the bytes before `delimiter`, and consume the delimiter. The limit is `max_frame`.

        Raises
        ------
        FrameTooLong, IncompleteFrame, TimeoutError
            As the class has it.
        OSError
            When the connection is lost.
        """
        return self.rfile.read_until(delimiter, _or(limit, self.max_frame), timeout)

    def read_line(self, *, limit: int | None = None, timeout: float | None = None) -> bytes | None:
        r"""Read a line; return it without its end, ``\n`` or ``\r\n``. The limit is `max_line`.

        Raises
        ------
        FrameTooLong, IncompleteFrame, TimeoutError
            As the class has it.
        OSError
            When the connection is lost.
        """
        return self.rfile.read_line(_or(limit, self.max_line), timeout)

    def read_text_line(
        self, *, limit: int | None = None, timeout: float | None = None
    ) -> str | None:
        """Read a line as `read_line` does, and decode it.

        Raises
        ------
        UndecodableText
            When the line is no text; the exception has its bytes, and the next call reads the next line.
        FrameTooLong, IncompleteFrame, TimeoutError
            As the class has it.
        OSError
            When the connection is lost.
        """
        line = self.read_line(limit=limit, timeout=timeout)
        if line is None:
            return None
        try:
            return line.decode(self.encoding, self.encoding_errors)
        except UnicodeDecodeError as error:
            raise UndecodableText(self.encoding, line, error.start) from error

    def read_text(self, *, timeout: float | None = None) -> str | None:
        """Read the text that has come: one character at least, and none cut in two, wherever a packet ends.

        Raises
        ------
        UndecodableText
            When the bytes are no text.
        FrameTooLong
            When a single character has more than `max_line` bytes, as some encodings allow.
        TimeoutError
            As the class has it.
        OSError
            When the connection is lost.
        """
        return self.rfile.read_text(self._decoder, self.max_line, timeout)

    def read_frame(
        self,
        *,
        prefix: Prefix | None = None,
        limit: int | None = None,
        timeout: float | None = None,
    ) -> bytes | None:
        """Read a frame with its length before it; return it without the length. The limit is `max_frame`.

        Parameters
        ----------
        prefix : LengthPrefix or VarintPrefix, optional
            The form of its length, in the place of `frame_prefix`.

        Raises
        ------
        BadLengthPrefix
            When the length prefix is broken, or says a length that no frame has.
        FrameTooLong, IncompleteFrame, TimeoutError
            As the class has it.
        OSError
            When the connection is lost.
        """
        chosen = self.frame_prefix if prefix is None else prefix
        return self.rfile.read_frame(chosen, _or(limit, self.max_frame), timeout)

    def write_frame(self, data: Any, *, prefix: Prefix | None = None) -> None:
        """Write a frame to `wfile`, its length before it, both at once.

        Parameters
        ----------
        data : bytes-like
            The frame. `max_frame` bounds what is read, not what is written.
        prefix : LengthPrefix or VarintPrefix, optional
            The form of its length, in the place of `frame_prefix`.

        Raises
        ------
        FrameTooLong
            When its length is more than the prefix can say; nothing was sent.
        OSError
            When the connection is lost, or its timeout has passed.
        """
        chosen = self.frame_prefix if prefix is None else prefix
        with memoryview(data) as view:
            # In one write: of two, Nagle's algorithm could hold the second back until the peer has
            # acknowledged the first (RFC 1122, 4.2.3.4), which a peer with delayed ACKs does after 40 ms or
            # more.
            self.wfile.write(b"".join((chosen.pack(view.nbytes), view)))

    # Kept for the whole connection: it remembers the first bytes of a character that a packet cut in two.
    @functools.cached_property
    def _decoder(self) -> TextDecoder:
        return TextDecoder(self.encoding, self.encoding_errors)


def _or(given: int | None, usual: int) -> int:
    # Not `given or usual`: 0 is a limit, too.
    return usual if given is None else given
