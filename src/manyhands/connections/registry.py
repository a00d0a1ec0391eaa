"""The registry of a server: its open connections, and how many others ended for which reason.

``accepted = open + closed``, always, and each closed connection has exactly one reason.
"""

import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from contextlib import suppress
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from manyhands.connections.connection import Connection
from manyhands.model.connection_states import Reason, State
from manyhands.model.event_hub import event_hub
from manyhands.model.pieces import piece_of
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch, release_if_held
from manyhands.runtime.pending import Pending
from manyhands.runtime.unpatched import brief_lock, brief_rlock

DURATION_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0),
    3600.0,
)
"""Seconds: the upper bounds of the classes by duration, from one short answer to a connection of an hour."""

UNSERVED = frozenset(
    {
        Reason.HANDSHAKE_FAILED,
        Reason.HANDSHAKE_TOO_SLOW,
        Reason.BAD_PROXY_HEADER,
        *(reason for reason in Reason if reason.is_refusal),
    }
)
"""The reasons of connections whose handler never began: their durations say nothing of the service."""


class Sums(NamedTuple):
    """The sums over the connections that have ended.

    Attributes
    ----------
    by_duration : tuple of int
        How many connections lasted as long as each of `DURATION_BOUNDS` or less, and longer than the bound
        before; the last count is of those that lasted longer than any bound. Only those whose handler began.
    seconds : float
        The durations of these, added up, each from acceptance to end.
    bytes_in, bytes_out : int
        Bytes received and sent on every connection that has ended.
    """

    by_duration: tuple[int, ...]
    seconds: float
    bytes_in: int
    bytes_out: int


class Totals:
    """Adds up durations and bytes of ended connections, in a few numbers. Thread-safe."""

    def __init__(self) -> None:
        # The system's lock, which `gevent.monkey` has not replaced: the metrics are read in a thread without
        # a hub. It is held for a few additions, so no fiber is held up.
        self._lock = brief_lock()
        self._by_duration = [0] * (len(DURATION_BOUNDS) + 1)
        self._seconds = 0.0
        self._bytes_in = self._bytes_out = 0

    def add(self, connection: Connection) -> None:
        """Add a connection that has just ended."""
        age, traffic = connection.age, connection.traffic
        with self._lock:
            if connection.reason not in UNSERVED:
                self._by_duration[bisect_left(DURATION_BOUNDS, age)] += 1
                self._seconds += age
            if traffic is not None:
                self._bytes_in += traffic.bytes_in
                self._bytes_out += traffic.bytes_out

    def sums(self) -> Sums:
        """Return what has been added up so far."""
        with self._lock:
            counts = tuple(self._by_duration)
            return Sums(counts, self._seconds, self._bytes_in, self._bytes_out)


MOST_ENDED = 1000
"""Connections of which it is remembered how they ended: 230 bytes each, and 0.3 µs at its end."""


class Ended(NamedTuple):
    """A connection that has ended.

    Attributes
    ----------
    number : int
        Its number.
    client_address : Any
        The client's address.
    reason : Reason
        Why it ended.
    at : float
        When, by `time.monotonic`.
    """

    number: int
    client_address: Any
    reason: Reason
    at: float


class _Wait:
    """One thread's wait for a number of open connections. Each change is tested, so no moment is missed."""

    def __init__(self, at_least: int | None, at_most: int | None) -> None:
        self._at_least = 0 if at_least is None else at_least
        self._at_most = at_most
        self.has_come_about = Latch()

    def look(self, count: int) -> None:
        """Let the thread go on if `count` is what it waits for. For the holder of the registry's lock."""
        if count >= self._at_least and (self._at_most is None or count <= self._at_most):
            self.has_come_about.set()


class Parent(Protocol):
    """What leads from a handler's process to the connections that other processes serve."""

    def connection(self, number: int) -> Connection | None:
        """Return what stands for a connection of another process; None where there is none of that number."""

    def send_all(self, piece: bytes, but: Connection | None) -> int:
        """Have a piece sent to each connection, but to one; return to how many."""


class Others(Protocol):
    """What leads to the connections of other processes which serve the same server."""

    def find(self, number: int) -> Pending[Connection | None]:
        """Ask for what stands for a connection of another process; None where there is none."""

    def send(self, number: int, piece: bytes) -> Pending[bool]:
        """Have a piece sent to a connection of another process; the result is whether it is."""

    def send_all(self, piece: bytes, but: int) -> Pending[int]:
        """Have a piece sent to each connection there, but to that of a number; the result is to how many."""


class Dealer(Protocol):
    """What leads from one process of a server to the others."""

    @property
    def parent(self) -> Parent | None:
        """In the process of a handler, what leads to its parent; None in the parent itself."""


class Registry(Mapping[int, Connection]):
    """The open connections of a server by their numbers: a live view; and counts of those that have ended.

    Thread-safe. An iteration goes over the connections that were open when it began.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_closed",
        "_dropped",
        "_ended",
        "_lock",
        "_missed",
        "_open",
        "_waits",
        "are_detailed",
        "dealer",
        "is_draining",
        "on_room",
        "others",
        "totals",
    )

    def __init__(self) -> None:
        self.totals: Totals | None = None
        """Adds up what has ended, from the first time on that the metrics ask for it."""

        self.are_detailed = event_hub.hears_of_ends
        """Whether the kernel is asked at a connection's end for its bytes, and for which side ended it. Off
        until the metrics, an event's subscriber or a timeout needs it: it costs a system call for each."""

        self._ended: deque[Ended] | None = None

        self.dealer: Dealer | None = None
        """What leads, from a handler's process, to the connections of others, once the server has forked."""

        self.begin_anew()
        renew_in_copies(self, Registry.begin_anew)

    # By identity, although a Mapping compares contents: these change all the time.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def begin_anew(self) -> None:
        """Forget everything: in a forked copy of the process, which serves none of these connections."""
        self._lock = brief_rlock()
        self.others: Others | None = None
        """What leads to other processes that serve the same server, where it has several workers."""

        self._open: dict[int, Connection] = {}
        self._closed: Counter[Reason] = Counter()
        self._dropped: Counter[Reason] = Counter()
        self._accepted = 0
        self._missed = 0
        if self.totals is not None:
            self.totals = Totals()
        if self._ended is not None:
            self._ended = deque(maxlen=MOST_ENDED)
        self.on_room: Callable[[], None] | None = None
        """Called in any thread when a connection has ended; set while an accept loop waits for a free
        place."""

        self._waits: list[_Wait] = []
        self.is_draining = False
        """Whether the server drains: handlers may ask, and a connection that ends now was drained."""

    def wait_for(
        self,
        at_least: int | None = None,
        at_most: int | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Wait until the number of open connections is within the bounds, be it for a moment.

        Returns
        -------
        bool
            False when it has not been so within `timeout` seconds.
        """
        wait = _Wait(at_least, at_most)
        # The look and the entry under one lock: no change can slip in between.
        with self._lock:
            wait.look(len(self))
            self._waits.append(wait)
        try:
            return wait.has_come_about.wait(timeout)
        finally:
            with self._lock:
                self._waits.remove(wait)

    def open(self, connection: Connection) -> None:
        """Count a connection that was accepted, and have it among the open ones."""
        lock = self._lock
        try:
            # Within the `try`, as in `holding`, whose call each connection would pay for.
            lock.acquire()
            self._accepted += 1
            self._open[connection.number] = connection
            for wait in self._waits:
                wait.look(len(self._open))
        except BaseException:
            release_if_held(lock)
            raise
        lock.release()

    def close(self, connection: Connection) -> bool:
        """Count a connection as closed, under its reason; return False when that was done before."""
        lock = self._lock
        try:
            lock.acquire()
            is_open = connection.number in self._open
            if is_open:
                reason = connection.conclude()
                count, missed = self._closed[reason] + 1, connection.missed
                # Without a call in between: there a signal's handler may raise, and the sum would be wrong.
                del self._open[connection.number]
                self._closed[reason] = count
                self._missed += missed
                for wait in self._waits:
                    wait.look(len(self._open))
        except BaseException:
            release_if_held(lock)
            raise
        lock.release()
        if not is_open:
            return False
        # Outside of the lock: a subscriber may read the registry.
        try:
            if self.totals is not None or self._ended is not None:
                self._note_end(connection, reason)
            if event_hub.hears_of_ends:
                event_hub.emit(connection.end_as_event())
        finally:
            # Read once: the accept loop may take it away at any moment.
            on_room = self.on_room
            if on_room is not None:
                on_room()
        return True

    def _note_end(self, connection: Connection, reason: Reason) -> None:
        if self.totals is not None:
            self.totals.add(connection)
        if self._ended is not None:
            self._ended.append(
                Ended(connection.number, connection.client_address, reason, time.monotonic())
            )

    def remember_ends(self) -> None:
        """Remember from now on how the last connections ended."""
        if self._ended is None:
            self._ended = deque(maxlen=MOST_ENDED)

    def end_of(self, number: int) -> Ended | None:
        """Return how a connection ended; None where that is not remembered."""
        # A copy, made in one step: other threads append meanwhile.
        ends = [] if self._ended is None else list(self._ended)
        return next((each for each in reversed(ends) if each.number == number), None)

    def refuse(self, reason: Reason, count: int = 1) -> None:
        """Count connections that were accepted, and closed at once without a worker."""
        with self._lock:
            self._accepted += count
            self._closed[reason] += count

    def drop(self, reason: Reason) -> None:
        """Count a datagram that was received, and dropped unserved: it is no connection."""
        with self._lock:
            self._dropped[reason] += 1

    @property
    def dropped(self) -> dict[Reason, int]:
        """How many datagrams were dropped, by the reason; only reasons that occurred. A copy."""
        with self._lock:
            return dict(self._dropped)

    @property
    def missed(self) -> int:
        """How many pieces were sent to connections and dropped, since their clients did not read."""
        with self._lock:
            ended, still_open = self._missed, self._open.copy()
        return ended + sum(connection.missed for connection in still_open.values())

    def send_all(self, data: Any, but: Connection | None = None) -> int:
        """Send a piece to each connection that a handler has, but to one; return to how many. Never waits.

        Thread-safe, in fibers too; not for signal handlers, nor for finalizers. See `Connection.send`. What
        has a program's own object in the place of a socket is passed over.

        Parameters
        ----------
        data : bytes-like
        but : Connection, optional

        Raises
        ------
        Mistake
            When it is text, or longer than the option `outbox` allows.
        """
        piece = piece_of(data)
        parent = None if self.dealer is None else self.dealer.parent
        if parent is not None:
            return parent.send_all(piece, but)
        told, others_told = self.begin_to_send_all(piece, but)
        return told if others_told is None else told + others_told.wait()

    def begin_to_send_all(
        self, piece: bytes, but: Connection | None = None
    ) -> tuple[int, Pending[int] | None]:
        """Do what `send_all` does, but wait for nothing; return to how many elsewhere as what comes later."""
        told = self.send_all_here(piece, but)
        if self.others is None:
            return told, None
        return told, self.others.send_all(piece, 0 if but is None else but.number)

    def send_all_here(self, piece: bytes, but: Connection | None = None, at: float = inf) -> int:
        """Send a piece to each connection of this process, but to one; return to how many.

        `at` is when it was sent, by `time.monotonic`: what was accepted later gets nothing.
        """
        told = 0
        for connection in self.snapshot():
            is_meant = connection is not but and connection.opened_at <= at
            if is_meant and connection.is_open_to_pieces:
                with suppress(RuntimeError):
                    told += connection.send(piece)
        return told

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        return self._accepted

    @property
    def closed(self) -> dict[Reason, int]:
        """How many connections ended, by the reason; only reasons that occurred. A copy."""
        with self._lock:
            return dict(self._closed)

    @property
    def balance(self) -> tuple[int, int, int]:
        """The numbers accepted, open and closed, of one moment: the first is the sum of the others."""
        with self._lock:
            return self._accepted, len(self), self._closed.total()

    def snapshot(self) -> list[Connection]:
        """Return the open connections, in the order of their acceptance."""
        # Without the lock: `list` is one step in C, in which no other thread can change the dict.
        return list(self._open.values())

    def census(self) -> tuple[int, Counter[State], Counter[Reason]]:
        """Return how many were accepted, are open in each state, are closed for each reason: of one moment.

        A connection that ends while its state is read counts as closing.
        """
        with self._lock:
            accepted, still_open, closed = self._accepted, self.snapshot(), self._closed.copy()
        # Outside of the lock, which each accept and each end takes too: thousands of states take a
        # millisecond.
        states = Counter(map(attrgetter("state"), still_open))
        states[State.CLOSING] += states.pop(State.CLOSED, 0)
        return accepted, states, closed

    def __getitem__(self, number: int) -> Connection:
        connection = self._open.get(number)
        if connection is None:
            connection = self._elsewhere(number)
        if connection is None:
            raise KeyError(number)
        return connection

    def here(self, number: int) -> Connection | None:
        """Return an open connection of this process by its number; None where there is none."""
        return self._open.get(number)

    def _elsewhere(self, number: int) -> Connection | None:
        parent = None if self.dealer is None else self.dealer.parent
        if parent is not None:
            return parent.connection(number)
        return None if self.others is None else self.others.find(number).wait()

    def __contains__(self, number: object) -> bool:
        return number in self._open

    def __iter__(self) -> Iterator[int]:
        return iter(self._open.copy())

    # `Mapping` would look each number up, and raise KeyError for a connection that has ended meanwhile.
    def values(self) -> ValuesView[Connection]:
        """Return the connections that are open now."""
        return self._open.copy().values()

    def items(self) -> ItemsView[int, Connection]:
        """Return the connections that are open now, with their numbers."""
        return self._open.copy().items()

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        accepted, still_open, closed = self.balance
        return f"<{accepted} accepted, {still_open} open, {closed} closed>"
