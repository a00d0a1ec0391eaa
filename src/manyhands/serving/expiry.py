"""The expiry of connections: one look at a time, which ends those whose timeouts have passed.

A look asks the kernel about each connection that may be overdue, so nothing is counted or timed while
requests are served. It ends the connection, and with it whatever its worker waits for there. On TLS receiving
ends first, and sending after `CLOSE_NOTIFY_GRACE`: a worker that only waited for its client sends
close_notify meanwhile. A worker that has not unwound within `GRACE`, since it computes or ignores errors, is
abandoned.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

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

GRACE = 1.0
"""Seconds that a worker gets to unwind once its connection has expired."""

CLOSE_NOTIFY_GRACE = 0.25
"""The first of these seconds, in which it may still send on TLS, for close_notify."""

SLICE = 100
"""How many connections are looked at between two pauses: about half a millisecond of work."""

_TIMED = frozenset({State.ACCEPTED, State.OPEN})
"""The states in which these deadlines hold: PROXY header and handshake have `handshake_timeout`.

Of a forked handler's connection this process sees no state after the acceptance."""

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
        pause: Callable[[], object] = lambda: None,
    ) -> float | None:
        """Look at all connections once, and end those whose timeouts have passed.

        Parameters
        ----------
        deadlines_of
            Returns a connection's deadlines, as they are now.
        pause
            Called after each `SLICE` connections, so that the threads that serve get the interpreter.

        Returns
        -------
        float or None
            Seconds until the next look; None while no connection has a deadline, or will have one.
        """
        looks: dict[int, _Look] = {}
        kinds: dict[int, Deadlines] = {}
        count = 0
        for connection in self._registry.snapshot():
            state = connection.state
            if state not in _SOON_TIMED:
                continue
            deadlines = deadlines_of(connection)
            if deadlines is NONE:
                continue
            # Most connections share one object, so few intervals have to be computed below.
            kinds[id(deadlines)] = deadlines
            # Only now: a connection that is still opening needs no look, but its deadline needs the next one.
            if state not in _TIMED:
                continue
            before = self._looks.get(connection.number)
            looks[connection.number] = look = self._looked(connection, deadlines, before)
            count += look is not before
            if count == SLICE:
                count = 0
                pause()
        # Replaced as a whole, so that closed connections are forgotten.
        self._looks = looks
        shortest = [deadlines.shortest for deadlines in kinds.values()]
        waits = [interval(seconds) for seconds in shortest if seconds is not None]
        return min(waits + self._give_up_on_workers(), default=None)

    def _looked(self, connection: Connection, deadlines: Deadlines, before: _Look | None) -> _Look:
        now = self._clock()
        if before is not None and now < before.until and before.deadlines is deadlines:
            return before
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
