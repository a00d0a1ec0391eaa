"""Sends pieces on one connection in their order: at once, or as fast as the peer reads. It never waits."""

import _socket
import contextlib
import socket
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from manyhands.connections.outbox_queue import SHARE, DirectWrite, OutboxQueue
from manyhands.connections.outbox_terms import AT_ONCE, Send, Terms
from manyhands.connections.outbox_writer import outbox_writer
from manyhands.runtime.locks import Condition, is_held_here
from manyhands.runtime.unpatched import brief_rlock

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

HELD = DirectWrite(None)
"""In the place of a write while pieces are held back, whatever thread asks."""

REENTERED = (
    "nothing can be sent on a connection in the middle of a send on it: a finalizer (`__del__`), or the "
    "handler of a signal, has to leave that to a thread"
)


class PieceSender:
    """The half of an outbox that sends the pieces that are put into it. See `Outbox`."""

    __slots__ = (
        "_changed",
        "_holder",
        "_is_changing",
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
        "is_cut_off",
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
        # Reentrant so that it can be asked whether the caller has it; what would send is refused then.
        # An exception that a signal's handler raises, such as KeyboardInterrupt, may come at every step. All
        # that takes the lock does so by `put` or `_locked`, and `_recover` sees to the exception.
        self._lock = brief_rlock()
        self._is_changing = False
        """Whether a send, or a change of what waits, is under way: an exception in there ends the outbox, and
        elsewhere changes nothing."""

        self._is_clear = not is_held
        """Whether a piece may go out at once: nothing waits, it is not over, and nothing else is written."""

        self._is_over = False
        self._is_told = False
        # What is to be told, and whom, once the lock is free.
        self._untold: tuple[Terms, int] | None = None
        # What has the connection, so that pieces wait:
        #
        # | it is                 | which means                                   | until           |
        # | None                  | pieces go out, at once or as the peer reads   | `_begin_write`  |
        # | HELD                  | the gate is not shut yet                      | `release`       |
        # | a write with an owner | this thread, or fiber, writes                 | its `end_write` |
        # | a write without one   | a part of a message is sent: the next write   | `begin_write`,  |
        # |                       | of any thread goes on with it                 | or `finish`     |
        self._holder: DirectWrite | None = HELD if is_held else None
        # None most of the time: an empty one takes 700 bytes, for each of ten thousand connections.
        self._queue: OutboxQueue | None = None
        self._changed: Condition | None = None
        self.missed = 0
        """Pieces that were dropped, since the peer did not read."""

        self.ended_unread = False
        """Whether it is over because the peer did not read."""

        self.is_cut_off = False
        """Whether this side ends the connection, so that what waits is missed."""

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
        if self._is_changing and is_held_here(lock):
            raise RuntimeError(REENTERED)
        try:
            # Within the `try`: what a signal's handler raises, such as KeyboardInterrupt, may come as soon as
            # the lock is taken. So it may in the `with` of Python 3.14
            # (https://github.com/python/cpython/issues/148874), which costs twice as much besides, and a room
            # of ten thousand pays for each member.
            lock.acquire()
            is_sent = self._is_clear and self._try_to_send(data)
        except BaseException:
            self._recover()
            raise
        lock.release()
        return is_sent or self._put_behind(data)

    def _locked(
        self,
        act: Callable[Parameters, Result],
        /,
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Result:
        """Call a function with the lock held, as `put` does."""
        lock = self._lock
        try:
            lock.acquire()
            result = act(*arguments, **keywords)
        except BaseException:
            self._recover()
            raise
        lock.release()
        return result

    def _recover(self) -> None:
        """Release the lock, if the exception has come while it was held.

        In the middle of a send it is not known how much has gone out, for the thread looks for signals just
        after the system's call. So the connection is ended too, and what waits is missed.
        """
        if not is_held_here(self._lock):
            return
        if self._is_changing:
            self._is_changing = False
            if not self._is_over:
                self._drop()
                _shut_down(self.descriptor)
        self._lock.release()

    def _try_to_send(self, data: bytes) -> bool:
        """Send a piece, which nothing is before; return False where it has to wait, or all is over."""
        self._is_changing = True
        try:
            sent = self._send(data, AT_ONCE)
        except BlockingIOError:
            if not self._keeps_attempts:
                self._is_changing = False
                return False
            sent = 0
        except OSError:
            self._end()
            self._is_changing = False
            return False
        if sent != len(data) and not self._is_over:
            # The peer has the beginning, so it has to get the rest, whatever the bound.
            self._queue = OutboxQueue()
            self._queue.begin(data, sent)
            self._is_clear = False
            self._watch()
        self._is_changing = False
        return sent == len(data) or not self._is_over

    def _put_behind(self, data: bytes) -> bool:
        """Have a piece wait behind others; return whether it does."""
        terms = self._terms
        is_kept = False
        if terms is not None:
            # Without the lock: a program may have options of its own making.
            bound, when_behind = terms.outbox_terms()
            is_kept = self._locked(self._queue_piece, data, bound, when_behind)
        self._tell()
        return is_kept

    def _queue_piece(self, data: bytes, bound: int, when_behind: str) -> bool:
        """Have a piece wait, or sent, if the peer has read meanwhile; return whether it is."""
        if self._is_clear and self._try_to_send(data):
            return True
        # An empty piece would take no room, and thousands of them memory.
        if self._is_over or not data:
            return not self._is_over
        self._is_changing = True
        queue = self._queue or OutboxQueue()
        has_room = self._make_room(queue, len(data), bound, when_behind)
        if has_room:
            queue.append(data)
            self._queue = queue
            # Else it is watched already, or what holds the pieces back sends them at its end.
            if self._is_clear:
                self._is_clear = False
                self._watch()
        self._is_changing = False
        return has_room and not self._is_over

    def _make_room(self, queue: OutboxQueue, size: int, bound: int, when_behind: str) -> bool:
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

    def miss(self, count: int) -> None:
        """Note that so many pieces were dropped before they came here, as if they had found no room."""
        terms = self._terms
        if terms is not None:
            _, when_behind = terms.outbox_terms()
            self._locked(self._note_missed, count, when_behind)
        self._tell()

    def _note_missed(self, count: int, when_behind: str) -> None:
        if not self._is_over:
            self._miss(count, self.waiting)
            if when_behind == "close":
                self._end_unread()

    def _end_unread(self) -> None:
        self.ended_unread = True
        self._end()

    def _tell(self) -> None:
        """Tell that the peer does not read, if that is due. Not for the holder of the lock."""
        if self._untold is None:
            return
        untold = self._locked(self._take_untold)
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
        if self._queue is None:
            # The holder last: where an exception comes in between, the end of its write is tried again.
            self._is_clear = not self._is_over
            self._notify()
            self._holder = None
            return
        self._is_changing = True
        self._holder = None
        if not self._is_over:
            self._send_some()
        self._is_changing = False

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.notify_all()

    # For the thread that writes for all

    def flush(self) -> None:
        """Send what the peer takes now, up to a share."""
        # What another thread has to tell is left to it: the program's subscribers would hold up all outboxes.
        if self._locked(self._flush):
            self._tell()

    def _flush(self) -> bool:
        """Send what the peer takes; return whether the outbox has come to its end in this."""
        if self._is_over or self._holder is not None:
            return False
        self._send_some()
        return self._is_over

    def _send_some(self) -> None:
        """Send a share of what waits, up to the next write; then it is watched, if there is more."""
        self._is_changing = True
        queue = self._queue
        until = self.waiting - SHARE
        # A finalizer may end it in between.
        while not self._is_over:
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
                break
            queue.sent(sent)
        self._notify()
        self._is_changing = False

    def _watch(self) -> None:
        """Have the rest sent when the peer reads; end it where the system has no thread for that."""
        try:
            outbox_writer.watch(self)
        except (OSError, RuntimeError):
            self._miss(self.pieces_waiting, self.waiting)
            self._end_unread()

    # The end

    def take_unsent(self) -> bytes | None:
        """End it, and return what is still to be sent, by other means; None where that cannot be known.

        Which is where a write is under way, or waits, and where the connection is over: then nothing changes.
        """
        return self._locked(self._take_unsent)

    def _take_unsent(self) -> bytes | None:
        if self._is_over or self._holder is not None:
            return None
        unsent = b"" if self._queue is None else self._queue.rest()
        if unsent is not None:
            self._give_descriptor_up()
        return unsent

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
        self.is_cut_off = True
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
        self._is_changing = False
        self._changed = None
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        if self.is_cut_off:
            self.missed += self.pieces_waiting
        self._is_over, self._is_clear = True, False
        self._queue = None
        self._send = _send_nothing
        self._terms = None
        self._notify()


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
