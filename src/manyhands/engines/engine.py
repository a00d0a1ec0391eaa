"""The interface of all engines, and of what they carry."""

import abc
from collections.abc import Callable, Collection
from typing import ClassVar, Protocol


class Task(Protocol):
    """One connection's work, as an engine sees it."""

    def process_request_thread(self) -> bool:
        """Serve the connection to its end, in the worker; return True when the handler returned normally.

        (The name is the step of the hook chain that this is; `threading` names the thread for it.)
        """

    def hand_over(self) -> None:
        """Drop this process's copy of the connection: another process serves it now."""

    def cut_off(self) -> None:
        """End the connection under its handler. Thread-safe; never blocks."""


def _nothing() -> None:
    pass


class Engine(abc.ABC):
    """Carries each task in a worker: the caller itself, a thread, or a process.

    An engine belongs to the accept loop of one process; `start`, `reap` and `join` are called from it.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.limit: int | None = None
        """How many tasks may run at once; None: no bound. May be changed at any time."""

        self.on_room: Callable[[], None] = _nothing
        """Called, from any thread, when a task ended while the engine was full."""

        self.on_child: Callable[[], None] = _nothing
        """Called first in each process that the engine makes."""

    @abc.abstractmethod
    def start(self, task: Task) -> None:
        """Carry `task`. Waits for room first, when the engine is full.

        Raises
        ------
        OSError or RuntimeError
            When no thread or process could be had. The task was not touched.
        """

    @property
    @abc.abstractmethod
    def tasks(self) -> Collection[Task]:
        """The tasks under way, a copy."""

    @abc.abstractmethod
    def running(self) -> int:
        """Return how many tasks are under way."""

    def has_room(self) -> bool:
        """Tell whether `start` would begin at once."""
        return self.limit is None or self.running() < self.limit

    @abc.abstractmethod
    def reap(self) -> None:
        """Clear away workers that have ended. Costs nothing when none has."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when a worker has ended, or -1 when there is none."""
        return -1

    @abc.abstractmethod
    def join(self, timeout: float | None = None) -> bool:
        """Wait until no task is under way, at most `timeout` seconds; return whether that came to be."""

    def cut_off(self) -> None:
        """End every task under way, without waiting for it."""
        for task in self.tasks:
            task.cut_off()
