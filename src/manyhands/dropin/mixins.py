"""The mix-ins: each chooses an engine and holds its settings, and does nothing else."""

from typing import TYPE_CHECKING, Any

from manyhands.config.options import has_options
from manyhands.dropin.base import BaseServer
from manyhands.engines.threads import Threads
from manyhands.serving.core import OwnCore, core_of
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
    Request = Any  # as in `dropin.base`


def _is_refused(server: Any, request: Any, client_address: Any) -> bool:
    """Tell whether a datagram is refused that the loop of a class has received which is none of ours.

    Ours asks the limits before, and a connection is asked about wherever it comes from.
    """
    return (
        type(request) is tuple
        and not isinstance(server, BaseServer)
        and core_of(server).refuses_datagram(server, request, client_address)
    )


class NoThreads:
    """Stands in for `Threads` where `server_close` does not wait for threads (`block_on_close = False`)."""

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
            When the system has no thread to give.
        """
        if _is_refused(self, request, client_address):
            return
        if self.block_on_close and "_threads" not in vars(self):
            # `setdefault` is one step: two threads that come first get the same `Threads`.
            vars(self).setdefault("_threads", Threads())
        self._server_core.start(self, "threads", request, client_address)

    def server_close(self) -> None:
        """Close the server, then wait for its threads."""
        # In this order: no new thread begins while the others are waited for.
        super().server_close()  # type: ignore[misc]  # the server class that the mix-in stands before
        self._threads.join()


@has_options
class ForkingMixIn(ForkingMixInOptions):
    """Serves each connection in a forked process of its own.

    Put it first: ``class Server(ForkingMixIn, TCPServer)``.
    """

    timeout: float | None = 300
    active_children: set[int] | None = None
    """The process ids of the children that serve now; None before the first."""

    _engine_choice = "processes"
    _server_core = OwnCore()

    def process_request(self, request: "Request", client_address: Any) -> None:
        """Serve the request in a new process, and close this process's copy of it.

        Raises
        ------
        OSError
            When the system has no process to give (EAGAIN, ENOMEM in fork(2)).
        """
        if _is_refused(self, request, client_address):
            return
        self.active_children = self._server_core.engines.processes.pids
        self._server_core.start(self, "processes", request, client_address)

    def collect_children(self, *, blocking: bool = False) -> None:
        """Take the exit status of our own children that have ended; when `blocking`, wait for all of them.

        A handler of SIGCHLD may call it, not `blocking`: when the handler has returned `active_children` is
        right, and `connections` when the accept loop has made its next turn, for which it is woken.
        """
        if self.active_children is None:
            return
        if blocking:
            self._server_core.engines.processes.join()
        else:
            self._server_core.engines.processes.collect()

    def _tell_of_ends(self) -> None:
        if self.active_children is not None:
            self._server_core.engines.processes.tell_of_ends()

    def handle_timeout(self) -> None:
        """Collect children when no client came within the timeout of `handle_request`."""
        self.collect_children()
        self._tell_of_ends()

    def service_actions(self) -> None:
        """Collect children while serving."""
        self.collect_children()
        # A loop of the program's own has nothing else that does it.
        self._tell_of_ends()

    def server_close(self) -> None:
        """Close the server, then wait for its children."""
        super().server_close()  # type: ignore[misc]  # the server class that the mix-in stands before
        self.collect_children(blocking=self.block_on_close)
        self._tell_of_ends()


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
    The hooks run in the thread of the fibers, which the engine makes. A handler that waits on its connection
    lets other fibers run, and under `gevent.monkey` so does one that waits elsewhere; `manyhands.blocking` is
    for calls that do not. A handler that waits while it holds a lock of `threading` stops all fibers for good
    as soon as a second one wants that lock: `gevent.lock.RLock` does not.
    """

    _engine_choice = "fibers"
    _server_core = OwnCore()

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        # Made here so that a missing gevent is an error before an address is bound.
        self._server_core.engines.of(self, "fibers")
        super().__init__(*arguments, **keywords)

    # The hook has the name that it has with threads. It is the function itself and no method that calls it:
    # one frame less is less memory for each fiber.
    process_request_thread = serve_in_worker

    def process_request(self, request: "Request", client_address: Any) -> None:
        """Serve the request in a new fiber."""
        if _is_refused(self, request, client_address):
            return
        self._server_core.start(self, "fibers", request, client_address)

    def server_close(self) -> None:
        """Close the server, then wait for its fibers."""
        super().server_close()  # type: ignore[misc]  # the server class that the mix-in stands before
        if self.block_on_close:
            self._server_core.engines.of(self, "fibers").join_workers()
