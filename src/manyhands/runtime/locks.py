"""Locks, latches and conditions that threads and fibers may wait for, in the same program.

A thread that waits sleeps. A fiber that waits lets the other fibers of its thread run.
"""

import contextlib
import errno
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from manyhands.runtime.caller import call_in_hub, current_thread_or_fiber, hub_of_fiber
from manyhands.runtime.unpatched import brief_lock, is_patched_by_eventlet

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

FIRST_PAUSE = 0.001
"""Seconds until a fiber tries again to take a lock that is held; then twice as long each time."""

LONGEST_PAUSE = 0.05

_NEVER = 1e9
"""Seconds, 30 years: the timeout of a fiber that has none."""


class Latch:
    """Is set once and stays so. Threads and fibers wait for that.

    Like `threading.Event` without `clear`; but threads of the system and fibers of any hub may wait for the
    same latch, also in a program that `gevent.monkey` has patched.

    Notes
    -----
    Thread-safe. `set` never waits and takes no lock: signal handlers may call it, even in a thread that is
    in the middle of `set` or `wait`. It may be called again.
    """

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: list[_Waiter] = []

    def is_set(self) -> bool:
        """Tell whether the latch is set."""
        return self._is_set

    def set(self) -> None:
        """Set the latch, and wake all that wait for it."""
        self._is_set = True
        # A copy, made in one step: waiters come and go meanwhile. Each removes itself, and none is taken from
        # the list here, so that an exception of a signal handler between two of them loses none: the next
        # `set` wakes it.
        for waiter in tuple(self._waiters):
            waiter.wake()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the latch is set, at most `timeout` seconds; return whether it is set.

        A signal handler that runs in a hub must not wait: it would hold up the fiber that sets the latch.
        """
        if self._is_set:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = _new_waiter()
        try:
            self._waiters.append(waiter)
            # Looked at after the entry in the list: a `set` that came before the entry has woken no waiter,
            # and one that comes after it finds this one. So no lock is needed.
            left = timeout
            while not self._is_set:
                waiter.sleep(left)
                # Something else may have ended the sleep.
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
        finally:
            # The exception of a signal handler may have come before the entry.
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
        return self._is_set


class Condition:
    """A lock, and waiting for what is guarded by it: `threading.Condition` for fibers too.

    Parameters
    ----------
    lock : threading.Lock, optional
        A lock that several conditions share; of `brief_lock` or `brief_rlock`, for it is held for moments
        only. No fiber may wait for anything else while it holds it.

    Notes
    -----
    Thread-safe. `wait_for` and `notify_all` are called with the lock held, by ``with condition`` or
    ``with lock``. Not for signal handlers: the thread that one interrupts may hold the lock.
    """

    __slots__ = ("_lock", "_waiters")

    def __init__(self, lock: "threading.Lock | threading.RLock | None" = None) -> None:
        self._lock = brief_lock() if lock is None else lock
        # None most of the time: a server of ten thousand clients has a condition for each.
        self._waiters: list[_Waiter] | None = None

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait until `predicate` holds, at most `timeout` seconds; return whether it does.

        The lock is released meanwhile. `predicate` is called with the lock held.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not predicate():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait(left)
        return True

    def _wait(self, timeout: float | None) -> None:
        waiter = _new_waiter()
        self._waiters = [*(self._waiters or ()), waiter]
        self._lock.release()
        try:
            waiter.sleep(timeout)
        finally:
            self._lock.acquire()
            if self._waiters is not None:
                self._waiters = [other for other in self._waiters if other is not waiter] or None

    @property
    def has_waiters(self) -> bool:
        """Whether a thread or a fiber waits."""
        return bool(self._waiters)

    def notify_all(self) -> None:
        """Have all that wait look at their predicates again."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            waiter.wake()


class _ThreadWaiter:
    """One wait of the thread that makes it. `wake` may be called from any thread, any number of times."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # The system's, whatever `gevent.monkey` has made of `threading.Lock`: a thread without a hub waits.
        # But eventlet's threads, which are fibers, have no hub that is known here, and locks of their own.
        self._lock = threading.Lock() if is_patched_by_eventlet("thread") else brief_lock()
        self._lock.acquire()

    def sleep(self, timeout: float | None) -> None:
        seconds = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        self._lock.acquire(timeout=seconds)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # released before
            self._lock.release()


class _FiberWaiter:
    """One wait of the fiber that makes it, as `_ThreadWaiter`."""

    __slots__ = ("_fiber", "_hub")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._fiber: Any = None

    def sleep(self, timeout: float | None) -> None:
        # A timer in any case: gevent takes a loop in which nothing is active for a deadlock (`LoopExit`), but
        # another thread may yet wake this fiber.
        timer = self._hub.loop.timer(_NEVER if timeout is None else min(max(timeout, 0), _NEVER))
        self._fiber = current_thread_or_fiber()
        try:
            timer.start(self._resume)
            self._hub.switch()
        finally:
            # A wake-up may still be due. It is not for what the fiber waits for next.
            self._fiber = None
            timer.close()

    def wake(self) -> None:
        # By way of the hub: it runs only when the fiber waits, so that no wake-up comes too early.
        call_in_hub(self._hub, self._resume)

    def _resume(self) -> None:
        fiber, self._fiber = self._fiber, None
        if fiber is not None:
            fiber.switch()


def _new_waiter() -> "_Waiter":
    hub = hub_of_fiber()
    return _ThreadWaiter() if hub is None else _FiberWaiter(hub)


if TYPE_CHECKING:
    _Waiter = _ThreadWaiter | _FiberWaiter


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
        caller = current_thread_or_fiber()
        # Read without the lock: only the caller itself could have made itself the owner.
        if self._owner is not caller:
            acquire(self._lock)
            self._owner = caller
        self._depth += 1

    def __exit__(self, *exception: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            self._lock.release()


def holding(
    lock: "threading.RLock",
    act: Callable[Parameters, Result],
    /,
    *arguments: Parameters.args,
    **keywords: Parameters.kwargs,
) -> Result:
    """Call a function with a lock of `brief_rlock` held, and free again whatever a signal raises.

    `with` may leave it taken for ever: in Python 3.14 an exception such as KeyboardInterrupt may come just
    after it was taken (https://github.com/python/cpython/issues/148874).
    """
    try:
        # Within the `try`, for the exception may come at once. Whether it was taken then, only a reentrant
        # lock can tell.
        lock.acquire()
        result = act(*arguments, **keywords)
    except BaseException:
        release_if_held(lock)
        raise
    lock.release()
    return result


def release_if_held(lock: "threading.RLock") -> None:
    """Release a lock, if the calling thread has it."""
    with contextlib.suppress(RuntimeError):
        lock.release()


def is_held_here(lock: "threading.RLock") -> bool:
    """Tell whether the calling thread has a lock."""
    held: bool = lock._is_owned()  # type: ignore[attr-defined]  # as `threading.Condition` asks it
    return held


def acquire(lock: "threading.Lock") -> None:
    """Acquire a lock. A fiber that has to wait for it lets the other fibers of its thread run."""
    if hub_of_fiber() is None:
        lock.acquire()
        return
    # A lock wakes threads alone.
    try_until(lambda: lock.acquire(blocking=False))


def try_until(
    attempt: Callable[[], object], deadline: float = math.inf, longest_pause: float = LONGEST_PAUSE
) -> bool:
    """Try in a fiber until it succeeds, ever more seldom; the others of its thread run in between.

    Return False when `deadline`, by `time.monotonic`, was over first.
    """
    gevent: Any = sys.modules["gevent"]
    pause = FIRST_PAUSE
    while not attempt():
        if time.monotonic() >= deadline:
            return False
        gevent.sleep(pause)
        pause = min(2 * pause, longest_pause)
    return True


def is_file_lock_taken(take: Callable[[], object]) -> bool:
    """Take a lock of a file, by a call that does not wait for it; return False while it is another's."""
    try:
        take()
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:  # either, says fcntl(2)
            raise
        return False
    return True
