"""A queue with a bound, and a thread behind it: between a server that must not wait and a slow consumer."""

import atexit
import time
import weakref

# Not of `queue`, where gevent puts one for fibers. This one's `put` is a single step in C.
from _queue import Empty, SimpleQueue
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from manyhands.logs.relay import Relay
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import (
    parent_server,
    prepare_for_workers,
    renew_in_copies,
)
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import brief_rlock, start_native_thread

Item = TypeVar("Item")

LIMIT = 1000
"""Items that wait at most: seconds of a busy log, and as a rule some hundred kilobytes."""

FLUSH_TIMEOUT = 0.5
"""Seconds that a slow consumer gets at the end for what waits; a program does not hang for a log."""

_END = object()
"""Put behind the last item: the thread ends there."""

_LOOK = object()
"""Has the thread look how long it may sleep."""


class BoundedQueue(Generic[Item]):
    """Has items consumed in a thread of its own, in their order; drops what finds it full, and says so.

    Thread-safe, for finalizers and signal handlers too. Putting never blocks. The thread is one of the
    system's in every program, so it may block where fibers must not; it begins with the first item, and where
    the system has no thread just then, with the next one. A forked copy of the process begins with an empty
    queue and a thread of its own. A handler's process, made by the engine ``processes``, hands its items to
    the process of its server.

    Parameters
    ----------
    consume
        Called with each item. What it raises, `SystemExit` too, goes to `sys.excepthook`, and the next item
        follows.
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
        self._relay: Relay | None = None
        self._begin_anew()
        renew_in_copies(self, BoundedQueue._begin_anew)
        prepare_for_workers(self, BoundedQueue._have_relay)
        _all.add(self)

    def _begin_anew(self) -> None:
        # Reentrant: a finalizer, or a signal handler, may put an item in the middle of another `put`.
        self._lock = brief_rlock()
        self._has_ended = Latch()
        self._items: SimpleQueue[object] = SimpleQueue()
        self._untold = 0
        self._is_running = False
        self.dropped = 0
        """How many items were dropped in all."""

    def _have_relay(self) -> None:
        """Have what carries the items of the processes that are about to be forked, if the system has it."""
        if self._relay is not None:
            if self._relay.is_own:
                return
            self._relay.close()
            self._relay = None
        try:
            self._relay = relay = Relay(self._take_relayed)
        except (OSError, RuntimeError, MemoryError):
            return  # the next fork tries again
        weakref.finalize(self, relay.close).atexit = False

    def _take_relayed(self, item: Item | None) -> None:
        if item is not None:
            self.put(item)
            return
        with self._lock:
            self.dropped += 1
            self._untold += 1
        self._look_again()

    @property
    def is_relayed(self) -> bool:
        """Whether this is a handler's process, whose items the process of its server consumes."""
        return self._relay is not None and self._relay.leads_to_parent

    def put(self, item: Item) -> None:
        """Have `item` consumed soon, or drop it when too many wait."""
        if self._relay is not None and self.is_relayed:
            # An item that cannot be pickled, or is too long, is dropped like others.
            if not self._relay.send(item):
                self._relay.send(self._notice(1))
            return
        if _the_end.has_come or parent_server() is not None:
            # No thread begins any more; or this process may end before any thread gets to it, and there was
            # no descriptor, or no thread, for what would have carried the item.
            self._hand_over_within(item, time.monotonic() + FLUSH_TIMEOUT)
            return
        # The bound is looked at and kept in one step; the thread takes items without the lock.
        with self._lock:
            if self._items.qsize() >= self._limit:
                self.dropped += 1
                self._untold += 1
            else:
                self._items.put(item)
            self._run_if_needed()

    def _run_if_needed(self) -> None:
        """Begin the thread. Where the system has none, the next item tries again. With the lock."""
        if self._is_running:
            return
        # Beforehand: a finalizer that runs in the middle of this may put an item too.
        self._is_running = True
        try:
            start_native_thread(self._run, self._items, self._has_ended, name="manyhands-log")
        except (RuntimeError, MemoryError):
            self._is_running = False
        except BaseException:
            # What a signal raises. No state may stay that says there is a thread.
            self._is_running = False
            raise

    def close(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait until everything has been consumed, at most `timeout` seconds; tell whether it has been.

        The queue may be used again afterwards.
        """
        deadline = time.monotonic() + timeout
        relay = self._relay
        if relay is not None:
            relay.settle(timeout)
        for item in self._due(at_the_end=True):
            self.put(item)
        with self._lock:
            if not self._is_running and self._items.qsize():
                self._run_if_needed()
            has_thread, self._is_running = self._is_running, False
            # The thread goes on with these; an item that is put from now on begins another.
            items, self._items = self._items, SimpleQueue()
            has_ended, self._has_ended = self._has_ended, Latch()
            if has_thread:
                items.put(_END)
        is_done = (
            has_ended.wait(max(0.0, deadline - time.monotonic()))
            if has_thread
            else self._is_consumed_here(items, deadline)
        )
        if is_done and (count := self._take_untold()):
            self._hand_over_within(self._notice(count), deadline)
        return is_done

    def _run(self, items: "SimpleQueue[Any]", has_ended: Latch) -> None:
        try:
            while (item := self._next(items)) is not _END:
                if item is not _LOOK:
                    self._hand_over(item)
                if count := self._take_untold():
                    # Consumed here and now: put behind the others it might be dropped itself.
                    self._hand_over(self._notice(count))
        finally:
            has_ended.set()

    def _next(self, items: "SimpleQueue[Any]") -> Any:
        while True:
            seconds = self._seconds_until_due()
            try:
                return items.get(timeout=seconds)
            except Empty:
                for item in self._due():
                    self._hand_over(item)

    def _is_consumed_here(self, items: "SimpleQueue[Any]", deadline: float) -> bool:
        """Consume what waits in the calling thread, since there is no other; tell whether there was time."""
        while items.qsize():
            if time.monotonic() > deadline:
                return False
            item = items.get()
            if item is not _LOOK:
                self._hand_over_within(item, deadline)
        return True

    def _take_untold(self) -> int:
        with self._lock:
            count, self._untold = self._untold, 0
        return count

    def _hand_over(self, item: Item) -> None:
        try:
            self._consume(item)
        except BaseException as error:  # noqa: BLE001 - no signal raises in the queue's own thread, which goes on
            print_uncaught(error)

    # For subclasses, whose consumer may be told to hurry, and which have items of their own to tell later.

    def _hand_over_within(self, item: Item, deadline: float) -> None:  # noqa: ARG002
        """Hand over an item in the calling thread, which must not wait longer than until `deadline`."""
        try:
            self._consume(item)
        except Exception as error:  # noqa: BLE001 - whatever the consumer raises, the server goes on
            print_uncaught(error)

    def _seconds_until_due(self) -> float | None:
        """Return how long the thread may sleep until `_due` has items; None: until `_look_again`."""
        return None

    def _due(self, *, at_the_end: bool = False) -> Iterable[Item]:  # noqa: ARG002
        """Return the items that are due by now, or all of them at the end."""
        return ()

    def _look_again(self) -> None:
        """Have the thread ask `_seconds_until_due` again."""
        with self._lock:
            self._items.put(_LOOK)
            self._run_if_needed()


class _Exit:
    """Whether the interpreter ends, and starts no thread any more."""

    has_come = False


_the_end = _Exit()

_all: "weakref.WeakSet[BoundedQueue[Any]]" = weakref.WeakSet()


def _close_all() -> None:
    for queue in list(_all):
        queue.close()
    _the_end.has_come = True


# Before the interpreter ends: its threads would be stopped with items still in the queue.
atexit.register(_close_all)
