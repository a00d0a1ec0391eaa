"""What happens in the servers of this process, for clients that watch it."""

import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from manyhands.control.messages import written
from manyhands.logs.lines import iso_time, measurements
from manyhands.model.event_hub import event_hub
from manyhands.model.events import Event
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_WAITING = 500
"""Events in a batch, of a tenth of a second: what comes beyond them is counted. Each costs some 20 µs."""

MOST_BYTES = 256 * 1024
"""Bytes of a batch, and what is left of its last event: some have a traceback in them."""


class Batch(NamedTuple):
    """Some events.

    Attributes
    ----------
    items : list of str
        The events, each as JSON.
    missed : int
        How many before these there was no place for, or cannot be told.
    """

    items: list[str]
    missed: int


class EventFeed:
    """Takes events from the hub while that is of use, which costs each connection an event at its end.

    Called by any thread with an event; all else is for the thread that serves the clients.
    """

    def __init__(self) -> None:
        # Events, those of another process written, and among them how many there was no place for by then.
        self._waiting: deque[tuple[float, Event | str | int]] = deque()
        self._reported: weakref.WeakSet[type] = weakref.WeakSet()
        self._unsubscribe: Callable[[], object] | None = None
        self._missed = 0
        self.is_watched = False
        """Whether events are kept for clients that watch."""

        renew_in_copies(self, EventFeed.end)

    def begin(self) -> None:
        """Take events from now on."""
        if self._unsubscribe is None:
            self._unsubscribe = event_hub.subscribe(self, Event)

    def end(self) -> None:
        """Take none any more, and forget those of before."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._waiting.clear()
        self._missed = 0

    def __call__(self, event: Event) -> None:
        """Take notice of an event. It takes no lock: deques have their ends changed in one step."""
        if not self.is_watched:
            return
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append((time.time(), event))
        else:
            self._missed += 1

    def add(self, items: "Sequence[str]", missed: int) -> None:
        """Take notice of events of another process, written, and of how many before them cannot be told."""
        if not self.is_watched:
            return
        self._missed += missed
        for item in items:
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append((time.time(), item))
            else:
                self._missed += 1

    def take(self) -> Batch:
        """Return the events that wait: not more than `MOST_BYTES`, and the rest at the next time."""
        if self._missed:
            # Nothing was taken meanwhile, so all that waits is of before.
            missed, self._missed = self._missed, 0
            self._waiting.append((time.time(), missed))
        items: list[str] = []
        size = missed = 0
        while self._waiting and size < MOST_BYTES:
            when, event = self._waiting[0]
            if isinstance(event, int):
                if items:
                    break  # the next batch begins with it
                missed += event
            else:
                told = self._told(when, event)
                items += told
                size += sum(map(len, told))
                missed += not told
            self._waiting.popleft()
        return Batch(items, missed)

    def _told(self, when: float, event: Event | str) -> list[str]:
        """Return the event as it is told; nothing where it cannot be, which is reported once for a class."""
        if isinstance(event, str):
            return [event]
        try:
            return [_written(when, event)]
        except Exception as error:  # noqa: BLE001 - of a program's own event
            if type(event) not in self._reported:
                self._reported.add(type(event))
                print_uncaught(error)
            return []


def _written(when: float, event: Event) -> str:
    return written(
        {
            "event": type(event).__name__,
            "at": iso_time(when),
            "level": event.level,
            "message": str(event),
            **measurements(event),
        }
    )
