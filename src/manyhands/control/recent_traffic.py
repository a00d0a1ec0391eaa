"""The traffic of connections, as the kernel told it a moment ago."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from manyhands.connections.connection import Connection
from manyhands.connections.traffic import Traffic

SHARE = 1 / 500
"""The share of a processor for asking the kernel about all connections, however often clients look."""

WORTH_KEEPING = 0.002
"""Seconds: what took no longer is asked for anew, so it is never late on a server of some hundred clients."""


class Told(NamedTuple):
    """What the kernel said of a connection.

    Attributes
    ----------
    traffic : Traffic or None
        Its traffic; None where that is not known.
    silent_since : float or None
        When the last byte was received, by `time.monotonic`, to the millisecond.
    """

    traffic: Traffic | None
    silent_since: float | None


class RecentTraffic:
    """Asks the kernel about connections, and keeps what it says for a while where there are thousands.

    So an order by traffic, and the sums of bytes, may be some seconds late then. For one thread at a time;
    two do no harm.
    """

    def __init__(self) -> None:
        self._told: dict[int, Told] = {}

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
            self._told, self.asked_at, self._spent = {}, now, 0.0
        began, known = time.thread_time(), len(self._told)
        yield
        if len(self._told) > known:
            self._spent += time.thread_time() - began
            is_kept = self._spent > WORTH_KEEPING
            self.until = self.asked_at + self._spent / SHARE if is_kept else 0.0

    def of(self, connection: Connection) -> Told:
        """Return what is known of a connection; it is asked for unless that was done lately."""
        told = self._told.get(connection.number)
        if told is None:
            traffic = connection.traffic
            since = None if traffic is None else round(time.monotonic() - traffic.silent, 3)
            told = self._told[connection.number] = Told(traffic, since)
        return told

    def of_all(self, connections: Iterable[Connection]) -> list[Told]:
        """Return what is known of several, as `of` does."""
        # Ten thousand are looked up each second: without a call for those that are known.
        known, of = self._told.get, self.of
        return [known(each.number) or of(each) for each in connections]

    def traffic_of(self, connection: Connection) -> Traffic | None:
        """Return the traffic of a connection, as `of` does."""
        return self.of(connection).traffic
