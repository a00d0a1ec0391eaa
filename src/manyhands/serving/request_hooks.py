"""The end of the hook chain, the same on every server: a worker serves one request."""

from collections.abc import Callable
from operator import methodcaller
from typing import Any

from manyhands.connections.connection import current_connection, is_handshake_failure

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
        if not is_handshake_failure(error):
            self.handle_error(request, client_address)
        return False
    else:
        return True
    finally:
        # Here and not in the engine: programs override the hook, and expect it in the worker.
        self.shutdown_request(request)


def serve_and_raise(server: Any, request: Any, client_address: Any) -> None:
    """Serve a request in the calling thread; what the handler raises is raised."""
    # Not in a `finally`: when the handler raises, `_handle_request_noblock` reports it and then closes.
    server.finish_request(request, client_address)
    server.shutdown_request(request)


def shut_down(server: Any, request: Any, client_address: Any) -> None:
    """Close a request that no handler serves; `handle_error` reports what the hook raises."""
    try:
        server.shutdown_request(request)
    except Exception:  # noqa: BLE001 - a hook's failure must not end the service
        server.handle_error(request, client_address)


class OverflowServer:
    """A server as its overflow handler sees it: the hooks that serve a connection, with another handler."""

    def __init__(self, server: Any, handler: Callable[[Any, Any, Any], Any]) -> None:
        self.handle_error = server.handle_error
        self.shutdown_request = server.shutdown_request
        self._server = server
        self._handler = handler

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection by the overflow handler."""
        self._handler(request, client_address, self._server)
