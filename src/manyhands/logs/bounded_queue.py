"""A queue with a bound, and a thread behind it: between a server that must not wait and a slow consumer."""

import atexit
import sys
import weakref

# Not of `queue`, where gevent puts one for fibers. This one's `put` is a single step in C.
from _queue import SimpleQueue
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from manyhands.runtime.fork_hooks import parent_server, renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import brief_lock, start_native_thread

Item = TypeVar("Item")

LIMIT = 1000
"""Items that wait at most: seconds of a busy log, and some hundred kilobytes."""

FLUSH_TIMEOUT = 1.0
"""Seconds that a slow consumer gets at the end for what waits; a program does not hang for a log."""

_END = object()
"""Put behind the last item: the thread ends there."""


class BoundedQueue(Generic[Item]):
    """Has items consumed in a thread of its own, in their order; drops what finds it full, and says so.

    Thread-safe. Putting never blocks. The thread is one of the system's in every program, so it may block
    where fibers must not; it begins with the first item. A forked copy of the process begins with an empty
    queue and a thread of its own. A handler's process, made by the engine ``processes``, consumes items at
    once, for it may end before any thread gets to them.

    Parameters
    ----------
    consume
        Called with each item. What it raises goes to `sys.excepthook`.
    notice
        Makes the item that tells of so many dropped ones, when there is room again.
    limit
        How many items may wait.
    """

    def __init__(
        self,
        consume: Callable[[Item], object],
        notice: Callable[[int], Item],
        limit: int = LIMIT,
    ) -> None:
        self._consume = consume
        self._notice = notice
        self._limit = limit
        self._begin_anew()
        renew_in_copies(self, BoundedQueue._begin_anew)
        _all.add(self)

    def _begin_anew(self) -> None:
        self._lock = brief_lock()
        self._has_ended = Latch()
        self._items: SimpleQueue[object] = SimpleQueue()
        self._untold = 0
        self._is_running = False
        self.dropped = 0
        """How many items were dropped in all."""

    def put(self, item: Item) -> None:
        """Have `item` consumed soon, or drop it when too many wait."""
        if parent_server() is not None:
            self._hand_over(item)
            return
        # The bound is looked at and kept in one step; the thread takes items without the lock.
        with self._lock:
            if self._items.qsize() >= self._limit:
                self.dropped += 1
                self._untold += 1
                return
            self._items.put(item)
            if not self._is_running:
                start_native_thread(self._run, self._items, self._has_ended)
                self._is_running = True

    def close(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait until everything has been consumed, at most `timeout` seconds; tell whether it has been.

        The queue may be used again afterwards.
        """
        with self._lock:
            if not self._is_running:
                return True
            self._is_running = False
            self._items.put(_END)
            # The thread goes on with these; an item that is put from now on begins another.
            has_ended, self._has_ended = self._has_ended, Latch()
            self._items = SimpleQueue()
        is_done = has_ended.wait(timeout)
        if is_done:
            self._tell_of_dropped()
        return is_done

    def _run(self, items: "SimpleQueue[Item]", has_ended: Latch) -> None:
        try:
            while (item := items.get()) is not _END:
                self._hand_over(item)
                self._tell_of_dropped()
        finally:
            has_ended.set()

    def _tell_of_dropped(self) -> None:
        # Consumed here and now: put behind the others it might be dropped itself.
        with self._lock:
            count, self._untold = self._untold, 0
        if count:
            self._hand_over(self._notice(count))

    def _hand_over(self, item: Item) -> None:
        try:
            self._consume(item)
        except Exception as error:  # noqa: BLE001 - whatever the consumer raises, the server goes on
            sys.excepthook(type(error), error, error.__traceback__)


_all: "weakref.WeakSet[BoundedQueue[Any]]" = weakref.WeakSet()


def _close_all() -> None:
    for queue in list(_all):
        queue.close()


# Before the interpreter ends: its threads would be stopped with items still in the queue.
atexit.register(_close_all)
