"""The traffic of connections, as the kernel told it a moment ago."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from manyhands.connections.connection import Connection
from manyhands.connections.traffic import Traffic

SHARE = 1 / 500
"""The share of a processor for asking the kernel about all connections, however often clients look."""

WORTH_KEEPING = 0.002
"""Seconds: what took no longer is asked for anew, so it is never late on a server of some hundred clients."""


class Told(NamedTuple):
    """What the kernel said of a connection, and when."""

    traffic: Traffic | None
    at: float

    @property
    def silent_since(self) -> float | None:
        """When the last byte was received, by `time.monotonic`, to the millisecond."""
        return None if self.traffic is None else round(self.at - self.traffic.silent, 3)


class RecentTraffic:
    """Asks the kernel about connections, and keeps what it says for a while where there are thousands.

    So an order by traffic, and the sums of bytes, may be some seconds late then. For one thread at a time;
    two do no harm.
    """

    def __init__(self) -> None:
        self.told: dict[int, Told] = {}
        """What is known, by the numbers of the connections; of those that are missing `of` tells."""

        self.asked_at = 0.0
        """When the kernel was first asked for what is known, by `time.monotonic`."""

        self.until = 0.0
        """Until when that is kept."""

        self._spent = 0.0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Keep what the kernel says in this context, a look at connections, for as long as that was worth."""
        now = time.monotonic()
        if now >= self.until:
            self.told, self.asked_at, self._spent = {}, now, 0.0
        began, known = time.thread_time(), len(self.told)
        yield
        if len(self.told) > known:
            self._spent += time.thread_time() - began
            is_kept = self._spent > WORTH_KEEPING
            self.until = self.asked_at + self._spent / SHARE if is_kept else 0.0

    def of(self, connection: Connection) -> Told:
        """Return what is known of a connection; it is asked for unless that was done lately."""
        told = self.told.get(connection.number)
        if told is None:
            told = self.told[connection.number] = Told(connection.traffic, time.monotonic())
        return told

    def traffic_of(self, connection: Connection) -> Traffic | None:
        """Return the traffic of a connection, as `of` does."""
        return self.of(connection).traffic
