"""The thread of one conversation, which costs the same to start and to end among thousands."""

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine import Task
    from .threads import ThreadsEngine

if TYPE_CHECKING or sys.version_info >= (3, 13):
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
    """The thread of one conversation: fresh, and named as `threading` names them, so uniquely."""

    def __init__(self, engine: "ThreadsEngine", task: "Task") -> None:
        super().__init__(target=task.process_request_thread, daemon=engine.daemon)
        self._engine = engine
        self._task = task

    def run(self) -> None:
        """Serve the connection, then report to the engine, whatever came of it."""
        try:
            super().run()
        finally:
            self._engine.ended(self, self._task)
