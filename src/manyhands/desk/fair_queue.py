"""The lines that wait for a terminal: bounded, and in turns, so that a flood delays nobody else."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")

TURN = 20
"""Items that one source may have taken before it is the next one's turn."""


class FairQueue(Generic[Item]):
    """A queue with many sources and one reader.

    Each source may have one batch waiting: who brings the next one waits until the reader has caught up.
    So the queue holds at most one batch for each source. Items of one source stay in order.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: OrderedDict[int | None, deque[Item]] = OrderedDict()
        self._is_closed = False

    def put(self, source: int | None, batch: Iterable[Item]) -> None:
        """Add a batch; wait while another one of the same source is there, unless the source is None."""
        with self._changed:
            if source is not None:
                self._changed.wait_for(lambda: self._is_closed or source not in self._waiting)
            self._waiting.setdefault(source, deque()).extend(batch)

    def take(self, at_most: int) -> list[Item]:
        """Take the next items, a few of each source in turns; none when the queue is empty."""
        taken: list[Item] = []
        with self._changed:
            while self._waiting and len(taken) < at_most:
                source, items = self._waiting.popitem(last=False)
                turn = min(TURN, len(items), at_most - len(taken))
                taken += [items.popleft() for _ in range(turn)]
                if items:
                    self._waiting[source] = items
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
