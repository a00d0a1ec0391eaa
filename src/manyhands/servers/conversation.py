"""One connection on its way through an engine: the task that servers hand to engines."""

import itertools
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from manyhands.connections import handshake
from manyhands.rules import events

from .settings import setting

_numbers = itertools.count(1)
_of_this_thread = threading.local()

Serve = Callable[[Any, Any], bool | None]
"""Serves a request of an address to its end; False when its handler failed."""


class Conversation:
    """A request, its client's address, and the server whose hooks serve it."""

    __slots__ = ("_request", "_serve", "client_address", "number", "opened_at", "server")

    def __init__(self, server: Any, request: Any, client_address: Any, serve: Serve) -> None:
        self.number = next(_numbers)
        """Counts the conversations of this process, from 1."""

        self.opened_at = time.monotonic()
        self.server = server
        self.client_address = client_address
        self._request = request
        self._serve = serve

    def process_request_thread(self) -> bool:
        """Serve the connection, in whatever worker calls this; return True when its handler returned.

        What the server's hooks raise is raised.
        """
        _of_this_thread.conversation = self
        try:
            if not self._handshake_is_done():
                self.server.shutdown_request(self._request)
                return False
            return self._serve(self._request, self.client_address) is not False
        finally:
            _of_this_thread.conversation = None

    def _handshake_is_done(self) -> bool:
        if not handshake.is_due(self._request):
            return True
        try:
            handshake.finish(self._request, setting("handshake_timeout", self.server))
        except OSError as error:
            events.hub.emit(events.HandshakeFailed(self.client_address, str(error)))
            return False
        return True

    def hand_over(self) -> None:
        """Close this process's copy of the connection."""
        self.server.close_request(self._request)

    def cut_off(self) -> None:
        """Shut the connection down, so that whatever its handler waits for there ends."""
        try:
            self._request.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            # Closed meanwhile, or a datagram's pair, which has nothing to shut down.
            return


def current() -> Conversation | None:
    """Return the conversation that the calling thread serves, if any."""
    return getattr(_of_this_thread, "conversation", None)
