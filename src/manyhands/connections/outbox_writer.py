"""Sends what waits in outboxes as fast as their peers read: one thread for all connections of the process.

A thread for each peer that does not read would be a thousand threads for a thousand stalled members.
"""

import contextlib
import select
from typing import Any, Protocol

from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import holding, is_held_here
from manyhands.runtime.unpatched import brief_rlock, original, start_native_thread
from manyhands.runtime.wakeup import WakeUp

IDLE = 1.0
"""Seconds after which the thread ends when nothing waits: a room whose members read has none."""

HAS_EPOLL = hasattr(select, "EPOLLONESHOT")  # which gevent and eventlet leave there
ONCE = select.EPOLLOUT | select.EPOLLONESHOT if HAS_EPOLL else 0


class PollOnce:
    """What is needed of epoll, by poll(2), for systems that have none. Each wait looks at all descriptors."""

    def __init__(self) -> None:
        self._watched: set[int] = set()
        self._wake_up = WakeUp()

    def modify(self, descriptor: int, _events: int) -> None:
        """Tell of a descriptor once, when it can be written to."""
        self._watched.add(descriptor)
        self._wake_up.wake()

    register = modify

    def unregister(self, descriptor: int) -> None:
        """Tell of a descriptor no more."""
        self._watched.discard(descriptor)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Wait for descriptors, as `select.epoll.poll` does; its own, which wakes it, may be among them."""
        poll = original(select, "poll")()
        poll.register(self._wake_up, select.POLLIN)
        for descriptor in self._watched.copy():
            poll.register(descriptor, select.POLLOUT)
        ready: list[tuple[int, int]] = poll.poll(seconds * 1000)
        self._wake_up.drain()
        self._watched.difference_update(descriptor for descriptor, _ in ready)
        return ready

    def close(self) -> None:
        """Give the descriptors back."""
        self._wake_up.close()


class Waiting(Protocol):
    """What waits for its peer to read: an outbox."""

    descriptor: int

    def flush(self) -> None:
        """Send what the peer takes now."""


class OutboxWriter:
    """Watches the descriptors of outboxes that wait, and has each send its share in turn. Thread-safe."""

    _epoll: Any = None

    def __init__(self) -> None:
        self._begin_anew()
        renew_in_copies(self, OutboxWriter._begin_anew)

    def _begin_anew(self) -> None:
        # Under the lock of an outbox: none is taken while this one is held.
        self._lock = brief_rlock()
        self._waiting: dict[int, Waiting] = {}
        # In a forked copy the original's is shared with it (epoll(7)), and goes on there.
        if self._epoll is not None:
            self._epoll.close()
        self._epoll = None

    @property
    def has_thread(self) -> bool:
        """Whether a thread of it is at work: it ends when nothing has waited for a while."""
        return self._epoll is not None

    def watch(self, outbox: Waiting) -> None:
        """Have an outbox flushed once its peer reads.

        Raises
        ------
        OSError
            When there is no descriptor for it, or no memory.
        RuntimeError
            When the system has no thread left; and in a finalizer (`__del__`) that interrupts just this.
        """
        if is_held_here(self._lock):
            raise RuntimeError("a finalizer cannot have an outbox watched while its thread does so")
        # By the threads of the program, in which signals' handlers may raise exceptions: not by `with`.
        holding(self._lock, self._watch, outbox)

    def _watch(self, outbox: Waiting) -> None:
        if self._epoll is not None:
            _arm(self._epoll, outbox.descriptor)
        else:
            self._epoll = self._begin_with(outbox.descriptor)
        self._waiting[outbox.descriptor] = outbox

    def _begin_with(self, descriptor: int) -> Any:
        epoll = original(select, "epoll")() if HAS_EPOLL else PollOnce()
        try:
            _arm(epoll, descriptor)
            start_native_thread(self._run, epoll, name="manyhands-outboxes")
        except BaseException:
            epoll.close()
            raise
        return epoll

    def forget(self, outbox: Waiting) -> None:
        """Watch an outbox no longer: its descriptor is about to be closed."""
        if outbox.descriptor >= 0:
            holding(self._lock, self._forget, outbox)

    def _forget(self, outbox: Waiting) -> None:
        descriptor = outbox.descriptor
        waiting = self._waiting.get(descriptor)
        if waiting is outbox:
            del self._waiting[descriptor]
        # A program may have closed the descriptor by its number, which is another connection's now.
        if self._epoll is not None and (waiting is None or waiting is outbox):
            # A copy of the descriptor may stay open, and epoll would tell of it for ever (epoll(7)).
            with contextlib.suppress(OSError):  # it has never waited
                self._epoll.unregister(descriptor)

    # In the thread itself, which gets no signals

    def _run(self, epoll: Any) -> None:
        try:
            while self._flush_ready(epoll):
                pass
        except Exception as error:  # noqa: BLE001 - no memory, or a program has closed the descriptor (EBADF)
            self._leave_to_another(epoll, error)

    def _flush_ready(self, epoll: Any) -> bool:
        """Flush those whose peers read; return False when nothing has waited for a while."""
        ready = epoll.poll(IDLE)
        for descriptor, _ in ready:
            self._flush(descriptor)
        return bool(ready) or not self._end_if_idle(epoll)

    def _leave_to_another(self, epoll: Any, error: Exception) -> None:
        """Have all that wait watched anew: by another thread, or, where there can be none, not at all."""
        with self._lock:
            if self._epoll is not epoll:
                return  # it was given up when the thread had just begun
            waiting, self._waiting, self._epoll = self._waiting, {}, None
        print_uncaught(error)
        with contextlib.suppress(OSError):
            epoll.close()
        for outbox in waiting.values():
            _flush(outbox)

    def _flush(self, descriptor: int) -> None:
        with self._lock:
            # Taken out: what still waits after the flush has itself watched again.
            outbox = self._waiting.pop(descriptor, None)
        if outbox is not None:
            _flush(outbox)

    def _end_if_idle(self, epoll: Any) -> bool:
        with self._lock:
            if self._waiting:
                return False
            self._epoll = None
        epoll.close()
        return True


def _flush(outbox: Waiting) -> None:
    try:
        outbox.flush()
    except Exception as error:  # noqa: BLE001 - the others go on
        print_uncaught(error)


def _arm(epoll: Any, descriptor: int) -> None:
    # It stays there when it is flushed, and tells of nothing until it is modified.
    try:
        epoll.modify(descriptor, ONCE)
    except FileNotFoundError:
        epoll.register(descriptor, ONCE)


outbox_writer = OutboxWriter()
"""That of the process."""
