"""One connection on its way through an engine: the task that servers hand to engines."""

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

from manyhands.connections import handshake
from manyhands.engines import Engine
from manyhands.engines.hub import carried_task, task_in_hand, under_way

_numbers = itertools.count(1)

Serve = Callable[[Any, Any], bool | None]
"""Serves a request of an address to its end; False when its handler failed."""


class Conversation:
    """A request, its client's address, and the server whose hooks serve it."""

    __slots__ = (
        "_engine",
        "_request",
        "_serve",
        "client_address",
        "number",
        "opened_at",
        "server",
    )

    def __init__(
        self, server: Any, request: Any, client_address: Any, serve: Serve, engine: Engine
    ) -> None:
        self.number = next(_numbers)
        """Counts the conversations of this process, from 1."""

        self.opened_at = time.monotonic()
        self.server = server
        self.client_address = client_address
        self._request = request
        self._serve = serve
        self._engine = engine

    @property
    def handler(self) -> str:
        """The name of the handler class, or of whatever the server has in its place."""
        handler = getattr(self.server, "RequestHandlerClass", None)
        return getattr(handler, "__qualname__", None) or repr(handler)

    def process_request_thread(self) -> bool:
        """Serve the connection, in whatever worker calls this; return True when its handler returned.

        What the server's hooks raise is raised.
        """
        # A fiber knows its task by itself, and a context for each would be felt.
        before = None if carried_task() is self else under_way.set(self)
        try:
            self._adopt()
            request = self._request
            if isinstance(request, handshake.Unshaken) and not handshake.complete(request):
                self.server.shutdown_request(self._request)
                return False
            return self._serve(request, self.client_address) is not False
        finally:
            if before is not None:
                under_way.reset(before)

    def _adopt(self) -> None:
        """Take the connection in the form that the engine's workers need."""
        request = self._request
        if isinstance(request, handshake.Unshaken):
            request = handshake.moved(request, self._engine.tls_wrapper())
        self._request = self._engine.adopt(request)

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
    """Return the conversation that the calling thread, or fiber, serves, if any."""
    conversation: Conversation | None = task_in_hand()
    return conversation


def as_part_of(
    conversation: Conversation | None, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Call a function in another thread as part of a conversation; return what it returns."""
    under_way.set(conversation)
    return function(*args, **kwargs)
