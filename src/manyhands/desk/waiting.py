"""Waiting that holds up nobody else, wherever it is done: a thread waits alone, and so does a fiber.

Both have one form here, chosen by who waits. What is waited for may come from any thread or fiber.
"""

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from manyhands.desk import on_threads
from manyhands.runtime.caller import hub_of_fiber


class Sleeper(Protocol):
    """Somebody who is about to sleep, once."""

    def sleep(self, seconds: float | None) -> None:
        """Sleep until `wake`, at most for so long. For the one who made the sleeper."""

    def wake(self) -> None:
        """End the sleep, or have it not begin. Once, from any thread."""


class Watch(Protocol):
    """Who waits for a connection, and can be told to look up."""

    def receive(self, size: int, seconds: float | None = None) -> bytes | None:
        """Receive up to `size` bytes; None when `seconds` were over first, or somebody nudged.

        Raises
        ------
        OSError
            The connection is lost.
        """

    def wait_to_write(self) -> None:
        """Wait until the peer reads, or is gone. Beside another wait, in what `beside` started."""

    def wait_for_hang_up(self, seconds: float | None = None) -> bool:
        """Wait until the connection is over in both directions, or a nudge; tell whether either came."""

    def nudge(self) -> None:
        """End the wait that goes on, and all that follow. Under one lock with `mute`, from any thread."""

    def mute(self) -> None:
        """Take no nudges from now on, and forget those that came. Once more does no harm."""

    def beside(self, function: Callable[[], object]) -> None:
        """Have `function` run beside the one who waits, where its waits hold up nobody. From any thread.

        Raises
        ------
        RuntimeError
            No thread can be had.
        """


def watching(connection: socket.socket) -> Watch:
    """Return what the calling thread, or fiber, waits with for its connection.

    Raises
    ------
    OSError
        When no descriptor can be had. (A thread needs one, a fiber none.)
    """
    hub = hub_of_fiber()
    if hub is None:
        return on_threads.Watch(connection)
    from manyhands.desk import on_fibers  # noqa: PLC0415 - gevent's, an extra

    return on_fibers.Watch(connection, hub)


def _sleeper() -> Sleeper:
    hub = hub_of_fiber()
    if hub is None:
        return on_threads.Sleeper()
    from manyhands.desk import on_fibers  # noqa: PLC0415 - gevent's, an extra

    return on_fibers.Sleeper(hub)


class Condition:
    """A lock, and waiting for what is guarded by it: `threading.Condition` for fibers too.

    Parameters
    ----------
    lock : threading.Lock, optional
        The lock of several conditions. It is held for moments only: nothing waits under it.

    Notes
    -----
    `wait_for` and `notify_all` are called with the lock held.
    """

    __slots__ = ("_lock", "_sleepers")

    def __init__(self, lock: Any = None) -> None:
        self._lock = threading.Lock() if lock is None else lock
        # None most of the time: there is a condition for each caller.
        self._sleepers: list[Sleeper] | None = None

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def wait_for(self, predicate: Callable[[], object], seconds: float | None = None) -> bool:
        """Wait until `predicate` holds, at most for so long; tell whether it does."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not predicate():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait(left)
        return True

    def _wait(self, seconds: float | None) -> None:
        sleeper = _sleeper()
        self._sleepers = [*(self._sleepers or ()), sleeper]
        self._lock.release()
        try:
            sleeper.sleep(seconds)
        finally:
            self._lock.acquire()
            if self._sleepers is not None:
                self._sleepers = [other for other in self._sleepers if other is not sleeper] or None

    def notify_all(self) -> None:
        """Have everybody who waits look again."""
        sleepers, self._sleepers = self._sleepers, None
        for sleeper in sleepers or ():
            sleeper.wake()
