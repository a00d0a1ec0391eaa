"""The sequential engine: one conversation after the other, in the accept loop itself."""

import threading

from .engine import Engine, Task


class SequentialEngine(Engine):
    """Serves each connection in the thread that accepted it; the next one waits in the backlog."""

    name = "sequential"

    def __init__(self) -> None:
        super().__init__()
        self._task: Task | None = None
        self._idle = threading.Event()
        self._idle.set()

    def start(self, task: Task) -> None:
        """Serve `task` to its end."""
        self._task = task
        self._idle.clear()
        try:
            task.process_request_thread()
        finally:
            self._task = None
            self._idle.set()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The task under way, if any."""
        task = self._task
        return () if task is None else (task,)

    def running(self) -> int:
        """Return 1 while a connection is being served."""
        return len(self.tasks)

    def reap(self) -> None:
        """Do nothing: there are no workers."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait, in another thread than the one that serves, until no connection is being served."""
        return self._idle.wait(timeout)
