"""The sequential engine: one connection after the other, in the accept loop itself."""

import sys
import threading
from types import FrameType

from manyhands.engines.engine import Engine, Task
from manyhands.runtime.unpatched import brief_rlock


class SequentialEngine(Engine):
    """Serves each connection in the thread that accepted it; the next one waits in the backlog."""

    name = "sequential"

    def __init__(self) -> None:
        super().__init__()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        # Several threads may serve at once: a program may call `handle_request` in each.
        self._threads: dict[Task, int] = {}
        self._changed = threading.Condition(brief_rlock())
        self._joining = 0
        """How many threads wait for an end. Few ever do, and each request would pay for the lock."""

    def start(self, task: Task) -> None:
        """Serve `task` to its end."""
        self._threads[task] = threading.get_ident()
        try:
            task.process_request_thread()
        finally:
            self.abandon(task)

    def abandon(self, task: Task) -> None:
        """Count a task no longer; its thread can accept again when it has come to its end."""
        # A copy of this process that was forked meanwhile has forgotten it.
        self._threads.pop(task, None)
        # After the task has gone: a thread that waits was counted before it looked, or finds the task gone.
        if self._joining:
            with self._changed:
                self._changed.notify_all()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks under way: one for each thread that serves, so one, or none."""
        return tuple(self._threads.copy())

    def frames(self) -> dict[Task, FrameType]:
        """Return the frame on top of each thread that serves."""
        now = sys._current_frames()
        return {task: now[thread] for task, thread in self._threads.copy().items() if thread in now}

    def running(self) -> int:
        """Return how many connections are being served."""
        return len(self._threads)

    def reap(self) -> None:
        """Do nothing: there are no workers."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait, in another thread than the one that serves, until no connection is being served."""
        here = threading.get_ident()
        with self._changed:
            self._joining += 1
            try:
                return self._changed.wait_for(
                    lambda: all(thread == here for thread in self._threads.copy().values()), timeout
                )
            finally:
                self._joining -= 1

    def join_workers(self) -> None:
        """Do nothing: a sequential server's handler may well run in the caller, further up."""
