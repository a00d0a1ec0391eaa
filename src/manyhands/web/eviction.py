"""Which connections end when all places are taken: those that need theirs least."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Self

from manyhands.connections.connection import Connection, current_connection
from manyhands.connections.registry import Registry
from manyhands.runtime.locks import Latch
from manyhands.web.guards import what_counts_of

MOST_STREAMS = 32
"""Browsers that watch at once."""

MOST_CONNECTIONS = 2 * MOST_STREAMS
"""As many for streams as for all else. A browser has six at most, which it keeps for a while."""

LOOK = 0.5
"""Seconds between two looks whether there is room."""

SOON = 0.05
"""Seconds until the next look where there was none: more clients may wait, and a browser behind them.

One that has just come needs so long for its first request.
"""

FREED = MOST_CONNECTIONS // 4
"""Places that are freed at one look: for those that came while there was no room."""


class Eviction:
    """Keeps room for browsers that know the token, in a thread of its own. A context; thread-safe.

    A connection may be held for nothing by a client that knows no token: by another machine's where the
    page is on a network, in the TLS handshake too.

    Parameters
    ----------
    connections
        Returns the connections that are open.
    """

    def __init__(self, connections: Callable[[], Registry]) -> None:
        self._connections = connections
        # When the latest right token came, by the connection's number; of a stream: never least. Each step on
        # it is one of the interpreter's, so no lock is needed.
        self._needs: dict[int, float] = {}
        self._ending = Latch()
        self._thread = threading.Thread(target=self._run, name="manyhands-eviction")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        self._thread.join()

    def note_right_token(self) -> None:
        """Note that the connection that the caller serves has brought the right token."""
        self._note(time.monotonic())

    def note_stream(self) -> None:
        """Note that the caller serves a stream from now on."""
        self._note(math.inf)

    def _note(self, need: float) -> None:
        served = current_connection()
        if served is not None:
            self._needs[served.number] = need

    def _run(self) -> None:
        pause = LOOK
        while not self._ending.wait(pause):
            pause = self.look()

    def look(self) -> float:
        """Free some places where all are taken; return the seconds until the next look."""
        connections = self._connections()
        for number in tuple(self._needs):
            if number not in connections:
                self._needs.pop(number, None)
        if len(connections) < MOST_CONNECTIONS:
            return LOOK
        for each in self._least_needed(connections.snapshot())[:FREED]:
            each.close()
        return SOON

    def _least_needed(self, connections: list[Connection]) -> list[Connection]:
        """Return connections in the order in which they end.

        Those without a right token end first. Of these each is the next one of the address that has most of
        them then, its oldest: many clients at one address drive out each other, and no browser elsewhere.
        """
        newer: Counter[int | None] = Counter()
        order: dict[Connection, tuple[float, int, int]] = {}
        for each in reversed(connections):
            address, need = what_counts_of(each.client_address), self._needs.get(each.number, 0.0)
            order[each] = need, -newer[address], each.number
            newer[address] += not need
        return sorted(connections, key=order.__getitem__)
