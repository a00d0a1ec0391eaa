"""One end of a call's connection: lines out without ever waiting, lines in as they come.

The desk has one for each caller, and the client has one for the desk.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Protocol

from manyhands.connections.gated_sockets import make_outbox
from manyhands.connections.outbox import Outbox
from manyhands.desk.encodings import UTF_8
from manyhands.desk.messages import LineTooLong, Message, MessageDecoder
from manyhands.runtime.peer_wait import peer_wait
from manyhands.runtime.sockets import has_hung_up as has_hung_up_on
from manyhands.runtime.unpatched import brief_lock

RECEIVE = 16 * 1024
"""Bytes of one receive: the most that one caller can have waiting for the operator's screen."""

KERNEL_BUFFER = 64 * 1024
"""Bytes that the kernel may hold for one peer, in each direction. It would grow to megabytes by itself
(`tcp_wmem`, tcp(7)), and a peer that does not read would stay unnoticed for as long."""

GOODBYE = 2.0
"""Seconds that the last lines of a call get to arrive, and the peer to hang up after them."""

_KEEP_ALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Seconds, seconds and a count (tcp(7)): a machine that vanished without a word is noticed in two minutes."""


class Ending(StrEnum):
    """Why a call ended; the value is how the operator and the transcript read it."""

    BYEBYE = "said byebye"
    HUNG_UP = "hung up"
    LOST = "the connection was lost"
    LINE_TOO_LONG = "sent a line that is too long"
    DID_NOT_READ = "did not read what was said to it"
    KICKED = "kicked"
    DESK_CLOSED = "the desk closed"
    WORKER_LEFT = "the worker that held the call was replaced"
    WORKER_DIED = "the worker that held the call has died"


class Leaving(Protocol):
    """How the thread or the fiber that hears a call may leave its process, and another one goes on."""

    @property
    def is_asked(self) -> bool:
        """Whether it is to leave."""

    def leave(self, rest: tuple[bytes, bool, bool], *, only_listens: bool) -> None:
        """Leave; return where that cannot be just now.

        Parameters
        ----------
        rest
            Of the decoder.
        only_listens : bool
            Whether the caller has stopped talking.
        """


class CallIO:
    """Says lines on a connection, and hears them.

    Parameters
    ----------
    connection : socket.socket
        A connected, blocking stream socket; in a fiber, one of fibers. Its owner closes it, after `finish`.
    outbox : Outbox or int
        The connection's outbox; or the bytes that may wait, in one of its own, for a peer that does not read.

    Raises
    ------
    OSError
        When no descriptor is left for what interrupts the thread that hears.

    Notes
    -----
    `say`, `hang_up`, `wait_until_sent` and the attributes may be used from any thread; `hear`,
    `wait_for_hang_up` and `finish` belong to the thread, or the fiber, that made the object.
    """

    def __init__(self, connection: socket.socket, outbox: Outbox | int) -> None:
        self._connection = connection
        self._wait = peer_wait(connection)
        if isinstance(outbox, int):
            outbox = make_outbox(connection, _OwnTerms(connection, outbox))
        self._outbox = outbox
        self._ending: Ending | None = None
        self._interrupting = brief_lock()
        self.leaving: Leaving | None = None
        """Set where the call may go on in another process."""

        self.encoding = UTF_8
        """What lines are written in, and read: one of `encodings`. It may change at any time."""

        # Some systems refuse to tune what the peer has closed already (EINVAL); hearing finds that out.
        with contextlib.suppress(OSError):
            _tune(connection)

    @property
    def ending(self) -> Ending | None:
        """Why this side ended the call, once it has."""
        if self._ending is None and self._outbox.ended_unread:
            return Ending.DID_NOT_READ
        return self._ending

    def say(self, text: str) -> bool:
        """Say one line or, when `text` has ends of lines in it, several. Never waits.

        Returns
        -------
        bool
            False when the call is over, or ends now because too much waits for the peer to read
            (`Ending.DID_NOT_READ`).
        """
        data = "".join(f"{line}\n" for line in text.split("\n")).encode(self.encoding, "replace")
        return self._ending is None and self._outbox.put(data)

    def hang_up(self, ending: Ending) -> None:
        """End the call from this side: what was said still goes out, what comes in no longer counts."""
        with self._interrupting:
            # The first reason counts.
            if self.ending is None:
                self._ending = ending
                self._wait.interrupt()

    def hear(
        self, decoder: MessageDecoder, clock: Callable[[], float] = time.monotonic
    ) -> Iterator[list[Message]]:
        """Give back what the peer says, as it comes, until either side ends the call.

        Raises
        ------
        LineTooLong
            The peer said a line that is too long. What was said before it has been given back.
        OSError
            The connection is lost. What was said before has been given back.
        """
        while self.ending is None:
            if self.leaving is not None and self.leaving.is_asked:
                self.leaving.leave(decoder.rest, only_listens=False)
            try:
                data = self._receive(decoder.deadline(), clock)
                # It may have been changed while this waited.
                decoder.encoding = self.encoding
                heard = decoder.expire(clock()) if data is None else decoder.feed(data, clock())
            except LineTooLong as too_long:
                yield from _some(too_long.messages)
                raise
            except OSError:
                yield from _some(decoder.finish())
                raise
            yield from _some(heard)
            if data == b"":
                break
            if data is None:
                # If it was to leave, it may be to stay again by now.
                self._wait_on()
        yield from _some(decoder.finish())

    def interrupt_to_leave(self) -> None:
        """Have the wait under way end, so that the call may leave. From any thread."""
        with self._interrupting:
            if self.ending is None:
                self._wait.interrupt()

    def _wait_on(self) -> None:
        """Have the waits that follow last, though the call was to leave; not where it was hung up."""
        with self._interrupting:
            if self.ending is None:
                self._wait.forget_interrupt()

    def _receive(self, deadline: float | None, clock: Callable[[], float]) -> bytes | None:
        """Receive; None when the deadline or this side's hanging up came first."""
        timeout = None if deadline is None else max(0.0, deadline - clock())
        data = self._wait.receive(RECEIVE, timeout)
        # What came in after this side has hung up was said to a desk that does not listen any more.
        return data if self.ending is None else None

    def wait_for_hang_up(self, timeout: float | None = None) -> bool:
        """Wait, after the peer has stopped talking, until it has gone, or this side hangs up.

        A peer that has only stopped talking (a half-close: `shutdown(SHUT_WR)`, `nc -N`) still hears. One
        that has gone cannot be told from it until something is said: then its system answers with a
        reset (RST, RFC 9293 section 3.5.2).

        Returns
        -------
        bool
            Whether that came within `timeout` seconds.
        """
        leaving = self.leaving
        while not self._outbox.is_over:
            if not self._wait.wait_for_hang_up(timeout):
                return False
            has_hung_up = self._connection.fileno() < 0 or has_hung_up_on(self._connection.fileno())
            if self.ending is not None or has_hung_up or leaving is None:
                return True
            # It was interrupted to leave; by now it may be to stay again.
            self._wait_on()
            if leaving.is_asked:
                leaving.leave((b"", False, False), only_listens=True)
        return True

    def pause(self, timeout: float) -> None:
        """Wait so many seconds without hearing the peer, or until this side hangs up.

        What the peer says meanwhile waits in the kernel, and then at the peer's own end. (A peer that hangs
        up does not cut this short: what it has said before is still to be heard.)
        """
        deadline = time.monotonic() + timeout
        while self.ending is None and (left := deadline - time.monotonic()) > 0:
            self._wait.pause(left)
            # One that is to leave has something to say still.
            self._wait_on()

    def finish(self, timeout: float = GOODBYE) -> None:
        """End the call politely: give what was said `timeout` seconds to go out and be read."""
        deadline = time.monotonic() + timeout
        self._outbox.wait_until_sent(timeout)
        was_over = self._outbox.is_over
        self._outbox.end()
        # What follows waits for the peer, and the hang-up that got us here must not cut that short.
        with self._interrupting:
            self._wait.ignore_interrupts()
        self._shut(socket.SHUT_WR)
        if not was_over:
            # A close while something that came in is unread is a reset, which takes back what the peer has
            # not read yet (RFC 1122 section 4.2.2.13). So the peer is heard out first.
            self._hear_out(deadline)
        self._shut(socket.SHUT_RDWR)

    def _hear_out(self, deadline: float) -> None:
        with contextlib.suppress(OSError):
            # A peer that goes on talking must not hold the end for longer.
            while (left := deadline - time.monotonic()) > 0:
                if self._wait.receive(RECEIVE, left) == b"":
                    return

    def wait_until_sent(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits to be sent, or the call is over; return whether that came in time."""
        return self._outbox.wait_until_sent(timeout)

    def _shut(self, how: int) -> None:
        # The peer may have gone first.
        with contextlib.suppress(OSError):
            self._connection.shutdown(how)


class _OwnTerms:
    """What holds for a connection that no server's options speak of: it ends when too much waits."""

    def __init__(self, connection: socket.socket, bound: int) -> None:
        self._connection = connection
        self._bound = bound

    def outbox_terms(self) -> tuple[int, str]:
        """Return the bound, and that the peer is cut off beyond it."""
        return self._bound, "close"

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:  # noqa: ARG002 - of all terms
        """End the connection, and with that the wait of `hear`."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _some(messages: list[Message]) -> Iterator[list[Message]]:
    if messages:
        yield messages


def _tune(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
    # Of what a peer says faster than it is heard, too: the kernel would take in megabytes for each.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BUFFER)
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    # Two short lines in a row would wait for the peer's delayed acknowledgement (RFC 1122 4.2.3.2).
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
