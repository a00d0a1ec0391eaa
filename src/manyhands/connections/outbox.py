"""What waits to be sent on one connection: whole pieces, from any thread or fiber, none of which waits.

The outbox is also the gate of the connection. A piece that is `put`, and what the handler writes by itself,
go out one after the other in the order in which they came, so that no two of them ever mix.
"""

import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from manyhands.connections.outbox_writer import outbox_writer
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.caller import current_thread_or_fiber
from manyhands.runtime.locks import Condition
from manyhands.runtime.unpatched import brief_lock

AT_ONCE = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
"""The flags of every send here: it returns at once, and a peer that has gone is an error (send(2))."""

SHARE = 64 * 1024
"""Bytes that one outbox sends before the next one has its turn: what a kernel's buffer takes as a rule."""

LINGER = 5.0
"""Seconds for which a connection that comes to its end waits for a peer that reads nothing."""

SHORTEST_BOUND = 4096
"""Bytes: the least that an outbox may be bounded to, so a shorter piece needs no look at the bound."""

Send = Callable[[bytes | memoryview, int], int]
"""Sends some of the data with flags, at once; returns how many bytes. Raises BlockingIOError, or OSError."""


class Terms(Protocol):
    """What the server's options say of outboxes."""

    def outbox_terms(self) -> tuple[int, str]:
        """Return the bytes that may wait, and what becomes of a peer that falls behind."""

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """Note, once, that a piece found no room behind so many bytes; whether the outbox ended for it."""


class Receiver(Protocol):
    """What takes pieces for a connection: its outbox, or what leads to it where another process serves it."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""

    @property
    def waiting(self) -> int:
        """Bytes that wait for the peer to read."""

    @property
    def missed(self) -> int:
        """Pieces that were dropped, since the peer did not read."""

    def put(self, data: bytes) -> bool:
        """Have a piece sent, after all that was put before. Never waits. See `Outbox.put`."""

    def end(self) -> None:
        """Send nothing more: the connection is over. Once more does no harm."""


class Turn:
    """The time in which one thread, or one fiber, writes to the connection by itself."""

    __slots__ = ("is_begun", "owner")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        """What has it; None while it is kept for the rest of what was begun in it."""

        self.is_begun = False
        """Whether it was kept."""


class Outbox:
    """Sends pieces in their order, at once or as fast as the peer reads.

    Parameters
    ----------
    send
        What sends on the connection without waiting.
    descriptor : int
        The connection's descriptor.
    terms : Terms
        What it goes by, and whom it tells.
    keeps_attempts : bool
        Whether a send that took nothing has to be tried again with the same data (SSL_write(3)).

    Notes
    -----
    Thread-safe, for fibers too. Not for signal handlers: the code that one interrupts may hold the lock.
    """

    __slots__ = (
        "_batch",
        "_batched",
        "_changed",
        "_holder",
        "_is_clear",
        "_is_over",
        "_is_told",
        "_keeps_attempts",
        "_lock",
        "_offset",
        "_pieces",
        "_send",
        "_size",
        "_terms",
        "_untold",
        "descriptor",
        "ended_unread",
        "missed",
    )

    def __init__(
        self, send: Send, descriptor: int, terms: Terms, *, keeps_attempts: bool = False
    ) -> None:
        self._send = send
        self._keeps_attempts = keeps_attempts
        self.descriptor = descriptor
        self._terms: Terms | None = terms
        # Held for a send that does not wait: when it is free, no byte is on its way to the descriptor.
        self._lock = brief_lock()
        self._is_clear = True
        """Whether a piece may go out at once: nothing waits, it is not over, and nothing has the turn."""

        self._is_over = False
        self._is_told = False
        # What is to be told, and whom, once the lock is free.
        self._untold: tuple[Terms, int] | None = None
        self._holder: Turn | None = None
        # What is being sent, of which the first `_offset` bytes are. It is not changed any more: TLS has made
        # its records of it.
        self._batch: bytes = b""
        self._batched = 0  # pieces in there
        self._offset = 0
        # None most of the time: an empty one takes 600 bytes, for each of ten thousand connections.
        self._pieces: deque[bytes | Turn] | None = None
        self._size = 0
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
        return self._size

    @property
    def pieces_waiting(self) -> int:
        """How many pieces wait of which nothing is sent yet."""
        return sum(isinstance(each, bytes) for each in tuple(self._pieces or ()))

    def put(self, data: bytes) -> bool:
        """Have a piece sent, after all that was put or written before. Never waits.

        A piece that is longer than all that may wait goes out where nothing is before it: see `check_length`.

        Returns
        -------
        bool
            Whether it is sent or waits; False when the connection is over, or its peer has fallen behind.
        """
        # `with` costs twice as much, and a room of ten thousand pays for each member.
        self._lock.acquire()
        try:
            if self._is_clear and self._is_begun(data) and not self._is_over:
                return True
        finally:
            self._lock.release()
        return self._put_behind(data)

    def _is_begun(self, data: bytes) -> bool:
        """Send a piece where nothing is before it; return False where it has to wait, as a whole."""
        try:
            sent = self._send(data, AT_ONCE)
        except BlockingIOError:
            if not self._keeps_attempts:
                return False
            sent = 0
        except OSError:
            self._end()
            return True
        if sent < len(data):
            # The peer has the beginning, so it has to get the rest, whatever the bound.
            self._batch, self._offset, self._batched = data, sent, 1
            self._size += len(data) - sent
            self._is_clear = False
            self._watch()
        return True

    def _put_behind(self, data: bytes) -> bool:
        """Have a piece wait behind others; return whether it does."""
        terms = self._terms
        is_kept = False
        if terms is not None:
            # Without the lock: a program may have options of its own making.
            bound, when_behind = terms.outbox_terms()
            with self._lock:
                is_kept = self._is_kept(data, bound, when_behind) and not self._is_over
        self._tell()
        return is_kept

    def _is_kept(self, data: bytes, bound: int, when_behind: str) -> bool:
        # An empty piece would take no room, and thousands of them memory.
        if self._is_over or not data:
            return True
        if self._is_clear and self._is_begun(data):
            return True  # there has been time to read meanwhile
        if not self._has_room(len(data), bound, when_behind):
            return False
        self._append(data)
        self._size += len(data)
        # Else it is watched already, or whatever has the turn sends the rest at its end.
        if self._is_clear:
            self._is_clear = False
            self._watch()
        return True

    def _has_room(self, size: int, bound: int, when_behind: str) -> bool:
        """Have room for a piece, as the terms say; where there is none it is missed."""
        excess = self._size + size - bound
        if excess <= 0:
            return True
        begun = len(self._batch) - self._offset
        if when_behind == "drop_oldest" and excess <= self._size - begun:
            self._drop_oldest(excess)
            return True
        self._miss()
        if when_behind == "close":
            self._end_unread()
        return False

    def _miss(self) -> None:
        """Count a piece that is dropped; the first one is told of."""
        self.missed += 1
        if not self._is_told and self._terms is not None:
            self._is_told = True
            self._untold = self._terms, self._size

    def _end_unread(self) -> None:
        self.ended_unread = True
        self._end()

    def _tell(self) -> None:
        """Tell that the peer does not read, if that is due. Not for the holder of the lock: see `end`."""
        if self._untold is None:
            return
        with self._lock:
            untold, self._untold = self._untold, None
        if untold is not None:
            terms, waiting = untold
            terms.fell_behind(waiting, is_over=self._is_over)

    def _append(self, item: bytes | Turn) -> None:
        if self._pieces is None:
            self._pieces = deque()
        self._pieces.append(item)

    def _drop_oldest(self, excess: int) -> None:
        """Drop the oldest pieces, of which there are enough, until so many bytes are free."""
        turns: list[Turn] = []
        while excess > 0 and self._pieces:
            oldest = self._pieces.popleft()
            if isinstance(oldest, Turn):
                turns.append(oldest)
                continue
            self._miss()
            excess -= len(oldest)
            self._size -= len(oldest)
        if self._pieces is not None:
            self._pieces.extendleft(reversed(turns))

    # For the thread that writes for all

    def lead_to(self, send: Send, descriptor: int, *, keeps_attempts: bool) -> None:
        """Send by other means from now on. For the holder of the turn."""
        with self._lock:
            self._send, self.descriptor, self._keeps_attempts = send, descriptor, keeps_attempts

    def flush(self) -> None:
        """Send what the peer takes now, up to a turn's share."""
        with self._lock:
            if self._holder is None and not self._is_over:
                self._send_some()
        self._tell()

    def _send_some(self) -> None:
        before, until = self._size, self._size - SHARE
        while self._has_next():
            if self._size <= until:
                self._watch()
                break
            try:
                sent = self._send(memoryview(self._batch)[self._offset :], AT_ONCE)
            except BlockingIOError:
                self._watch()
                break
            except OSError:
                self._end()
                return
            self._size -= sent
            self._offset += sent
            if self._offset == len(self._batch):
                self._batch, self._offset = b"", 0
        else:
            self._is_clear = self._holder is None
        if self._changed is not None and (self._size != before or not self._batch):
            self._changed.notify_all()

    def _has_next(self) -> bool:
        """Have a batch to send next; return False where there is none, or the turn is another writer's."""
        if self._batch:
            return True
        pieces = self._pieces
        if not pieces:
            self._pieces = None
            return False
        first = pieces.popleft()
        if isinstance(first, Turn):
            self._holder = first
            return False
        batch, size = [first], len(first)
        while (
            pieces and isinstance(following := pieces[0], bytes) and size + len(following) < SHARE
        ):
            batch.append(following)
            size += len(following)
            pieces.popleft()
        self._batch = first if len(batch) == 1 else b"".join(batch)
        self._batched = len(batch)
        return True

    def _watch(self) -> None:
        """Have the rest sent when the peer reads; end it where the system has no thread for that."""
        try:
            outbox_writer.watch(self)
        except (OSError, RuntimeError):
            self._miss()
            self._end_unread()

    def hold(self) -> Turn:
        """Have all that is put wait until `give_back`: there is nothing yet to send it on."""
        turn = Turn(None)
        with self._lock:
            self._is_clear, self._holder = False, turn
        return turn

    # For threads and fibers that write by themselves

    def take_turn(self, seconds: float | None) -> Turn | None:
        """Wait until all that came before is sent; then have the connection to oneself until `give_back`.

        Returns
        -------
        Turn or None
            None where the caller has the turn already, and where the connection is over.

        Raises
        ------
        TimeoutError
            After `seconds`.
        """
        if self.is_past():
            return None
        with self._lock:
            if self._is_over:
                return None
            kept = self._holder
            if kept is not None and kept.owner is None:
                kept.owner = current_thread_or_fiber()
                return kept
            turn = Turn(current_thread_or_fiber())
            if self._is_clear:
                self._is_clear, self._holder = False, turn
                return turn
            self._append(turn)
            is_due = False
            try:
                is_due = self._condition().wait_for(lambda: self._is_due(turn), seconds)
            finally:
                if not is_due:
                    self._withdraw(turn)
            if not is_due:
                raise TimeoutError("timed out")
            return turn if self._holder is turn else None

    def is_past(self) -> bool:
        """Tell whether the caller need not wait for a turn: it has one, or there are no more."""
        # Without the lock: the caller alone can make itself the holder, or end that.
        holder = self._holder
        return self._is_over or (holder is not None and holder.owner is current_thread_or_fiber())

    def _is_due(self, turn: Turn) -> bool:
        return self._is_over or self._holder is turn

    def _withdraw(self, turn: Turn) -> None:
        if self._holder is turn:
            self._release()
        elif self._pieces and turn in self._pieces:
            self._pieces.remove(turn)

    def keep(self, turn: Turn) -> None:
        """End a turn in the middle of a message: the next one to take a turn goes on with it."""
        with self._lock:
            turn.owner, turn.is_begun = None, True

    def give_back(self, turn: Turn) -> None:
        """End a turn; what has come meanwhile goes out. Once more does no harm."""
        with self._lock:
            if self._holder is turn:
                self._release()
        self._tell()

    def _release(self) -> None:
        self._holder = None
        if not self._is_over:
            self._send_some()

    # The end

    def wait_until_sent(self, seconds: float | None = None) -> bool:
        """Wait until nothing waits to be sent, or it is over; return whether that came in time."""
        with self._lock:
            if self._is_clear or self._is_over:
                return True
            return self._condition().wait_for(lambda: self._is_clear or self._is_over, seconds)

    def _condition(self) -> Condition:
        if self._changed is None:
            self._changed = Condition(self._lock)
        return self._changed

    def finish(self, seconds: float = LINGER) -> bool:
        """Wait until all is sent, as long as the peer reads; False when it takes nothing for `seconds`.

        Then it is over, and what is left is missed. For the thread, or the fiber, that is about to end the
        connection. At once when it is over.
        """
        with self._lock:
            if self._is_clear or self._is_over:
                return True
            if self._holder is not None and self._holder.owner is None:
                self._release()  # what was begun is not ended any more
            left = self._size + 2
            while left > self._left():
                left = self._left()
                if not left:
                    return True
                self._condition().wait_for(partial(self._has_less_than, left), seconds)
            # Of a batch some may have gone out, which is not known any more.
            self.missed += self.pieces_waiting + (self._batched if self._batch else 0)
            self._end()
        return False

    def _left(self) -> int:
        """Return the bytes that wait, one more while the turn is another writer's; 0 when it is over."""
        return 0 if self._is_clear or self._is_over else self._size + 1

    def _has_less_than(self, left: int) -> bool:
        return self._left() < left

    def end(self) -> None:
        """Send nothing more: the connection is over. Once more does no harm.

        When it has returned, no byte is on its way to the descriptor, which may be closed.
        """
        with self._lock:
            self._end()
        if self.descriptor >= 0:
            outbox_writer.forget(self)
            self.descriptor = -1

    def end_soon(self) -> None:
        """Send nothing more on a connection that is shut down just now. For signal handlers too.

        Where the lock is taken, perhaps by the code that a signal has interrupted, the next send meets the
        shutdown, and ends it.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def begin_anew(self) -> None:
        """Be over, in a forked copy of the process: what waits is sent by the original, and once."""
        self._lock = brief_lock()
        self._changed = None
        self._end()

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_over, self._is_clear = True, False
        self._pieces, self._batch, self._size = None, b"", 0
        self._send = _send_nothing
        self._terms = None
        if self._changed is not None:
            self._changed.notify_all()


def check_length(data: bytes, bound: int) -> None:
    """Refuse a piece that could never wait.

    Raises
    ------
    Mistake
        It is longer than `bound` bytes.
    """
    if len(data) > bound:
        raise Mistake(
            f"a piece of {len(data)} bytes fits into no outbox of {bound}: set the option outbox to more, or "
            "write it with wfile"
        )


def _send_nothing(data: bytes | memoryview, flags: int) -> int:  # noqa: ARG001 - in the place of a socket's
    return 0
