"""The reaper ends the connections of a server whose time is over: in a thread, or in the accept loop.

A process that forks had better have no second thread, so for forked handlers the accept loop looks, between
two waits. On all other engines a thread does: a thread that serves may be busy for long, on sequential
servers with the very client whose time is over. The reaper's thread lives while a connection has a timeout.

A look of `Expiry` asks the kernel about each connection that may be overdue, so nothing is counted or timed
while requests are served. It ends the connection, and with it whatever its worker waits for there. On TLS
receiving ends first, and sending after `CLOSE_NOTIFY_GRACE`: a worker that only waited for its client sends
close_notify meanwhile. A worker that has not unwound within `GRACE`, since it computes or ignores errors, is
abandoned.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.model.connection_states import State
from manyhands.model.timeouts import (
    NONE,
    Deadlines,
    Seen,
    Stall,
    interval,
    overdue,
    seconds_of_rest,
    stall_of,
)
from manyhands.runtime.caller import is_threading_patched
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.slices import Slicing, slices, whole

if TYPE_CHECKING:
    from manyhands.connections.timeouts import ConnectionTimeouts
    from manyhands.engines.engine import Task

GRACE = 1.0
"""Seconds that a worker gets to unwind once its connection has expired."""

CLOSE_NOTIFY_GRACE = 0.25
"""The first of these seconds, in which it may still send on TLS, for close_notify."""

_TIMED = frozenset({State.ACCEPTED, State.OPEN})
"""The states in which these deadlines hold: PROXY header and handshake have `handshake_timeout`."""

_SOON_TIMED = _TIMED | {State.READING_PROXY_HEADER, State.HANDSHAKING}
"""Those, and the states that lead to them: the reaper must look again, for no event says that it is open."""


class _Look(NamedTuple):
    """What one look has seen of a connection."""

    deadlines: Deadlines
    stall: Stall | None
    until: float
    """When the next look must ask the kernel again, unless the deadlines have changed by then."""


class _Ending(NamedTuple):
    """When to do more about a worker whose connection has expired."""

    insist_at: float
    abandon_at: float


class Expiry:
    """Ends the connections of one registry whose timeouts have passed. For one thread at a time.

    Parameters
    ----------
    registry
        The connections.
    clock
        The time in seconds, as `time.monotonic` has it.
    """

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._looks: dict[int, _Look] = {}
        self._ending: dict[Connection, _Ending] = {}

    def look(
        self,
        deadlines_of: Callable[[Connection], Deadlines],
        in_slices: Slicing[Connection] = whole,
    ) -> float | None:
        """Look at all connections once, and end those whose timeouts have passed.

        Parameters
        ----------
        deadlines_of
            Returns a connection's deadlines, as they are now.
        in_slices
            Returns the connections slice by slice: between two, other threads may have their turn.

        Returns
        -------
        float or None
            Seconds until the next look; None while no connection has a deadline, or will have one.
        """
        looks: dict[int, _Look] = {}
        kinds: dict[int, Deadlines] = {}
        for some in in_slices(self._registry.snapshot()):
            now = self._clock()
            for connection in some:
                state = connection.state
                if state not in _SOON_TIMED:
                    continue
                deadlines = deadlines_of(connection)
                if deadlines is NONE:
                    continue
                # Most connections share one object, so few intervals have to be computed below.
                kinds[id(deadlines)] = deadlines
                # Only now: a connection that is still opening needs no look, but its deadline needs the next.
                if state not in _TIMED:
                    continue
                look = self._looks.get(connection.number)
                if look is None or now >= look.until or look.deadlines is not deadlines:
                    look = self._looked(connection, deadlines, look)
                looks[connection.number] = look
        # Replaced as a whole, so that closed connections are forgotten.
        self._looks = looks
        shortest = [deadlines.shortest for deadlines in kinds.values()]
        waits = [interval(seconds) for seconds in shortest if seconds is not None]
        return min(waits + self._give_up_on_workers(), default=None)

    def _looked(self, connection: Connection, deadlines: Deadlines, before: _Look | None) -> _Look:
        now = self._clock()
        flow = connection.traffic_now()
        stall = None
        if flow is not None:
            stall = stall_of(None if before is None else before.stall, flow, now)
        seen = Seen(flow, stall, now - connection.opened_at, connection.number, now)
        # Out of reach: it has no descriptor here (closed, handed over, or just being wrapped), so nothing to
        # end.
        reason = overdue(deadlines, seen)
        if reason is not None and not connection.is_out_of_reach and connection.expire(reason):
            self._ending[connection] = _Ending(now + CLOSE_NOTIFY_GRACE, now + GRACE)
        return _Look(deadlines, stall, now + seconds_of_rest(deadlines, seen))

    def _give_up_on_workers(self) -> list[float]:
        """Insist on the end of workers that go on, then abandon them; return the seconds that are left."""
        now = self._clock()
        for connection, ending in list(self._ending.items()):
            if connection.state is State.CLOSED:
                del self._ending[connection]
            elif now >= ending.abandon_at:
                del self._ending[connection]
                connection.abandon()
            elif now >= ending.insist_at:
                self._ending[connection] = ending._replace(insist_at=math.inf)
                connection.insist()
        return [min(ending) - now for ending in self._ending.values()]


LAST_LOOK = 1.0
"""Seconds that the end of a server waits for its reaper to end, which takes as long as one look."""

BUSY_INTERVAL = interval(1.0)
"""Seconds after which an accept loop looks again that found another one at it."""


class Reaper:
    """Looks at the connections of a server while any of them has a timeout. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.is_on = False
        """Whether the server has timeouts: then each new connection is to `call`."""

        self.wake_loop: Callable[[], object] = lambda: None
        """Wakes the accept loop, from a forked handler too."""

        self.accept_loops: set[object] = set()
        """The accept loops of ours that follow the server's options and timeouts at each turn."""

        self._begin_anew()
        renew_in_copies(self, Reaper._begin_anew)

    def _begin_anew(self) -> None:
        """Forget the thread and the loops: a forked copy has not got them."""
        self.accept_loops.clear()
        self._expiry = Expiry(self._registry)
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self.calls = 0
        """Changes with each call."""

        self._first_wait = 0.0

    def switch(self, timeouts: Deadlines, engine: str) -> None:
        """Go by the timeouts that the server's options say now."""
        shortest = timeouts.shortest
        self.is_on = shortest is not None
        if shortest is not None:
            self._first_wait = interval(shortest)
            # On processes this process keeps nothing of a connection that it has handed over, unless asked.
            self._registry.are_detailed = True
            if engine != "processes":
                self.call(engine)

    def look_here(self) -> float | None:
        """Look in the calling accept loop, which forks; return the seconds until the next look, if any."""
        if not self.is_on and not any(map(_has_own_timeouts, self._registry.snapshot())):
            return None
        return self.look()

    def call(self, engine: str) -> None:
        """Have connections looked at from now on: a connection has come, or a timeout was set."""
        if engine == "processes":
            self.calls += 1
            return
        # Under the lock: a thread that is about to end would not see this call otherwise.
        with self._lock:
            self.calls += 1
            if self._thread is None and self._registry:
                thread = threading.Thread(target=self._run, name="manyhands-deadlines", daemon=True)
                # The next connection tries again.
                with contextlib.suppress(RuntimeError, MemoryError):
                    thread.start()
                    self._thread = thread

    def hurry(self, engine: str) -> None:
        """Have connections looked at now."""
        self.call(engine)
        self._wake.set()

    def look(self, in_slices: Slicing[Connection] = whole) -> float | None:
        """Look at all connections once; return the seconds after which to look again, if that is to be."""
        if not self._looking.acquire(blocking=False):
            return BUSY_INTERVAL  # another accept loop of the server is at it
        try:
            usual: dict[int, Deadlines] = {}
            wait = self._expiry.look(lambda connection: _timeouts_of(connection, usual), in_slices)
            if wait is None:
                return None
            shortest = [each.shortest for each in usual.values() if each.shortest is not None]
            return min([wait, *map(interval, shortest)])
        finally:
            self._looking.release()

    def adopt(self, task: "Task") -> None:
        """Look after the connection of a handler's process from now on: the parent, which did, has gone."""
        assert isinstance(task, Connection)  # noqa: S101 - tells the type checker
        if task.is_registered and task.number not in self._registry:
            self._registry.open(task)

    def keep_deadlines(self, task: "Task") -> NoReturn:
        """End an orphan's connection when its time is over. For a thread of its own, and for no other use.

        Nothing else would end it: a parent that is killed reaps no more, and the kernel keeps connections
        open that a child has.
        """
        self.adopt(task)
        while True:
            wait = self.look()
            time.sleep(BUSY_INTERVAL if wait is None else wait)

    def _run(self) -> None:
        # A connection that has just come is not overdue, and most are gone before a first look.
        self._wake.wait(self._first_wait)
        try:
            while self._goes_on():
                pass
        except BaseException:
            # An attribute of the program's own failed, say. The next connection begins anew.
            with self._lock:
                self._thread = None
            raise

    def _goes_on(self) -> bool:
        """Look once and wait for the next time, if there is to be one."""
        calls = self.calls
        self._wake.clear()
        wait = self.look(_slices)
        with self._lock:
            if wait is None and calls == self.calls:
                self._thread = None
                return False
        self._wake.wait(wait or 0.0)
        return True

    def rest(self) -> None:
        """Have the thread end now, unless there are connections left for it."""
        thread = self._thread
        if thread is not None and not self._registry and thread is not threading.current_thread():
            self._wake.set()
            thread.join(LAST_LOOK)


def _slices(connections: list[Connection]) -> Iterable[Sequence[Connection]]:
    # The program's own pauses only where the reaper's thread is a fiber: in one of the system's, those of
    # gevent and eventlet make a hub, with its descriptors, for each life of the reaper.
    return slices(connections, sleep=time.sleep if is_threading_patched() else None)


def _timeouts_of(connection: Connection, usual: dict[int, Deadlines]) -> Deadlines:
    core = connection.core
    of_server = usual.get(id(core))
    if of_server is None:
        of_server = usual[id(core)] = core.options.timeouts(connection.server)
    own: ConnectionTimeouts | None = connection.own_timeouts
    return of_server if own is None else own.with_usual(of_server)


def _has_own_timeouts(connection: Connection) -> bool:
    own: ConnectionTimeouts | None = connection.own_timeouts
    return own is not None and own.are_any


class ReaperTurns:
    """When a loop whose handlers are forked has to look, and how long it may sleep until then."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._due = 0.0
        self._has_to_wake = False
        self._calls = 0
        self.was_woken = False
        """Whether the loop was woken since: by a forked handler that has set a timeout, perhaps."""

    def turn(self, timeout: float | None, interval: float) -> float | None:
        """Look when that is due; return how long the loop may sleep, of the `timeout` that it would.

        Without timeouts it is asked again `interval` seconds later, at the latest.
        """
        now = time.monotonic()
        if now >= self._due or self.was_woken or self._calls != self._reaper.calls:
            self._calls, self.was_woken = self._reaper.calls, False
            wait = self._reaper.look_here()
            self._has_to_wake = wait is not None
            self._due = now + (interval if wait is None else wait)
        if not self._has_to_wake:
            return timeout
        left = max(0.0, self._due - now)
        return left if timeout is None else min(timeout, left)
