"""A program under `manyhands run --workers`: its servers are bound above, and served by workers.

In the process of the template `server_bind` asks the supervisor, which binds each address once, for all
workers and generations. The first `serve_forever`, or `handle_request`, makes the process the template; what
returns from there is a worker, in which each listening socket is a dealt one.
"""

import os
import socket
from functools import wraps
from typing import Any

from manyhands import socketserver
from manyhands.connections.tls_handshake import is_tls
from manyhands.launcher.bound_above import BoundAbove
from manyhands.launcher.program_worker import ProgramWorker
from manyhands.launcher.stop_signal import StopSignal
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import original
from manyhands.serving.controls import name_of_handler
from manyhands.workers.role import note_template_of_program, template_of_program


def take_part() -> None:
    """Have the servers of this process be those of a supervisor, if it is to be a template."""
    template = template_of_program()
    if template is None:
        return
    servers = _Servers(template)
    serve = socketserver.BaseServer.serve_forever
    handle_request = socketserver.BaseServer.handle_request

    @wraps(serve)
    def serve_forever(self: Any, poll_interval: float | None = 0.5) -> None:
        worker = servers.worker_for(self, is_served_by_loop=True)
        serve(self, poll_interval)
        if worker is not None:
            worker.note_return()

    @wraps(handle_request)
    def handle_one(self: Any) -> Any:
        worker = servers.worker_for(self, is_served_by_loop=False)
        return handle_request(self) if worker is None else worker.handle(self, handle_request)

    socketserver.BaseServer.serve_forever = serve_forever  # type: ignore[method-assign]
    socketserver.BaseServer.handle_request = handle_one  # type: ignore[method-assign]


class _Servers:
    """The servers of a program, as far as its supervisor has bound them."""

    def __init__(self, template: Any) -> None:
        self._template = template
        self._bound = BoundAbove(template)
        self._bound.take_part()
        self._worker: ProgramWorker | None = None
        self._process = os.getpid()
        self._claims: dict[str, object] = {}
        self._is_worker = Latch()
        self._stop_signal = StopSignal()

    def worker_for(self, server: Any, *, is_served_by_loop: bool) -> ProgramWorker | None:
        """Be the template, the first time; return in each worker what it is.

        None of a copy of the process that the program has forked.
        """
        if os.getpid() != self._process and self._worker is None:
            return None
        claim = object()
        # One step: of two threads that serve, the first one is the template, and the other one waits.
        if self._claims.setdefault("", claim) is claim:
            self._check_sockets()
            handler = name_of_handler(getattr(server, "RequestHandlerClass", None))
            self._stop_signal.is_held_back = True
            share = self._template.serve({"handler": handler})
            note_template_of_program(None)
            self._process = os.getpid()
            self._bound.may_ask = False
            self._worker = ProgramWorker(
                share,
                self._bound.servers,
                server,
                self._stop_signal,
                is_served_by_loop=is_served_by_loop,
            )
            self._is_worker.set()
        self._is_worker.wait()
        assert self._worker is not None  # noqa: S101 - tells the type checker
        worker = self._worker if os.getpid() == self._process else None
        if worker is not None:
            worker.note_serving_thread()
        return worker

    def _check_sockets(self) -> None:
        """End this template where workers could not serve one of its sockets, and tell why."""
        for server in self._bound.servers.values():
            known = (original(socket, "socket"), socket.socket)
            if not (is_tls(server.socket) or isinstance(server.socket, known)):
                kind = type(server.socket)
                self._template.refuse(
                    f"the listening socket of {type(server).__name__} is a {kind.__module__}."
                    f"{kind.__qualname__}, which workers cannot share: wrap it with "
                    "ssl.SSLContext.wrap_socket"
                )
