"""The thread of one conversation, which costs the same to start and to end among thousands."""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .engine import Task
from .hub import has_threads_of_gevent

# Fibers in the place of threads end without the interpreter's help, on which `_stop` below relies.
if TYPE_CHECKING or sys.version_info >= (3, 13) or has_threads_of_gevent():
    _Thread = threading.Thread
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

    @property
    def has_begun(self) -> bool:
        """Whether `start` came so far that the thread can be waited for."""
        has_begun: bool = self._started.is_set()  # type: ignore[attr-defined]  # what `join` asks
        return has_begun

    def run(self) -> None:
        """Serve the connection, then say so, whatever came of it."""
        try:
            super().run()
        finally:
            # The thread object may outlive the conversation; the connection must not.
            task = self.task
            del self.task
            self._ended(self, task)
