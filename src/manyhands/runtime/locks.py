"""A lock that threads and fibers may hold across a wait."""

import sys
import threading
from typing import Any

from manyhands.runtime.caller import hub_to_spare, whoever

FIRST_PAUSE = 0.001
"""Seconds until a fiber asks again for a lock that somebody else holds; then twice as long each time."""

LONGEST_PAUSE = 0.05


class ReentrantLock:
    """A lock of the thread, or of the fiber, that holds it: this one may take it again.

    `threading.RLock` belongs to a thread, so that all fibers of that thread could enter; and a fiber that
    waits for one would hold up the others, be it one of them that is to release it.
    """

    __slots__ = ("_depth", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: object = None
        self._depth = 0

    def __enter__(self) -> None:
        caller = whoever()
        if self._owner is not caller:
            acquire(self._lock)
            self._owner = caller
        self._depth += 1

    def __exit__(self, *exception: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()


def acquire(lock: "threading.Lock") -> None:
    """Acquire a lock; of a fiber that waits for it, let the others run meanwhile."""
    if hub_to_spare() is None:
        lock.acquire()
        return
    gevent: Any = sys.modules["gevent"]
    pause = FIRST_PAUSE
    while not lock.acquire(blocking=False):
        gevent.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
