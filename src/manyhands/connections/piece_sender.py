"""Sends pieces on one connection in their order: at once, or as fast as the peer reads. It never waits."""

import _socket
import contextlib
import socket
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from manyhands.connections.outbox_queue import SHARE, DirectWrite, OutboxQueue
from manyhands.connections.outbox_terms import AT_ONCE, Send, Terms
from manyhands.connections.outbox_writer import outbox_writer
from manyhands.runtime.locks import Condition, holding, is_held_here, release_if_held
from manyhands.runtime.unpatched import brief_rlock

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

HELD = DirectWrite(None)
"""In the place of a write while pieces are held back, whatever thread asks."""


class PieceSender:
    """The half of an outbox that sends the pieces that are put into it. See `Outbox`."""

    __slots__ = (
        "_changed",
        "_holder",
        "_is_clear",
        "_is_over",
        "_is_told",
        "_keeps_attempts",
        "_lock",
        "_queue",
        "_send",
        "_terms",
        "_untold",
        "descriptor",
        "ended_unread",
        "missed",
    )

    def __init__(
        self,
        send: Send,
        descriptor: int,
        terms: Terms,
        *,
        keeps_attempts: bool = False,
        is_held: bool = False,
    ) -> None:
        self._send = send
        self._keeps_attempts = keeps_attempts
        self.descriptor = descriptor
        self._terms: Terms | None = terms
        # Held for a send that does not wait: when it is free, no byte is on its way to the descriptor.
        # Reentrant for one thing alone: it can be asked whether the caller has it.
        self._lock = brief_rlock()
        self._is_clear = not is_held
        """Whether a piece may go out at once: nothing waits, it is not over, and nothing else is written."""

        self._is_over = False
        self._is_told = False
        # What is to be told, and whom, once the lock is free.
        self._untold: tuple[Terms, int] | None = None
        self._holder: DirectWrite | None = HELD if is_held else None
        # None most of the time: an empty one takes 700 bytes, for each of ten thousand connections.
        self._queue: OutboxQueue | None = None
        self._changed: Condition | None = None
        self.missed = 0
        """Pieces that were dropped, since the peer did not read."""

        self.ended_unread = False
        """Whether it is over because the peer did not read."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_over

    @property
    def waiting(self) -> int:
        """Bytes that wait for the peer to read."""
        queue = self._queue
        return 0 if queue is None else queue.size

    @property
    def pieces_waiting(self) -> int:
        """How many pieces wait. Those that are begun count."""
        queue = self._queue
        return 0 if queue is None else queue.pieces

    def put(self, data: bytes) -> bool:
        """Have a piece sent, after all that was put or written before. Never waits.

        A piece that is longer than all that may wait goes out where nothing is before it: see `check_length`.

        Returns
        -------
        bool
            Whether it is sent or waits; False when the connection is over, or its peer has fallen behind.
        """
        lock = self._lock
        try:
            # Within the `try`: what a signal's handler raises, such as KeyboardInterrupt, may come as soon as
            # the lock is taken. So it may in the `with` of Python 3.14
            # (https://github.com/python/cpython/issues/148874), which costs twice as much besides, and a room
            # of ten thousand pays for each member.
            lock.acquire()
            is_begun = self._is_clear and self._is_begun(data)
        except BaseException:
            self._break_off()
            raise
        lock.release()
        return is_begun or self._put_behind(data)

    def _locked(
        self,
        act: Callable[Parameters, Result],
        /,
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Result:
        """Call what sends with the lock held, as `put` does."""
        lock = self._lock
        try:
            lock.acquire()
            result = act(*arguments, **keywords)
        except BaseException:
            self._break_off()
            raise
        lock.release()
        return result

    def _break_off(self) -> None:
        """End the connection too, and release the lock: of what was being sent it is not known how much is.

        A signal's handler has raised an exception, as a rule just after a send: there its thread looks.
        """
        if is_held_here(self._lock) and not self._is_over:
            self._end()
            _shut_down(self.descriptor)
        release_if_held(self._lock)

    def _is_begun(self, data: bytes) -> bool:
        """Send a piece, which nothing is before; return False where it has to wait, or all is over."""
        try:
            sent = self._send(data, AT_ONCE)
        except BlockingIOError:
            if not self._keeps_attempts:
                return False
            sent = 0
        except OSError:
            self._end()
            return False
        if sent == len(data):
            return True
        # The peer has the beginning, so it has to get the rest, whatever the bound.
        self._queue = OutboxQueue()
        self._queue.begin(data, sent)
        self._is_clear = False
        self._watch()
        return not self._is_over

    def _put_behind(self, data: bytes) -> bool:
        """Have a piece wait behind others; return whether it does."""
        terms = self._terms
        is_kept = False
        if terms is not None:
            # Without the lock: a program may have options of its own making.
            bound, when_behind = terms.outbox_terms()
            is_kept = self._locked(self._is_kept, data, bound, when_behind)
        self._tell()
        return is_kept

    def _is_kept(self, data: bytes, bound: int, when_behind: str) -> bool:
        # There may have been time to read meanwhile.
        if self._is_clear and self._is_begun(data):
            return True
        # An empty piece would take no room, and thousands of them memory.
        if self._is_over or not data:
            return not self._is_over
        queue = self._queue or OutboxQueue()
        if not self._has_room(queue, len(data), bound, when_behind):
            return False
        queue.append(data)
        self._queue = queue
        # Else it is watched already, or what holds the pieces back sends them at its end.
        if self._is_clear:
            self._is_clear = False
            self._watch()
        return not self._is_over

    def _has_room(self, queue: OutboxQueue, size: int, bound: int, when_behind: str) -> bool:
        """Have room for a piece, as the terms say; where there is none it is missed."""
        waiting = queue.size
        excess = waiting + size - bound
        if excess <= 0:
            return True
        dropped = queue.drop_oldest(excess) if when_behind == "drop_oldest" else 0
        self._miss(dropped or 1, waiting)
        if when_behind == "close":
            self._end_unread()
        return dropped > 0

    def _miss(self, count: int, waiting: int) -> None:
        """Count pieces that are dropped; the first time is told of."""
        self.missed += count
        if not self._is_told and self._terms is not None:
            self._is_told = True
            self._untold = self._terms, waiting

    def _end_unread(self) -> None:
        self.ended_unread = True
        self._end()

    def _tell(self) -> None:
        """Tell that the peer does not read, if that is due. Not for the holder of the lock."""
        if self._untold is None:
            return
        untold = holding(self._lock, self._take_untold)
        if untold is not None:
            terms, waiting = untold
            terms.fell_behind(waiting, is_over=self._is_over)

    def _take_untold(self) -> tuple[Terms, int] | None:
        untold, self._untold = self._untold, None
        return untold

    # For what it sends on

    def connect(self, send: Send, descriptor: int, *, keeps_attempts: bool) -> None:
        """Send by other means from now on. For the thread, or the fiber, that has the write under way."""
        self._locked(self._connect, send, descriptor, keeps_attempts=keeps_attempts)

    def _connect(self, send: Send, descriptor: int, *, keeps_attempts: bool) -> None:
        if not self._is_over:
            self._send, self.descriptor, self._keeps_attempts = send, descriptor, keeps_attempts

    def release(self) -> None:
        """Hold the pieces back no longer; what waits goes out. Once more does no harm."""
        self._locked(self._release)
        self._tell()

    def _release(self) -> None:
        if self._holder is HELD:
            self._go_on()

    def _go_on(self) -> None:
        """Go on with what waits, now that nothing else is written."""
        self._holder = None
        if not self._is_over:
            self._send_some()

    # For the thread that writes for all

    def flush(self) -> None:
        """Send what the peer takes now, up to a share."""
        # What another thread has to tell is left to it: the program's subscribers would hold up all outboxes.
        if self._locked(self._is_ended_by_flush):
            self._tell()

    def _is_ended_by_flush(self) -> bool:
        if self._is_over or self._holder is not None:
            return False
        self._send_some()
        return self._is_over

    def _send_some(self) -> None:
        queue = self._queue
        until = self.waiting - SHARE
        while True:
            following = None if queue is None else queue.next_batch()
            if queue is None or following is None:
                self._queue, self._is_clear = None, True
                break
            if isinstance(following, DirectWrite):
                self._holder = following
                break
            if queue.size <= until:
                self._watch()
                break
            try:
                sent = self._send(following, AT_ONCE)
            except BlockingIOError:
                self._watch()
                break
            except OSError:
                self._end()
                return
            queue.sent(sent)
        if self._changed is not None:
            self._changed.notify_all()

    def _watch(self) -> None:
        """Have the rest sent when the peer reads; end it where the system has no thread for that."""
        try:
            outbox_writer.watch(self)
        except (OSError, RuntimeError):
            self._miss(self.pieces_waiting, self.waiting)
            self._end_unread()

    # The end

    def end(self) -> None:
        """Send nothing more: the connection is over. Once more does no harm.

        When it has returned, no byte is on its way to the descriptor, which may be closed.
        """
        self._locked(self._give_descriptor_up)

    def drop(self) -> None:
        """Do what `end` does for a connection that this side ends: the pieces that still wait are missed."""
        self._locked(self._drop)
        self.end()

    def _drop(self) -> None:
        self.missed += self.pieces_waiting
        self._end()

    def _give_descriptor_up(self) -> None:
        # Under the lock: of two ends at once one forgets it.
        self._end()
        outbox_writer.forget(self)
        self.descriptor = -1

    def end_soon(self) -> None:
        """Send nothing more on a connection that is shut down just now. For signal handlers too.

        Where the lock is taken, perhaps by the code that a signal has interrupted, the next send meets the
        shutdown, and ends it.
        """
        lock = self._lock
        if not is_held_here(lock) and lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                lock.release()

    def begin_anew(self) -> None:
        """Be over, in a forked copy of the process: what waits is sent by the original, and once."""
        self._lock = brief_rlock()
        self._changed = None
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over, self._is_clear = True, False
        self._queue = None
        self._send = _send_nothing
        self._terms = None
        if self._changed is not None:
            self._changed.notify_all()


def _send_nothing(data: bytes | memoryview, flags: int) -> int:  # noqa: ARG001 - in the place of a socket's
    return 0


def _shut_down(descriptor: int) -> None:
    """Shut a connection down by its descriptor: its handler, and its peer, read an end of file."""
    # What was made on a descriptor is known to be a socket, but it may be closed by now.
    with contextlib.suppress(OSError, ValueError):
        borrowed = _socket.socket(fileno=descriptor)
        try:
            borrowed.shutdown(socket.SHUT_RDWR)
        finally:
            borrowed.detach()
