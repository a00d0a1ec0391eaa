"""Sends what waits in outboxes as fast as their peers read: one thread for all connections of the process.

A thread for each peer that does not read would be a thousand threads for a thousand stalled members.
"""

import contextlib
import select
from typing import Any, Protocol

from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock, original, start_native_thread

IDLE = 1.0
"""Seconds after which the thread ends when nothing waits: a room whose members read has none."""

ONCE = select.EPOLLOUT | select.EPOLLONESHOT


class Waiting(Protocol):
    """What waits for its peer to read: an outbox."""

    descriptor: int

    def flush(self) -> None:
        """Send what the peer takes now."""


class OutboxWriter:
    """Watches the descriptors of outboxes that wait, and has each send its share in turn. Thread-safe."""

    def __init__(self) -> None:
        self._begin_anew()
        renew_in_copies(self, OutboxWriter._begin_anew)

    def _begin_anew(self) -> None:
        # Under the lock of an outbox: none is taken while this one is held.
        self._lock = brief_lock()
        self._waiting: dict[int, Waiting] = {}
        # In a forked copy the original's is shared with it (epoll(7)): it is closed with this last reference.
        self._epoll: Any = None

    def watch(self, outbox: Waiting) -> None:
        """Have an outbox flushed once its peer reads.

        Raises
        ------
        OSError
            When there is no descriptor for it, or no memory.
        RuntimeError
            When the system has no thread left.
        """
        with self._lock:
            epoll, is_new = self._epoll, self._epoll is None
            if is_new:
                epoll = original(select, "epoll")()
            descriptor = outbox.descriptor
            # It stays there when it is flushed, and tells of nothing until it is modified.
            try:
                epoll.modify(descriptor, ONCE)
            except FileNotFoundError:
                epoll.register(descriptor, ONCE)
            if is_new:
                start_native_thread(self._run, epoll)
                self._epoll = epoll
            self._waiting[descriptor] = outbox

    def forget(self, outbox: Waiting) -> None:
        """Watch an outbox no longer: its descriptor is about to be closed."""
        with self._lock:
            if self._waiting.get(outbox.descriptor) is outbox:
                del self._waiting[outbox.descriptor]
            if self._epoll is not None:
                # A copy of the descriptor may stay open, and epoll would tell of it for ever (epoll(7)).
                with contextlib.suppress(OSError):  # it has never waited
                    self._epoll.unregister(outbox.descriptor)

    def _run(self, epoll: Any) -> None:
        while True:
            ready = epoll.poll(IDLE)
            for descriptor, _ in ready:
                self._flush(descriptor)
            if not ready and self._has_ended(epoll):
                return

    def _flush(self, descriptor: int) -> None:
        with self._lock:
            # Taken out: what still waits after the flush has itself watched again.
            outbox = self._waiting.pop(descriptor, None)
        if outbox is None:
            return
        try:
            outbox.flush()
        except Exception as error:  # noqa: BLE001 - the others go on
            print_uncaught(error)

    def _has_ended(self, epoll: Any) -> bool:
        with self._lock:
            if self._waiting:
                return False
            self._epoll = None
        epoll.close()
        return True


outbox_writer = OutboxWriter()
"""That of the process."""
