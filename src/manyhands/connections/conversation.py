"""One connection on its way through an engine: the task that servers hand to engines."""

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from manyhands.admission.admission import Leaves, Place
from manyhands.connections import closing, traffic_counter
from manyhands.connections.closing import half_close
from manyhands.connections.opening import Opening
from manyhands.connections.registry import Books
from manyhands.connections.socket_classes import Unopened
from manyhands.connections.tcp_info import are_books_kept
from manyhands.connections.timeouts import OwnDeadlines
from manyhands.engines import Engine
from manyhands.model.connection_states import Reason, State, Step
from manyhands.model.timeouts import is_idle
from manyhands.runtime.caller import current_task, task_of_context
from manyhands.runtime.sockets import descriptor_of, is_closed
from manyhands.serving.admission_control import OverflowPlace
from manyhands.serving.goodbye_hook import Farewell, said_when_it_rings
from manyhands.serving.reaper import own_deadlines

Serve = Callable[[Any, Any], bool | None]
"""Serves a request of an address to its end; False when its handler failed."""


TOLD = 64
"""The exit status of a worker process that tells of the first reason; the others follow."""


class Conversation(Opening):
    """A request, its client's address, and the server whose hooks serve it; and its entry in the books."""

    __slots__ = ("_books", "_serve", "farewell", "place")

    farewell: Farewell
    """Set while a handler is at work that has a `goodbye`."""

    def __init__(
        self, server: Any, request: Any, client_address: Any, serve: Serve, engine: Engine
    ) -> None:
        super().__init__(server, request, client_address)
        self._serve = serve
        self._engine = engine
        self.failed_for = Reason.HANDLER_FAILED
        self._books: Books | None = None  # a datagram is in none

        self.place: Leaves | None = None
        """What it gives back at its end, where connections are limited by more than their number."""

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
        before = None if self._engine.knows_its_callers else task_of_context.set(self)
        is_served = False
        try:
            if isinstance(self._request, Unopened):
                may_begin = self._is_opened_or_closed()
            else:
                if self._engine.wraps_sockets:
                    self._request = self._engine.adopt(self._request)
                may_begin = True
            if not may_begin or not self.take(Step.HANDLER_BEGINS):
                self.server.shutdown_request(self._request)
                return False
            if self._record is not None:
                traffic_counter.begin(self._request, self._record)
            is_served = self._serve(self._request, self.client_address) is not False
        except Exception as error:
            self.note_failure(error)
            raise
        else:
            return is_served
        finally:
            self._end(is_served=is_served)
            if before is not None:
                task_of_context.reset(before)

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

    def _is_opened_or_closed(self) -> bool:
        try:
            return self.is_opened()
        except BaseException:
            self.server.shutdown_request(self._request)
            raise

    def prepare_for_sweep(self) -> None:
        """See to it that its traffic can be known, by our own clock where need be. Before it is served."""
        if self._engine.name == "processes":
            # What its handler sets in the child concerns who sweeps here.
            self.own_deadlines = own_deadlines(self.server, self._engine.name)
        if not are_books_kept(self.client_address):
            self._record = traffic_counter.new_record(is_shared=self._engine.name == "processes")

    def enter(self, books: Books) -> None:
        """Have the books know of it, from now to its end."""
        self._books = books
        books.open(self)

    def take_place(self, place: Leaves) -> None:
        """Give it a place, though it is under way, unless it has one."""
        if self.place is None:
            self.place = place
        if self.place is not place or self.state is State.CLOSED:
            place.leave()

    def identify(self, client_address: Any) -> Reason | None:
        """Note who the client is, which a PROXY header has told; return why it must be refused, if so.

        The refusal is counted and told of. Whoever asks closes the connection, without a handler.
        """
        self.client_address = client_address
        place = self.place
        if not isinstance(place, Place):
            return None
        refusal: Reason | None = self.server._engine_room.door.identify(
            self.server, place, client_address
        )
        if refusal is not None:
            self.failed_for = refusal
        return refusal

    def note_failure(self, error: Exception) -> None:
        """Note what the handler raised."""
        if not self._note_failed_handshake(error) and isinstance(error, ConnectionError):
            self.failed_for = Reason.PEER_RESET

    def look_at_its_end(self) -> None:
        """Ask the kernel what has gone over the connection, while it is there. Before it is closed."""
        if self.traffic is None and is_closed(self._request):
            self.failed_for = Reason.HANDED_OFF
        self._is_over = True

    def _end(self, *, is_served: bool) -> None:
        books = self._books
        if books is None:
            return
        reason = Reason.HANDLER_RETURNED if is_served else self.failed_for
        if books.are_detailed:
            reason = self._seen_by_the_kernel(reason)
        place = self.place
        if place is not None:
            # Before the books: what is beyond max_connections is not to be missed there for a moment.
            place.leave()
            if isinstance(place, OverflowPlace):
                reason = Reason.REFUSED_FULL
        if books.is_draining and reason is Reason.HANDLER_RETURNED:
            reason = Reason.DRAINED
        if self.reason is None:
            self.reason = reason
        books.close(self)
        if self.place is not place:
            self._leave()

    def _leave(self) -> None:
        if self.place is not None:
            self.place.leave()

    def was_not_served(self, reason: Reason) -> None:
        """Note that no worker was had for it, or that it was refused at the last moment."""
        self._leave()
        if self._books is not None:
            self.reason = reason
            self._books.close(self)

    def _seen_by_the_kernel(self, reason: Reason) -> Reason:
        if reason is not Reason.HANDLER_RETURNED or isinstance(self._request, _Copy):
            return reason
        if self.failed_for is Reason.HANDED_OFF or not is_closed(self._request):
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
        self._is_over = True

    @property
    def deadlines(self) -> OwnDeadlines:
        """The deadlines of the connection, to be read and set. Thread-safe."""
        if self.own_deadlines is None:
            engine = self._engine.name
            if self._is_known_here_alone():
                self._books.open(self)  # type: ignore[union-attr]  # it has some
                engine = "threads"
            self.own_deadlines = own_deadlines(self.server, engine)
        return self.own_deadlines

    def _is_known_here_alone(self) -> bool:
        """Tell whether this is a handler's process, and the one that forked it keeps nothing to sweep by."""
        books = self._books
        return books is not None and self.state is State.OPEN and self.number not in books

    @property
    def is_in_books(self) -> bool:
        """Whether it is one of a connection, not of a datagram."""
        return self._books is not None

    def serves(self, request: Any) -> bool:
        """Tell whether it is the one of a request, in whose place STARTTLS may have put another."""
        return descriptor_of(self._request) == descriptor_of(request) >= 0

    def _end_worker(self) -> None:
        self._engine.end(self)

    def _ask_worker_to_end(self) -> None:
        if self._may_say_goodbye():
            self.end_input()
        else:
            self._engine.ask_to_end(self)

    def insist(self) -> None:
        """End what is left of a connection that has expired, and goes on."""
        if self._may_say_goodbye():
            self._engine.ask_to_end(self)

    def _may_say_goodbye(self) -> bool:
        """Tell whether its worker has something to say at the end, and can: only the worker may speak TLS."""
        if self.reason is Reason.WRITE_STALLED:
            return False
        request = self._request
        return (
            request.may_say_goodbye
            if isinstance(request, _Copy)
            else closing.is_said_after_the_end(request)
        )

    def abandon(self) -> None:
        """Count the connection, and its worker, no longer. A worker process is killed."""
        self._engine.abandon(self)
        if self._engine.name != "processes":
            self._end(is_served=False)

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
        self.may_say_goodbye = closing.is_said_after_the_end(request)


def current() -> Conversation | None:
    """Return the conversation that the calling thread, or fiber, serves, if any."""
    conversation: Conversation | None = current_task()
    return conversation
