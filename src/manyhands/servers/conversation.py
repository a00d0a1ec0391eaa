"""One connection on its way through an engine: the task that servers hand to engines."""

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from manyhands.connections import handshake
from manyhands.connections.books import Books
from manyhands.connections.connection import Connection
from manyhands.connections.half_close import half_close
from manyhands.engines import Engine
from manyhands.engines.hub import task_in_hand, under_way
from manyhands.rules.idleness import is_idle
from manyhands.rules.reasons import Reason
from manyhands.rules.states import Step

from .farewell import Farewell, said_when_it_rings

Serve = Callable[[Any, Any], bool | None]
"""Serves a request of an address to its end; False when its handler failed."""


TOLD = 64
"""The exit status of a worker process that tells of the first reason; the others follow."""


class Conversation(Connection):
    """A request, its client's address, and the server whose hooks serve it; and its entry in the books."""

    __slots__ = ("_books", "_engine", "_serve", "failed_for", "farewell")

    farewell: Farewell
    """Set while a handler is at work that has a `goodbye`."""

    def __init__(
        self, server: Any, request: Any, client_address: Any, serve: Serve, engine: Engine
    ) -> None:
        super().__init__(server, request, client_address)
        self._serve = serve
        self._engine = engine
        self._books: Books | None = None  # a datagram is in none
        self.failed_for: Reason = Reason.HANDLER_FAILED
        """Why it ended, if its handler fails."""

    @property
    def handler(self) -> str:
        """The name of the handler class, or of whatever the server has in its place."""
        handler = getattr(self.server, "RequestHandlerClass", None)
        if isinstance(handler, partial):
            handler = handler.func
        return getattr(handler, "__qualname__", None) or repr(handler)

    def process_request_thread(self) -> bool:
        """Serve the connection, in whatever worker calls this; return True when its handler returned.

        What the server's hooks raise is raised.
        """
        # A context for each fiber would be felt.
        before = None if self._engine.knows_its_callers else under_way.set(self)
        is_served = False
        try:
            request = self._request
            is_unshaken = isinstance(request, handshake.Unshaken)
            if is_unshaken:
                self.take(Step.HANDSHAKE_IS_DUE)
                request = handshake.moved(request, self._engine.tls_wrapper())
            request = self._request = self._engine.adopt(request)
            if (is_unshaken and not self._shakes_hands()) or not self.take(Step.HANDLER_BEGINS):
                self.server.shutdown_request(request)
                return False
            is_served = self._serve(request, self.client_address) is not False
        except Exception as error:
            self.note_failure(error)
            raise
        else:
            return is_served
        finally:
            self._end(is_served=is_served)
            if before is not None:
                under_way.reset(before)

    def handle(self, handler: Any) -> None:
        """Call `handle` of a handler whose `goodbye` is called if the server drains meanwhile."""
        farewell = self.farewell = Farewell(handler)
        try:
            with said_when_it_rings(farewell, self.server._engine_room.bell):
                handler.handle()
        finally:
            farewell.end()

    def is_idle(self) -> bool | None:
        """Tell whether its handler most likely waits for the client's next request; None: nobody knows."""
        if self._books is None or self.reason is not None:
            return False
        traffic = self.traffic
        if traffic is None:
            return None
        return not traffic.peer_has_closed and is_idle(
            received_ago=traffic.silent,
            sent_ago=traffic.unanswered,
            has_answered=traffic.bytes_in > 0 and traffic.bytes_out > 0,
        )

    def end_input(self) -> None:
        """Have its handler read an end of file once it has read what is there; its answers still go out."""
        half_close(self._request)

    def decide_end(self, reason: Reason) -> None:
        """Note why the connection is about to be ended, unless that is decided."""
        if self._books is not None:
            self._decide_end(reason)

    def _shakes_hands(self) -> bool:
        is_done = handshake.complete(self._request)
        if not is_done:
            is_slow = handshake.was_too_slow(self._request)
            self.failed_for = Reason.HANDSHAKE_TOO_SLOW if is_slow else Reason.HANDSHAKE_FAILED
        return is_done

    def enter(self, books: Books) -> None:
        """Have the books know of it, from now to its end."""
        self._books = books
        books.open(self)

    def note_failure(self, error: Exception) -> None:
        """Note what the handler raised."""
        if isinstance(error, ConnectionError):
            self.failed_for = Reason.PEER_RESET

    def look_at_its_end(self) -> None:
        """Ask the kernel what has gone over the connection, while it is there. Before it is closed."""
        if self.traffic is None and _is_closed(self._request):
            self.failed_for = Reason.HANDED_OFF

    def _end(self, *, is_served: bool) -> None:
        books = self._books
        if books is None:
            return
        reason = Reason.HANDLER_RETURNED if is_served else self.failed_for
        if books.are_detailed:
            reason = self._seen_by_the_kernel(reason)
        if books.is_draining and reason is Reason.HANDLER_RETURNED:
            reason = Reason.DRAINED
        if self.reason is None:
            self.reason = reason
        books.close(self)

    def found_no_worker(self) -> None:
        """Note that no worker could be had for it."""
        if self._books is not None:
            self.reason = Reason.NO_WORKER
            self._books.close(self)

    def _seen_by_the_kernel(self, reason: Reason) -> Reason:
        if reason is not Reason.HANDLER_RETURNED or isinstance(self._request, _Copy):
            return reason
        if self.failed_for is Reason.HANDED_OFF or not _is_closed(self._request):
            return Reason.HANDED_OFF
        traffic = self._last_traffic
        if traffic is not None and traffic.was_reset:
            return Reason.PEER_RESET
        if traffic is not None and traffic.peer_has_closed:
            return Reason.PEER_CLOSED
        return reason

    def hand_over(self) -> None:
        """Close this process's copy of the connection, but for what the books need of it."""
        request = self._request
        if self._books is not None and self._books.are_detailed:
            self._request = _Copy(request)
        self.server.close_request(request)

    def worker_status(self, *, well: bool) -> int:
        """Return what the process that served it exits with: 0, 1, or from `TOLD` on, where it knows more."""
        if well and self.reason in {None, Reason.HANDLER_RETURNED}:
            return 0
        if self.reason in {None, Reason.HANDLER_FAILED}:
            return 1
        return TOLD + list(Reason).index(self.reason)

    def worker_ended(self, status: int) -> None:
        """Note that the process which served it has ended, with an exit status, or by a signal (negative)."""
        told = list(Reason)[status - TOLD :][:1] if status >= TOLD else []
        if self.reason is None:
            self.reason = next(iter(told), None if status == 0 else Reason.HANDLER_FAILED)
        copy = self._request
        if isinstance(copy, _Copy):
            self._look_back()
            copy.close()
        self._end(is_served=status == 0)

    def _look_back(self) -> None:
        traffic = self.traffic
        if traffic is not None and traffic.was_reset and self.reason is not Reason.PEER_RESET:
            # Both have closed, in good order, and the kernel counted the peer's FIN as a byte.
            self._last_traffic = traffic._replace(bytes_in=traffic.bytes_in - 1)

    def _end_worker(self) -> None:
        self._engine.end(self)

    def cut_off(self) -> None:
        """Shut the connection down, so that whatever its handler waits for there ends."""
        try:
            self._request.shutdown(socket.SHUT_RDWR)
        except (OSError, AttributeError):
            # Closed meanwhile, or a datagram's pair, which has nothing to shut down.
            return


class _Copy(socket.socket):
    """A copy of a connection that another process serves: this one can still look at it."""

    def __init__(self, request: Any) -> None:
        super().__init__(request.family, request.type, request.proto, os.dup(request.fileno()))


def _is_closed(request: Any) -> bool:
    try:
        return bool(request.fileno() < 0)
    except (AttributeError, OSError, ValueError):
        return True  # no socket: a program's own request


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
