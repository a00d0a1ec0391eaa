"""What is known of a server that is followed, at one moment: values out of values, no I/O."""

from dataclasses import dataclass, field, replace
from typing import Any

from manyhands.control.client import Notification
from manyhands.runtime.locks import Latch

RING = 1000
"""Events that are kept: what a browser that comes back has missed, up to so many."""

HISTORY = 180
"""Points of the charts that are kept, one a second."""

POINT = ("open", "accepted", "closed", "refused", "bytes_in", "bytes_out")
"""What a point of the charts has after its time: connections, and what went on in each second."""


@dataclass(frozen=True)
class Snapshot:
    """What is known at one moment. Nothing of it changes: what comes next is another one.

    Attributes
    ----------
    incarnation : str
        Names the run of numbers that events have: a new one begins with each connection to a server.
    server : dict
        Whether a server is there, and which.
    place : str
        The place of its control socket; ``""`` while none is there.
    stats : dict or None
        The latest figures.
    stats_number : int
        How many figures there were.
    events : tuple
        The latest events, at most `RING`, each with its number.
    last : int
        The number of the latest event; 0: there was none.
    history : tuple
        The latest points of the charts, at most `HISTORY`.
    is_over : bool
        Whether the page ends, and nothing follows.
    changed : Latch
        Is set when the next one is there.
    """

    incarnation: str = ""
    server: dict[str, Any] = field(default_factory=dict)
    place: str = ""
    stats: dict[str, Any] | None = None
    stats_number: int = 0
    events: tuple[tuple[int, dict[str, Any]], ...] = ()
    last: int = 0
    history: tuple[list[Any], ...] = ()
    is_over: bool = False
    changed: Latch = field(default_factory=Latch)

    def but(self, **changes: Any) -> "Snapshot":
        """Return what is known after some changes."""
        return replace(self, **changes, changed=Latch())

    def after(self, notification: Notification) -> "Snapshot":
        """Return what is known once a server has told more."""
        params = notification.params
        if notification.kind == "stats":
            history = (*self.history, _point(params))[-HISTORY:]
            return self.but(stats=params, stats_number=self.stats_number + 1, history=history)
        if notification.kind != "events":
            return self
        events = _events_of(params)
        numbered = enumerate(events, self.last + 1)
        return self.but(events=(*self.events, *numbered)[-RING:], last=self.last + len(events))


def _events_of(params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of a notification; those that were dropped before it count as one."""
    items = params.get("items")
    events = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    if dropped := params.get("dropped"):
        events.insert(0, {"event": "EventsDropped", "dropped": dropped})
    return events


def _point(stats: dict[str, Any]) -> list[Any]:
    books, rates = _mapping(stats.get("books")), _mapping(stats.get("rates"))
    return [stats.get("at"), books.get("open"), *(rates.get(name) for name in POINT[1:])]


def _mapping(value: object) -> dict[str, Any]:
    # Of a later server it may be anything, and the page goes on.
    return value if isinstance(value, dict) else {}
