"""The mix-ins: each does nothing but choose an engine, and hold its settings."""

from typing import TYPE_CHECKING, Any

from manyhands.config.class_attributes import has_options
from manyhands.engines.threads import Threads
from manyhands.serving.core import OwnCore
from manyhands.serving.request_hooks import process_request_thread as serve_in_worker

if TYPE_CHECKING:
    from manyhands.config.keywords import (
        FiberMixInOptions,
        ForkingMixInOptions,
        ThreadingMixInOptions,
    )
    from manyhands.dropin.base import Request
else:
    # What editors and type checkers know of the options, which the decorator sets.
    ThreadingMixInOptions = ForkingMixInOptions = FiberMixInOptions = object


class NoThreads:
    """Stands for the set of threads where `server_close` does not wait for them."""

    def append(self, thread: Any) -> None:
        """Keep nothing."""

    def join(self) -> None:
        """Wait for nothing."""

    def __len__(self) -> int:
        return 0


@has_options
class ThreadingMixIn(ThreadingMixInOptions):
    """Serves each connection in a thread of its own.

    Put it first: ``class Server(ThreadingMixIn, TCPServer)``.
    """

    _threads: Any = NoThreads()
    _engine_choice = "threads"
    _server_core = OwnCore()

    process_request_thread = serve_in_worker

    def process_request(self, request: "Request", client_address: Any) -> None:
        """Serve the request in a new thread.

        Raises
        ------
        RuntimeError
            When no thread can be had.
        """
        if self.block_on_close and "_threads" not in vars(self):
            # One step: of two threads that come first, both get the same books.
            vars(self).setdefault("_threads", Threads())
        self._server_core.start(self, "threads", request, client_address)

    def server_close(self) -> None:
        """Close the server, then wait for its threads."""
        super().server_close()  # type: ignore[misc]  # the server class that the mix-in stands before
        self._threads.join()


@has_options
class ForkingMixIn(ForkingMixInOptions):
    """Serves each connection in a forked process of its own.

    Put it first: ``class Server(ForkingMixIn, TCPServer)``.
    """

    timeout: float | None = 300
    active_children: set[int] | None = None
    """The process ids of the children under way; None before the first."""

    _engine_choice = "processes"
    _server_core = OwnCore()

    def process_request(self, request: "Request", client_address: Any) -> None:
        """Serve the request in a new process, and close this process's copy of it.

        Raises
        ------
        OSError
            When no process can be had.
        """
        self.active_children = self._server_core.processes.pids
        self._server_core.start(self, "processes", request, client_address)

    def collect_children(self, *, blocking: bool = False) -> None:
        """Take the exit status of our own children that have ended; when `blocking`, of all of them."""
        if self.active_children is None:
            return
        if blocking:
            self._server_core.processes.join()
        else:
            self._server_core.processes.reap()

    def handle_timeout(self) -> None:
        """Collect children when `handle_request` waited in vain."""
        self.collect_children()

    def service_actions(self) -> None:
        """Collect children while serving."""
        self.collect_children()

    def server_close(self) -> None:
        """Close the server, then wait for its children."""
        super().server_close()  # type: ignore[misc]  # the server class that the mix-in stands before
        self.collect_children(blocking=self.block_on_close)


@has_options
class FiberMixIn(FiberMixInOptions):
    """Serves each connection in a fiber of its own: thousands of them in one thread.

    Put it first: ``class Server(FiberMixIn, TCPServer)``.

    Raises
    ------
    MissingExtra
        When gevent is not installed (the extra ``fibers``).

    Notes
    -----
    The hooks run in the thread of the fibers, which the engine makes. What waits in a handler lets other
    fibers run: the connection does, and in a program under `gevent.monkey` all else. For what does not,
    there is `manyhands.blocking`. A lock of `threading` that a handler holds while it waits stops all fibers,
    for good, as soon as another one wants it: `gevent.lock.RLock` does not.
    """

    _engine_choice = "fibers"
    _server_core = OwnCore()

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        # To say what is missing before an address is bound.
        self._server_core.engine_of(self, "fibers")
        super().__init__(*arguments, **keywords)

    # Named as with threads. The function itself, for each frame less is memory less for each fiber.
    process_request_thread = serve_in_worker

    def process_request(self, request: "Request", client_address: Any) -> None:
        """Serve the request in a new fiber."""
        self._server_core.start(self, "fibers", request, client_address)

    def server_close(self) -> None:
        """Close the server, then wait for its fibers."""
        super().server_close()  # type: ignore[misc]  # the server class that the mix-in stands before
        if self.block_on_close:
            self._server_core.engine_of(self, "fibers").join_workers()
