"""The traffic of connections, as the kernel told it a moment ago."""

import time
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

    So an order by traffic may be some seconds late then. For one thread at a time; two do no harm.
    """

    def __init__(self) -> None:
        self.told: dict[int, Told] = {}
        """What is known, by the numbers of the connections; of those that are missing `of` tells."""

        self._until = 0.0

    def begin(self) -> float:
        """Begin a look at connections; return what `end` takes."""
        if time.monotonic() >= self._until:
            self.told = {}
        return time.thread_time() if not self.told else -1.0

    def end(self, began: float) -> None:
        """End a look: what was asked is kept the longer, the longer it took."""
        spent = time.thread_time() - began
        if began >= 0 and self.told:
            is_kept = spent > WORTH_KEEPING
            self._until = time.monotonic() + spent / SHARE if is_kept else 0.0

    def of(self, connection: Connection) -> Told:
        """Return what is known of a connection; it is asked for unless that was done lately."""
        told = self.told.get(connection.number)
        if told is None:
            told = self.told[connection.number] = Told(connection.traffic, time.monotonic())
        return told
