"""What every engine can do, and what it asks of the tasks that it carries."""

import abc
import selectors
import threading
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, ClassVar, Protocol

from manyhands.runtime.caller import current_task
from manyhands.runtime.fork_hooks import renew_in_copies


class Task(Protocol):
    """One connection's work, as an engine sees it."""

    client_address: Any
    """The address of the client that it serves."""

    @property
    def handler(self) -> str:
        """The name of the handler, for people."""

    def process_request_thread(self) -> bool:
        """Serve the connection to its end, in the worker; return True when the handler returned normally.

        (The name is the step of the hook chain that this is; `threading` names the thread for it.)
        """

    def copy_to_keep(self) -> "Closeable | None":
        """Return what this process keeps of the connection while another process serves it, if anything.

        Raises
        ------
        OSError
            When there is no descriptor for it.
        """

    def hand_over(self, kept: Any) -> None:
        """Drop what this process has of the connection, but for what it keeps: another one serves it now."""

    def cut_off(self) -> None:
        """End the connection under its handler. Thread-safe; never blocks."""

    @property
    def is_to_be_opened(self) -> bool:
        """Whether something is due before its handler, of which a worker process tells by `tell_step`."""

    def note_step(self, number: int) -> None:
        """Note, in the original process, a step that a worker process takes; 0: its first one."""

    def word_for_parent(self) -> int:
        """Return, in a worker process at its end, a number from 1 that says what came of the task."""

    def worker_ended(self, status: int, word: int) -> None:
        """Note, in the original process, that a worker process has ended.

        Parameters
        ----------
        status
            Its exit status, or the negative number of a signal: the program's, since a handler may end its
            process, or have it become another program.
        word
            Its `word_for_parent`; 0 where it did not come to that.
        """


class Closeable(Protocol):
    """What can be given back."""

    def close(self) -> None:
        """Give it back."""


def _nothing() -> None:
    pass


class Engine(abc.ABC):
    """Carries each task in a worker: the caller itself, a thread, a process or a fiber.

    A server calls the methods in this order:

    1. It sets the attributes below, whenever its options change.
    2. `run` runs the accept loop. The loop waits with `selector`, and polls `fileno` beside its listeners.
    3. For each connection: `has_room` (else the listener rests until `on_room` is called), `accept`, then
       `start`. The task calls `adopt`, and `tls_wrapper` for TLS, in its worker.
    4. After each turn of the loop: `reap`.
    5. At any time, for those that look on: `running`, `tasks`, `frames`, `processes`, `hub_delay`,
       `hub_lateness`.
    6. At the end: `join` with the drain's timeout; then `ask_to_end`, `end`, `cut_off` and `abandon` for
       the tasks that are left; at last `join_workers` and `release`.

    Thread-safe: programs start tasks from threads of their own, and close a server while it serves.

    An engine belongs to the process that made it or was forked with it. In a copy of that process it has no
    tasks (`forget`): those under way are the original's, and go on there.
    """

    name: ClassVar[str]

    knows_its_callers: ClassVar[bool] = False
    """Whether the engine sees to it that `runtime.caller.current_task` knows its tasks; else they do."""

    at_once: ClassVar[int] = 1
    """How many connections to hand over before anything else is done: more, where each costs little."""

    wraps_sockets: ClassVar[bool] = False
    """Whether `accept` and `adopt` make sockets of the engine's own; else nothing is lost without them."""

    limit: int | None
    """How many tasks may run at once; None: no bound. May be changed at any time."""

    daemon: bool
    """Whether the interpreter's exit ends workers in this process instead of waiting for them."""

    hub_block_time: float | None
    """Seconds that one fiber may hold up all others before an event says so; None: for ever."""

    attributes: object
    """The server's attributes that the settings above were read from; the server compares them."""

    on_room: Callable[[], None]
    """Called, from any thread, when a task ended while the engine was full."""

    on_child: Callable[[], None]
    """Called first in each process that the engine makes."""

    on_orphan: "Callable[[Task], object] | None"
    """Called with its task in each process that the engine has made, in a thread of its own, when that has
    become an orphan; None: it goes on as it will."""

    def __init__(self) -> None:
        self.limit = None
        self.daemon = False
        self.hub_block_time = None
        self.attributes = None
        self.on_room = _nothing
        self.on_child = _nothing
        self.on_orphan = None
        renew_in_copies(self, type(self).forget)

    @abc.abstractmethod
    def start(self, task: Task) -> None:
        """Carry `task`. Waits for room first, when the engine is full.

        Raises
        ------
        OSError or RuntimeError
            When no thread or process could be had. The task was not touched.
        """

    def let_begin(self) -> None:  # noqa: B027 - most workers have begun when `start` returns
        """Wait until the latest task has begun, where `start` does not wait for that."""

    def run(self, loop: Callable[[], None], stop: Callable[[], None]) -> None:  # noqa: ARG002 - for engines that need it
        """Run an accept loop to its end, where this engine wants it to run: here, in the caller.

        Parameters
        ----------
        loop
            The loop. What it raises is raised.
        stop
            Ends the loop, from any thread: for an engine whose caller may be interrupted meanwhile.
        """
        loop()

    def selector(self) -> selectors.BaseSelector | None:
        """Return what the accept loop has to wait with, where any other wait would hold up the tasks."""
        return None

    def accept(self, listener: Any) -> tuple[Any, Any]:
        """Accept a connection; return it, for workers where that can be done at once, and its address."""
        connection: tuple[Any, Any] = listener.accept()
        return connection

    def adopt(self, request: Any) -> Any:
        """Return a request in the form that this engine's workers need. For its task, in the worker."""
        return request

    def tls_wrapper(self) -> Callable[..., Any] | None:
        """Return what makes TLS connections for the workers, where the standard library's will not do.

        It is called like `ssl.SSLContext.wrap_socket`, with the context first.
        """
        return None

    def release(self) -> None:  # noqa: B027 - most engines have nothing
        """Give back what belongs to listeners that have been closed."""

    @property
    @abc.abstractmethod
    def tasks(self) -> Collection[Task]:
        """The tasks under way, a copy."""

    def frames(self, tasks: Collection[Task]) -> dict[Task, FrameType]:  # noqa: ARG002 - none known here
        """Return where tasks under way stand: the frames on top, as far as this process can tell."""
        return {}

    def stacks_elsewhere(
        self,
        tasks: Collection[Task],  # noqa: ARG002 - for the engine of other processes
        seconds: float,  # noqa: ARG002 - as the one before
    ) -> dict[Task, list[str]]:
        """Return where tasks stand that other processes serve, as far as these tell in so many seconds.

        The calls within the task, the innermost last, as ``FILE:LINE in FUNCTION``. For one thread at a time.
        """
        return {}

    def has_taken(self, task: Task) -> bool:  # noqa: ARG002 - for the engine of other processes
        """Tell whether another process serves `task`, or has served it: here the task tells nothing of it."""
        return False

    def processes(self) -> dict[Task, int]:
        """Return the process ids of the tasks that are under way in other processes."""
        return {}

    def hub_delay(self, at_most: float) -> float | None:  # noqa: ARG002 - for the engine that has a hub
        """Measure how long a fiber that could go on has to wait for its turn.

        Parameters
        ----------
        at_most
            Seconds to wait for the answer; what takes longer counts as that.

        Returns
        -------
        float or None
            Seconds; None where the engine has no hub, or not yet, and in the hub's own thread.
        """
        return None

    def hub_lateness(self) -> float | None:
        """Return how late the hub was lately, without waiting for it, and have it looked at again.

        Returns
        -------
        float or None
            Seconds: those that it took at the last look or, where they are more, those for which it has not
            answered the look that is under way. None as of `hub_delay`, and before the first answer.
        """
        return None

    def tell_step(self, number: int) -> None:  # noqa: B027 - most workers share the task with the server
        """Have the original process know, in a worker process, a step of its task: see `Task.note_step`."""

    def beside(self, function: Callable[[], object]) -> None:
        """Call a function, which may wait and must not raise, beside the tasks: as a worker of their kind.

        Nothing waits for its end, the exit of the interpreter neither.

        Raises
        ------
        RuntimeError
            When no thread can be had.
        """
        threading.Thread(target=function, daemon=True).start()

    def between_calls(self, task: Task, function: Callable[[], object]) -> bool:
        """Have a function called while the worker of `task` is in no call on its connection, soon or at once.

        Returns
        -------
        bool
            False where it cannot be: the worker may be in one now, and this is another thread.
        """
        if current_task() is not task:
            return False
        function()
        return True

    @abc.abstractmethod
    def running(self) -> int:
        """Return how many tasks are under way."""

    def has_room(self) -> bool:
        """Tell whether `start` would begin at once. Without a `limit` it always would."""
        return self.limit is None or self.running() < self.limit

    @property
    def is_full_for_long(self) -> bool:
        """Whether it is worth telling that there is no room."""
        return True

    @abc.abstractmethod
    def reap(self) -> None:
        """Clear away workers that have ended. Costs nothing when none has."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when a worker has ended, or -1 when there is none."""
        return -1

    @abc.abstractmethod
    def join(self, timeout: float | None = None) -> bool:
        """Wait until no task is under way, at most `timeout` seconds; return whether that came to be.

        Called in a task of this engine, it does not wait for that one: it would for ever.
        """

    def join_workers(self) -> None:
        """Wait for what the end of a server waits for: every task, unless the engine says otherwise."""
        self.join()

    @abc.abstractmethod
    def forget(self) -> None:
        """Begin anew, in a forked copy of the process: without tasks, and with free locks.

        What is shared with the original is left as it is.
        """

    def end(self, task: Task) -> None:
        """End one task, without waiting for it."""
        task.cut_off()

    def ask_to_end(self, task: Task) -> None:
        """End one task as its worker will, which may take its time; do not wait for it."""
        self.end(task)

    def abandon(self, task: Task) -> None:  # noqa: B027 - for engines whose workers can be done without
        """Give up on a task that does not come to its end, and carry on as if it had. Never blocks.

        Its worker is ended where that can be done by force, which is with processes, and lingers elsewhere.
        """

    def cut_off(self) -> None:
        """End every task under way, without waiting for it."""
        for task in self.tasks:
            self.end(task)
