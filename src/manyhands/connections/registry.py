"""The registry of a server: which connections are open, and why the others ended.

``accepted = open + closed``, always, and each connection that is closed has one reason.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import NamedTuple

from manyhands.connections.connection import Connection
from manyhands.model.connection_states import Reason, State, Step
from manyhands.model.event_hub import hub
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import brief_lock

DURATION_BOUNDS = (
    *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0),
    3600.0,
)
"""Seconds: the upper bounds of the classes by duration, from one short answer to a line held for an hour."""

UNSERVED = frozenset(
    {
        Reason.HANDSHAKE_FAILED,
        Reason.HANDSHAKE_TOO_SLOW,
        Reason.BAD_PROXY_HEADER,
        *(reason for reason in Reason if reason.is_refusal),
    }
)
"""The reasons of connections whose handler never began."""


class Sums(NamedTuple):
    """What `Totals` has added up.

    Attributes
    ----------
    by_duration : tuple of int
        How many connections took no longer than each of `DURATION_BOUNDS` and longer than the one before;
        the last is of those that took longer than all. Only such whose handler began.
    seconds : float
        What these took, all together, from acceptance to end.
    bytes_in, bytes_out : int
        Of every connection that has ended.
    """

    by_duration: tuple[int, ...]
    seconds: float
    bytes_in: int
    bytes_out: int


class Totals:
    """Adds up what connections were that have ended. Thread-safe, and memory for a few numbers only."""

    def __init__(self) -> None:
        # The system's lock: the thread that reads the sums is one that gevent knows nothing of.
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


class _Wait:
    """One thread's wait for a count within bounds: told of each change, so that no number is missed."""

    def __init__(self, at_least: int | None, at_most: int | None) -> None:
        self._at_least = 0 if at_least is None else at_least
        self._at_most = at_most
        self.came_about = Latch()

    def look(self, count: int) -> None:
        """Let the thread go on if it has waited for this. One caller at a time."""
        if count >= self._at_least and (self._at_most is None or count <= self._at_most):
            self.came_about.set()


class Registry(Mapping[int, Connection]):
    """The open connections of a server by their numbers: a live view, and counts of those that have ended.

    Thread-safe. Iterating goes over those that were open when it began.
    """

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_closed",
        "_lock",
        "_open",
        "_waits",
        "are_detailed",
        "is_draining",
        "on_room",
        "totals",
    )

    def __init__(self) -> None:
        self.totals: Totals | None = None
        """Adds up what has ended, once the metrics ask for it."""

        self.are_detailed = hub.hears_of_ends
        """Whether the kernel is asked at a connection's end what went over it, and which side ended it."""

        self.begin_anew()
        renew_in_copies(self, Registry.begin_anew)

    # As of any object: the contents change all the time.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def begin_anew(self) -> None:
        """Forget everything: in a forked copy, whose connections these are not."""
        self._lock = brief_lock()
        self._open: dict[int, Connection] = {}
        self._closed: Counter[Reason] = Counter()
        self._accepted = 0
        if self.totals is not None:
            self.totals = Totals()
        self.on_room: Callable[[], None] | None = None
        """Called, from any thread, when a connection has ended, while an accept loop waits for that."""

        self._waits: list[_Wait] = []
        self.is_draining = False
        """Whether the server drains: handlers have been told, or can be, that the end has come."""

    def wait_for(
        self,
        at_least: int | None = None,
        at_most: int | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Wait until as many connections are open, however shortly. The calling thread sleeps.

        Returns
        -------
        bool
            False when that has not come about in `timeout` seconds.
        """
        wait = _Wait(at_least, at_most)
        with self._lock:
            wait.look(len(self._open))
            self._waits.append(wait)
        try:
            return wait.came_about.wait(timeout)
        finally:
            with self._lock:
                self._waits.remove(wait)

    def open(self, connection: Connection) -> None:
        """Enter a connection that was accepted."""
        with self._lock:
            self._accepted += 1
            self._open[connection.number] = connection
            for wait in self._waits:
                wait.look(len(self._open))

    def close(self, connection: Connection) -> bool:
        """Strike a connection off, for the reason that it has; return False when that was done before."""
        with self._lock:
            if self._open.pop(connection.number, None) is None:
                return False
            connection.take(Step.WORKER_ENDED)
            self._closed[connection.reason or Reason.HANDLER_RETURNED] += 1
            for wait in self._waits:
                wait.look(len(self._open))
        if self.totals is not None:
            self.totals.add(connection)
        if hub.hears_of_ends:
            hub.emit(connection.end_as_event())
        on_room = self.on_room
        if on_room is not None:
            on_room()
        return True

    def refuse(self, reason: Reason, count: int = 1) -> None:
        """Enter connections that were accepted and closed in one breath."""
        with self._lock:
            self._accepted += count
            self._closed[reason] += count

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
        """How many were accepted, are open, and are closed, at one moment; the first is the others' sum."""
        with self._lock:
            return self._accepted, len(self._open), self._closed.total()

    def snapshot(self) -> list[Connection]:
        """Return those that are open now."""
        # One step in C, during which none can come or go.
        return list(self._open.values())

    def census(self) -> tuple[int, Counter[State], Counter[Reason]]:
        """Return how many were accepted, are open by the state, and are closed by the reason, at one moment.

        One that ends while its state is looked at counts as closing.
        """
        with self._lock:
            accepted, still_open, closed = self._accepted, self._open.copy(), self._closed.copy()
        states = Counter(connection.state for connection in still_open.values())
        states[State.CLOSING] += states.pop(State.CLOSED, 0)
        return accepted, states, closed

    def __getitem__(self, number: int) -> Connection:
        return self._open[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self._open.copy())

    # The mixed-in ones look each number up, and one that has ended meanwhile would be an error.
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
