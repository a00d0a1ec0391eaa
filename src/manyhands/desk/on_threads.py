"""How a thread waits: alone."""

import contextlib
import select
import socket
import threading
from collections.abc import Callable

from manyhands.desk.bell import Bell


class Sleeper:
    """A thread that sleeps until somebody wakes it, as `waiting.Sleeper` has it."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def sleep(self, seconds: float | None) -> None:
        """Sleep until `wake`, at most for so long."""
        self._lock.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """End the sleep."""
        self._lock.release()


class Watch:
    """Waits for a connection in poll(2), as `waiting.Watch` has it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._bell: Bell | None = Bell()

    def receive(self, size: int, seconds: float | None = None) -> bytes | None:
        """Receive; None when `seconds` were over first, or somebody nudged."""
        self._poll(select.POLLIN, seconds)
        with contextlib.suppress(BlockingIOError):
            return self._connection.recv(size, socket.MSG_DONTWAIT)
        return None

    def wait_to_write(self) -> None:
        """Wait until the peer reads, or is gone."""
        poll = select.poll()
        poll.register(self._connection, select.POLLOUT)
        poll.poll()

    def wait_for_hang_up(self, seconds: float | None = None) -> bool:
        """Wait until the connection is over in both directions, or a nudge."""
        return self._poll(0, seconds)  # a hang-up and an error are always reported (poll(2))

    def _poll(self, events: int, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._connection, events)
        if self._bell is not None:
            poll.register(self._bell, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))

    def nudge(self) -> None:
        """End the wait that goes on, and all that follow."""
        if self._bell is not None:
            self._bell.ring()

    def mute(self) -> None:
        """Take no nudges from now on, and forget those that came."""
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.close()

    def beside(self, function: Callable[[], object]) -> None:
        """Have `function` run in a thread of its own."""
        threading.Thread(target=function, name="manyhands-writer", daemon=True).start()
