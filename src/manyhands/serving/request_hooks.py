"""The hooks of a server; and the end of their chain, the same everywhere: a worker serves one request."""

import socket
from collections.abc import Callable
from operator import methodcaller
from typing import Any, Protocol

from manyhands.connections.connection import current_connection
from manyhands.connections.tls_handshake import failed_connection, send_secrets_at_once
from manyhands.runtime.fork_hooks import parent_server


class Listener(Protocol):
    """A server as the accept loop and the core use it: its hooks, each looked up when it is called.

    For type checkers alone: nothing is asked at run time, and a program's class may lack what it never needs.
    A mix-in may stand on a class that is none of ours, so the server that it hands to the core is `Any`. A
    function that only looks for attributes, which may be missing, takes an `object`.
    """

    server_address: Any
    socket: socket.socket
    timeout: float | None
    proxy_trusted: Any

    def fileno(self) -> int:
        """Return the listening socket's descriptor as it is now; it may be replaced at any time."""

    def get_request(self) -> tuple[Any, Any]:
        """Return the next request and its client's address."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Tell whether to serve a request."""

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a request."""

    def shutdown_request(self, request: Any) -> None:
        """End a request, and close it."""

    def service_actions(self) -> None:
        """Do the server's regular work."""

    def handle_timeout(self) -> Any:
        """Do what is due when no client came in time."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception that is being handled."""


handle_request_noblock: Callable[[Any], Any] = methodcaller("_handle_request_noblock")
"""Serves one connection of a server whose socket is known to be readable.

The hook has the standard library's name, and programs override it, so it is looked up on the server each
time.
"""


def process_request_thread(self: Any, request: Any, client_address: Any) -> bool:
    """Serve one request in a worker of its own; `handle_error` reports what its handler raises. A hook.

    `SystemExit` and other exceptions that are no `Exception` are raised.

    Returns
    -------
    bool
        Whether the handler returned.
    """
    try:
        self.finish_request(request, client_address)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is handle_error's
        connection = current_connection()
        if connection is not None:
            connection.note_failure(error)
        # A failed handshake (STARTTLS) has been an event already, and is no failure of the program.
        if failed_connection(error) is None:
            self.handle_error(request, client_address)
        return False
    else:
        return True
    finally:
        # Here and not in the engine: programs override the hook, and expect it in the worker.
        self.shutdown_request(request)


def shut_down(server: Listener, request: Any, client_address: Any) -> None:
    """Close a request that no handler serves; `handle_error` reports what the hook raises."""
    try:
        server.shutdown_request(request)
    except Exception:  # noqa: BLE001 - a hook's failure must not end the service
        server.handle_error(request, client_address)


def refuse_forked_handler(action: str, *servers: object) -> None:
    """Raise `RuntimeError` when the caller is a forked handler of one of these: the deed would be in vain."""
    served = current_connection()
    if parent_server() is not None and served is not None and served.server in servers:
        raise RuntimeError(
            f"a handler in a process of its own cannot {action}, for it has a copy of it"
        )


def refuse_own_handler(*servers: object) -> None:
    """Raise `RuntimeError` when the caller serves a connection of one of these: it would wait for itself."""
    served = current_connection()
    if served is not None and served.server in servers:
        raise RuntimeError(
            "the server is being served: call stop(), or a drop-in's shutdown(), for a handler is one of "
            "those whom the end waits for"
        )


class OverflowServer:
    """A server as its overflow handler sees it: the hooks that serve a connection, with another handler."""

    def __init__(self, server: Listener, handler: Callable[[Any, Any, Any], Any]) -> None:
        self.handle_error = server.handle_error
        self.shutdown_request = server.shutdown_request
        self._server = server
        self._handler = handler

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection by the overflow handler."""
        send_secrets_at_once(request, self._server)
        self._handler(request, client_address, self._server)
