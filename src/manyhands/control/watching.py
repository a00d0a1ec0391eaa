"""What a client that watches is told by itself: stats, of which the latest counts, and events in batches."""

import time
from collections.abc import Sequence
from typing import Any

from manyhands.control.messages import notification
from manyhands.logs.lines import iso_time

EVENTS_INTERVAL = 0.1
"""Seconds between two batches of events."""

_RATES = ("accepted", "closed", "refused", "bytes_in", "bytes_out")


class Watch:
    """What one client watches.

    Parameters
    ----------
    what
        ``"stats"``, ``"events"`` or both.
    every
        Seconds between two stats.
    """

    def __init__(self, what: Sequence[str], every: float) -> None:
        self.of_stats, self.of_events = "stats" in what, "events" in what
        self._every = every
        self.stats_due = time.monotonic()
        """When the next stats are due; the first at once."""

        self._stats = self._events = 0
        self._dropped = 0
        self._before: tuple[float, dict[str, Any]] | None = None

    def stats(self, status: dict[str, Any], now: float, *, is_behind: bool) -> bytes | None:
        """Return what the client is told at its time; None where it has not read the stats of before."""
        # All that watch at the same interval are told at the same moment, of one look.
        self.stats_due = (now // self._every + 1) * self._every
        self._stats += 1
        if is_behind:
            return None
        sums = _sums(status)
        rates = _rates(self._before, (now, sums))
        self._before = now, sums
        stats = {"seq": self._stats, "at": iso_time(time.time()), **status, "rates": rates}
        return notification("stats", stats)

    def events(self, items: list[dict[str, Any]], missed: int, *, is_behind: bool) -> bytes | None:
        """Return what the client is told of a batch; None of an empty one, and where it takes no more."""
        self._dropped += missed
        if is_behind:
            self._dropped += len(items)
            return None
        if not items and not self._dropped:
            return None
        self._events += 1
        dropped, self._dropped = self._dropped, 0
        return notification("events", {"seq": self._events, "items": items, "dropped": dropped})


def _sums(status: dict[str, Any]) -> dict[str, int | None]:
    books = status["books"]
    sums: dict[str, int | None] = {name: books[name] for name in _RATES[:3]}
    for name in _RATES[3:]:
        of_servers = [server[name] for server in status["servers"]]
        sums[name] = sum(of_servers) if of_servers and None not in of_servers else None
    return sums


def _rates(
    before: tuple[float, dict[str, Any]] | None, now: tuple[float, dict[str, Any]]
) -> dict[str, float | None] | None:
    if before is None:
        return None
    seconds = max(now[0] - before[0], 0.001)
    return {
        name: None
        if now[1][name] is None or before[1][name] is None
        # A server that has ended takes its sums with it.
        else round(max(0, now[1][name] - before[1][name]) / seconds, 1)
        for name in _RATES
    }
