"""The thread of one conversation, which costs the same to start and to end among thousands."""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .engine import Task
from .hub import has_threads_of_gevent

# Fibers in the place of threads have ways of their own to begin and to end.
if not TYPE_CHECKING and has_threads_of_gevent():
    _Thread = threading.Thread
elif TYPE_CHECKING or sys.version_info >= (3, 13):

    class _Thread(threading.Thread):
        """A thread whose starter does not wait until it has begun.

        `threading` has it wait for an `Event`, which costs two switches of threads for each connection.
        What needs a thread that has begun can wait for that itself: `has_begun`. The interpreter knows of the
        thread from the start (since Python 3.13), so that its exit waits for one that has not begun.
        """

        _started: Any

        def start(self) -> None:
            self._started = _Beginning()
            super().start()

else:

    class _Thread(threading.Thread):
        """A thread whose start and end do not look through all the others.

        `threading` keeps the locks that the interpreter's exit has to wait for. Until Python 3.12 it
        looks through all of them at each start and each end of a thread, for locks to forget, which
        with 4,000 threads costs more than the conversation. Here each thread forgets its own.
        """

        def _set_tstate_lock(self) -> None:
            self._tstate_lock = threading._set_sentinel()
            self._tstate_lock.acquire()
            if not self.daemon:
                with threading._shutdown_locks_lock:
                    threading._shutdown_locks.add(self._tstate_lock)

        def _stop(self) -> None:
            lock, self._is_stopped, self._tstate_lock = self._tstate_lock, True, None
            if not self.daemon:
                with threading._shutdown_locks_lock:
                    threading._shutdown_locks.discard(lock)


class _Beginning:
    """Whether a thread has begun, in the place of the `Event` that `threading` keeps for it."""

    __slots__ = ("_is_over", "_lock")

    def __init__(self) -> None:
        self._at_fork_reinit()

    def _at_fork_reinit(self) -> None:
        self._is_over = False
        # Held until then: waiting for it is to take it.
        self._lock = threading.Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        return self._is_over

    def set(self) -> None:
        self._is_over = True
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as `Event` has it
        """Do not wait: only `Thread.start` asks."""
        return self._is_over

    def wait_until_set(self) -> None:
        with self._lock:
            return


class ConnectionThread(_Thread):
    """The thread of one conversation: fresh, and named as `threading` names them, so uniquely.

    Parameters
    ----------
    task
        What to serve.
    ended
        Called at the end with the thread and its task, in the thread itself.
    daemon
        Whether the interpreter's exit kills the thread instead of waiting for it.
    """

    def __init__(
        self,
        task: Task,
        ended: Callable[["ConnectionThread", Task], None],
        *,
        daemon: bool,
    ) -> None:
        super().__init__(target=task.process_request_thread, daemon=daemon)
        self.task = task
        """What the thread serves; gone when it has done so."""

        self._ended = ended
        self._is_certain = False

    def start(self) -> None:
        """Start the thread, and return as soon as it is certain to begin."""
        super().start()
        self._is_certain = True

    def has_begun(self) -> bool:
        """Wait until the thread has begun; return False when it was not started, or could not be.

        Before that it can neither be waited for, nor is it known to be alive.
        """
        beginning: Any = self._started
        if self._is_certain and isinstance(beginning, _Beginning):
            beginning.wait_until_set()
        has_begun: bool = beginning.is_set()
        return has_begun

    def has_ended(self) -> bool:
        """Tell whether the thread has begun, and has come to its end."""
        return self._started.is_set() and not self.is_alive()

    def run(self) -> None:
        """Serve the connection, then say so, whatever came of it."""
        try:
            super().run()
        finally:
            # The thread object may outlive the conversation; the connection must not.
            task = self.task
            del self.task
            self._ended(self, task)
