"""The lines that wait for a terminal: bounded, and in turns, so that a flood delays nobody else."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from functools import partial
from typing import Generic, TypeVar

from manyhands.desk.waiting import Condition

Item = TypeVar("Item")

TURN = 20
"""Items that one source may have taken before it is the next one's turn."""


class _Batch(Generic[Item]):
    """What one source has waiting. Who brings more waits for the end of this batch, not of all others."""

    __slots__ = ("is_taken", "items")

    def __init__(self, lock: threading.Lock) -> None:
        self.items: deque[Item] = deque()
        self.is_taken = Condition(lock)


class FairQueue(Generic[Item]):
    """A queue with many sources and one reader.

    Each source may have one batch waiting: who brings the next one waits until the reader has caught up.
    So the queue holds at most one batch for each source. Items of one source stay in order.

    Thread-safe, and fibers may wait in it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._filled = Condition(self._lock)
        self._waiting: OrderedDict[int | None, _Batch[Item]] = OrderedDict()
        self._is_closed = False

    def put(self, source: int | None, batch: Iterable[Item]) -> None:
        """Add a batch; wait while another one of the same source is there, unless the source is None."""
        with self._lock:
            if source is not None:
                self._wait_for_turn(source)
            waiting = self._waiting.get(source)
            if waiting is None:
                waiting = self._waiting[source] = _Batch(self._lock)
            waiting.items.extend(batch)
            self._filled.notify_all()

    def _wait_for_turn(self, source: int) -> None:
        while (waiting := self._waiting.get(source)) is not None and not self._is_closed:
            waiting.is_taken.wait_for(partial(self._is_through_with, waiting))

    def _is_through_with(self, batch: _Batch[Item]) -> bool:
        return self._is_closed or not batch.items

    def take(self, at_most: int) -> list[Item]:
        """Take the next items, a few of each source in turns; none when the queue is empty."""
        taken: list[Item] = []
        with self._lock:
            while self._waiting and len(taken) < at_most:
                source, batch = self._waiting.popitem(last=False)
                turn = min(TURN, len(batch.items), at_most - len(taken))
                taken += [batch.items.popleft() for _ in range(turn)]
                if batch.items:
                    self._waiting[source] = batch
                else:
                    batch.is_taken.notify_all()
        return taken

    def wait(self) -> bool:
        """Wait until there is something to take; False when there is nothing, and the queue is closed."""
        with self._lock:
            self._filled.wait_for(lambda: self._waiting or self._is_closed)
            return bool(self._waiting)

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._lock:
            self._is_closed = True
            self._filled.notify_all()
            for batch in self._waiting.values():
                batch.is_taken.notify_all()
