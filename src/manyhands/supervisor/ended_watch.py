"""When the supervisor looks for connections that have ended: once it is told, or again and again."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from manyhands.connections.counted_registry import CountedRegistry
from manyhands.supervisor.worker import Worker

INTERVAL = 0.005
"""Seconds between two looks while much ends: to be woken by each end costs more than to deal."""


class Owner(Protocol):
    """What it needs of the fleet."""

    @property
    def workers(self) -> Iterable[Worker]:
        """All workers that have not ended."""

    def take_ended(self, worker: Worker) -> int:
        """Count what has ended of a worker's connections; return how many have."""


class EndedWatch:
    """Looks for what has ended. For the thread of the supervisor's loop.

    As long as each look finds something the next one comes by itself. When one finds nothing, the workers are
    to tell of the next end. They are to do so at once, too, while a client waits for the end of another one.

    Parameters
    ----------
    owner
        The fleet.
    books
        Where connections are counted.
    clock
        The time in seconds, as `time.monotonic` has it.
    """

    def __init__(
        self, owner: Owner, books: CountedRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._owner = owner
        self._books = books
        self._clock = clock
        self._due = 0.0
        """When to look; infinity while the workers are to tell."""

    def note_told(self) -> None:
        """Note that a worker has told."""
        self._due = 0.0

    def next_look(self, now: float) -> float:
        """Look, if it is time to; return when the next look is due."""
        is_waited_for = self._books.on_room is not None
        if now < self._due and not (is_waited_for and self._due != math.inf):
            return self._due
        if self.look() and not is_waited_for:
            self._due = now + INTERVAL
            return self._due
        self._due = math.inf
        for worker in self._owner.workers:
            worker.slot.ended.is_awaited = True
        # First asked for, then looked again: what ends just now is told, or seen.
        if self.look():
            self._due = now + INTERVAL
        return self._due

    def look(self) -> int:
        """Count what has ended; return how many have."""
        return sum([self._owner.take_ended(worker) for worker in self._owner.workers])
