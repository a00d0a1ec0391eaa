"""One look after the other at the open connections, which ends those whose time is over.

A look asks the kernel about each connection that may be overdue, so nothing is counted or timed while
requests are served. A worker is asked to end by way of its connection: whatever waits for that comes to its
end. On TLS what it receives ends first, and the rest after `GENTLE`: a worker that only waited for its client
says goodbye meanwhile. One that has not unwound within `GRACE`, since it computes, or takes no notice of
errors, is counted no longer.
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
"""Seconds that a worker gets to unwind when the time of its connection is over."""

GENTLE = 0.25
"""Seconds of them for which one may still send, where that is needed for a goodbye."""

SLICE = 100
"""How many connections are looked at in one go, which takes about half a millisecond."""

_WATCHED = frozenset({State.ACCEPTED, State.OPEN})
"""The states that have these deadlines: PROXY header and handshake have one of their own.

A forked handler's connection is no more than accepted, as far as this process knows."""

_TO_BE_WATCHED = _WATCHED | {State.READING_PROXY_HEADER, State.HANDSHAKING}
"""Those, and the states that lead to them: nothing tells the reaper when a connection is open."""


class _Look(NamedTuple):
    """What was seen of a connection."""

    deadlines: Deadlines
    stall: Stall | None
    until: float
    """When it is to be looked at again, unless it has other deadlines then."""


class _Ending(NamedTuple):
    """When to do more about a worker that has been asked to end."""

    insist_at: float
    abandon_at: float


class Expiry:
    """Looks at the connections of one registry. One thread at a time may look.

    Parameters
    ----------
    registry
        The connections.
    clock
        The time, in seconds, as `time.monotonic` has it.
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
        """Look once, and end the connections whose time is over.

        Parameters
        ----------
        deadlines_of
            Tells a connection's deadlines, as they are now.
        pause
            Called now and then in a long look, to let others have their turn.

        Returns
        -------
        float or None
            Seconds after which to look again; None while no connection has a deadline, or will have.
        """
        looks: dict[int, _Look] = {}
        kinds: dict[int, Deadlines] = {}
        count = 0
        for connection in self._registry.snapshot():
            state = connection.state
            if state not in _TO_BE_WATCHED:
                continue
            deadlines = deadlines_of(connection)
            if deadlines is NONE:
                continue
            # Most connections share one object.
            kinds[id(deadlines)] = deadlines
            if state not in _WATCHED:
                continue
            before = self._looks.get(connection.number)
            looks[connection.number] = look = self._looked(connection, deadlines, before)
            count += look is not before
            if count == SLICE:
                count = 0
                pause()
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
        reason = overdue(deadlines, seen)
        if reason is not None and not connection.is_out_of_reach and connection.expire(reason):
            self._ending[connection] = _Ending(now + GENTLE, now + GRACE)
        return _Look(deadlines, stall, now + seconds_of_rest(deadlines, seen))

    def _give_up_on_workers(self) -> list[float]:
        """Give up on workers that have had their time; return the seconds that others have left."""
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
