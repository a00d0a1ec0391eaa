"""The sequential engine: one conversation after the other, in the accept loop itself."""

from .engine import Engine, Task


class SequentialEngine(Engine):
    """Serves each connection in the thread that accepted it; the next one waits in the backlog."""

    name = "sequential"

    def __init__(self) -> None:
        super().__init__()
        self._task: Task | None = None

    def start(self, task: Task) -> None:
        """Serve `task` to its end."""
        self._task = task
        try:
            task.process_request_thread()
        finally:
            self._task = None

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

    def join(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - nothing to wait for
        """Return at once: whoever can call this is not serving."""
        return not self.tasks
