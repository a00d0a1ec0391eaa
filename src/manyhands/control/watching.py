"""What a client that watches is told by itself: stats, of which the latest counts, and events in batches."""

import time
from collections.abc import Sequence
from typing import Any

from manyhands.control.event_feed import Batch
from manyhands.control.messages import notification, notification_of
from manyhands.logs.lines import iso_time

EVENTS_INTERVAL = 0.1
"""Seconds between two batches of events."""

_COUNTS = ("accepted", "closed", "refused")

_BYTES = ("bytes_in", "bytes_out")


class _Rates:
    """How much more a second each figure is than it was.

    Bytes are added up more seldom where there are many connections: until they are again, their rate is that
    of before.
    """

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, float | None] = dict.fromkeys((*_COUNTS, *_BYTES))

    def of(self, status: dict[str, Any], now: float) -> dict[str, float | None] | None:
        """Return them since the last time; None the first time."""
        is_first = not self._before
        for name in _COUNTS:
            self._note(name, now, status["books"][name])
        servers = status["servers"]
        summed_at = now - max((each["bytes_age"] for each in servers), default=0.0)
        for name in _BYTES:
            values = [each[name] for each in servers]
            if values and None not in values:
                self._note(name, summed_at, sum(values))
            else:
                self._rates[name] = None
                self._before.pop(name, None)
        return None if is_first else self._rates.copy()

    def _note(self, name: str, at: float, value: int) -> None:
        before = self._before.get(name)
        if before is not None and at - before[0] < SAME_MOMENT:
            return
        self._before[name] = at, value
        if before is not None:
            # A server that has ended takes its sums with it.
            self._rates[name] = round(max(0, value - before[1]) / (at - before[0]), 1)


SAME_MOMENT = 0.01
"""Seconds: two sums whose times differ by less are one, told twice."""


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

        self.has_failed = False
        """Whether the last stats could not be told, which was reported."""

        self._stats = self._events = 0
        self._dropped = 0
        self._rates = _Rates()

    def is_due(self, now: float) -> bool:
        """Tell whether stats are due."""
        return self.of_stats and self.stats_due <= now

    def put_off(self, now: float) -> None:
        """Have the next stats at the next interval."""
        # All that watch at the same interval are told at the same moment, of one look.
        self.stats_due = (now // self._every + 1) * self._every

    def stats(self, status: dict[str, Any], now: float, *, is_behind: bool) -> bytes | None:
        """Return what the client is told at its time; None where it has not read the stats of before."""
        self._stats += 1
        if is_behind:
            return None
        rates = self._rates.of(status, now)
        stats = {"seq": self._stats, "at": iso_time(time.time()), **status, "rates": rates}
        return notification("stats", stats)

    def events(self, batch: Batch, *, is_behind: bool) -> bytes | None:
        """Return what the client is told of a batch; None of an empty one, and where it takes no more."""
        self._dropped += batch.missed
        if is_behind:
            self._dropped += len(batch.items)
            return None
        if not batch.items and not self._dropped:
            return None
        self._events += 1
        dropped, self._dropped = self._dropped, 0
        return notification_of("events", batch.items, seq=self._events, dropped=dropped)
