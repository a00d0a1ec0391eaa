"""One client's connection: from its acceptance, through its opening and its handler, to its end.

An engine carries it as its task; the registry counts it from its acceptance to its end; the reaper and the
drain may end it from outside. Where it is in its life is `state`, and the steps between the states are one
table (`manyhands.model.connection_states`). A datagram has one too, for the time of its handler, and is in
no registry.
"""

import itertools
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from manyhands.connections import opening
from manyhands.connections.closing import (
    GoodbyeHook,
    said_on_notice,
)
from manyhands.connections.facts import KeptCopy
from manyhands.connections.outboxes import outbox_of
from manyhands.connections.peer_errors import reason_of
from manyhands.connections.sendable import SendableConnection
from manyhands.connections.socket_classes import Unopened
from manyhands.connections.subscriptions import end_subscriptions
from manyhands.connections.tls_handshake import is_tls
from manyhands.connections.traffic import (
    begin_counting,
    kernel_counts,
    new_record,
)
from manyhands.model.connection_states import Reason, State, Step
from manyhands.model.timeouts import Deadlines
from manyhands.runtime.caller import begin_serving, current_task, end_serving
from manyhands.runtime.sockets import descriptor_of

if TYPE_CHECKING:
    from manyhands.admission.admission import HeldPlace
    from manyhands.connections.hand_over import HandOver
    from manyhands.connections.rooms import Rooms
    from manyhands.connections.timeouts import ConnectionTimeouts
    from manyhands.engines.engine import Engine, Task
    from manyhands.runtime.wakeup import PollableLatch

Serve = Callable[[Any, Any], bool | None]
"""Serves a request of an address to its end; False when its handler failed."""

_REASONS = list(Reason)
"""The reasons by their numbers, of which a worker process tells its parent one."""

_FOR_PARENT_TO_DECIDE = 1 + len(_REASONS)
"""What a worker process tells its parent of a task that has come to its end, for no other reason."""

_STEPS = list(Step)
"""The steps by their numbers, of which a worker process tells its parent some."""

_BEFORE_ITS_HANDLER = frozenset({State.READING_PROXY_HEADER, State.HANDSHAKING})

_numbers = itertools.count(1)

_first_timeouts: "dict[int, ConnectionTimeouts]" = {}
"""What is just being made of `Connection.own_timeouts`, by its number: of two threads both get the same."""


class RegistryOfConnections(Protocol):
    """What a connection tells of itself, and to which registry."""

    is_draining: bool
    are_detailed: bool

    def open(self, connection: "Connection") -> None:
        """Enter a connection that was accepted."""

    def close(self, connection: "Connection") -> bool:
        """Strike a connection off; return False when that was done before."""

    def __contains__(self, number: object, /) -> bool: ...


class OptionsOfServer(Protocol):
    """What a connection needs of the options of its server."""

    def timeouts(self, server: Any) -> Deadlines:
        """Return the timeouts that the server's options say now."""

    def timeouts_on(self, server: Any, engine: str) -> "ConnectionTimeouts":
        """Return what a handler may set its own timeouts in."""

    def outbox_terms(self, server: Any) -> tuple[int, str]:
        """Return the bytes that may wait for a peer, and what becomes of one that falls behind."""


class Core(Protocol):
    """What a connection needs of the core of the server that serves it."""

    @property
    def registry(self) -> RegistryOfConnections:
        """Where it is counted."""

    @property
    def options(self) -> OptionsOfServer:
        """What holds for it."""

    @property
    def drain_notice(self) -> "PollableLatch | None":
        """What tells forked handlers that the server drains, if anything does."""

    @property
    def rooms(self) -> "Rooms":
        """The rooms that it may join."""

    @property
    def hand_over(self) -> "HandOver | None":
        """What leads to other processes that resume what this one serves, if anything does."""

    def identify(self, connection: "Connection") -> Reason | None:
        """Apply the limits for addresses, now that a PROXY header has told the client's."""


class Connection(SendableConnection):
    """One client's connection.

    Everything may be read in any thread; after the end it says what was last known.
    """

    __slots__ = (
        "_serve",
        "client_address",
        "failed_for",
        "goodbye",
        "is_overflow",
        "is_registered",
        "number",
        "opened_at",
        "own_timeouts",
        "place",
        "request",
        "server",
    )

    core: Core
    goodbye: GoodbyeHook
    """Set while a handler is at work that has a `goodbye`."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that it is made of, once for each connection
        self,
        server: Any,
        request: Any,
        client_address: Any,
        serve: Serve | None,
        engine: "Engine",
        core: Core,
    ) -> None:
        self.number = next(_numbers)
        """Counts the connections of this process, from 1."""

        self.opened_at = time.monotonic()
        """When it was accepted, by `time.monotonic`."""

        self.server = server
        """The server whose hooks serve it: the listener that the client called."""

        self.request = request
        """The socket; once it is open, what the handler gets."""

        self.client_address = client_address
        """The client's address, as `accept` or a PROXY header gave it."""

        self.engine = engine
        self.core = core
        # What serves it; None: the server's hooks, in the accept loop, where what they raise is raised.
        self._serve = serve

        self.state = State.ACCEPTED
        self.reason: Reason | None = None
        """Why it ended, or will; None while nothing is decided."""

        self.failed_for = Reason.HANDLER_FAILED
        """Why it ended, if it cannot be opened, or its handler fails."""

        self.is_registered = False
        """Whether it is in the registry, from its acceptance to its end; a datagram never is."""

        self.place: HeldPlace | None = None
        """What it gives back at its end, where connections are limited by more than their number."""

        self.is_overflow = False
        """Whether the overflow handler serves it, beyond `max_connections`."""

        self.own_timeouts: ConnectionTimeouts | None = None
        """What its handler has set, if it has."""

        self.outbox = None
        self.writer = None
        self._last_traffic = None
        self._record = None
        self._traffic_is_final = False

    @property
    def task(self) -> "Task":
        """What its engine carries: itself."""
        return self

    # Its way through a worker

    def process_request_thread(self) -> bool:
        """Serve the connection, in the worker that calls this; return True when its handler returned.

        What the server's hooks raise is raised.
        """
        # Fibers carry their task themselves: a context for each of thousands would be felt.
        begun = None if self.engine.knows_its_callers else begin_serving(self)
        is_served = False
        try:
            # A socket of the system's, in clear, as most are, is what the handler gets.
            is_ready = type(self.request) is socket.socket and not self.engine.wraps_sockets
            may_begin = is_ready or self._is_made_ready()
            if not may_begin or not self.take(Step.HANDLER_BEGINS):
                self.server.shutdown_request(self.request)
                return False
            if not is_ready and self.core.rooms.are_used and is_tls(self.request):
                # Now, while its handler is in no call on it: later its thread may be inside of OpenSSL.
                outbox_of(self)
            if self._record is not None:
                begin_counting(self.request, self._record)
            if self._serve is not None:
                is_served = self._serve(self.request, self.client_address) is not False
            else:
                self.server.finish_request(self.request, self.client_address)
                # Not in a `finally`: what the handler raises is reported first, and the accept loop does it.
                self.server.shutdown_request(self.request)
                is_served = True
        except Exception as error:
            self.note_failure(error)
            raise
        else:
            return is_served
        finally:
            try:
                self._end(is_served=is_served)
            finally:
                if begun is not None:
                    end_serving(begun)

    def _is_made_ready(self) -> bool:
        """Have the request as its handler gets it; return False when no handler may have it."""
        if not isinstance(self.request, Unopened):
            if self.engine.wraps_sockets:
                self.request = self.engine.adopt(self.request)
            return True
        try:
            is_opened = opening.is_opened(self)
        except BaseException:
            self.server.shutdown_request(self.request)
            raise
        if is_opened:
            self.tell_step(Step.HANDLER_BEGINS)
        return is_opened

    def handle(self, handler: Any) -> None:
        """Call `handle` of a handler whose `goodbye` is called if the server drains meanwhile."""
        goodbye = self.goodbye = GoodbyeHook(handler)
        try:
            with said_on_notice(goodbye, self.core.drain_notice):
                handler.handle()
        finally:
            goodbye.end()

    def before_handler(self, act: Callable[[], object]) -> None:
        """Have `act` called in its worker when it is open, just before its handler."""
        serve = self._serve
        assert serve is not None  # noqa: S101 - tells the type checker: it has a worker

        def act_and_serve(request: Any, client_address: Any) -> bool | None:
            act()
            return serve(request, client_address)

        self._serve = act_and_serve

    def identify(self) -> Reason | None:
        """Apply the limits for addresses, now that a PROXY header has told the client's."""
        return self.core.identify(self)

    def note_failure(self, error: Exception) -> None:
        """Note what the handler, or a hook, raised."""
        if not opening.note_failed_handshake(self, error):
            reason = reason_of(error, self.request)
            # Noted twice, in `process_request_thread` of the server and in ours, it may be closed by now.
            if reason is not Reason.HANDLER_FAILED:
                self.failed_for = reason

    # What a server tells it

    def take_place(self, place: "HeldPlace") -> None:
        """Give it a place, though it is under way, unless it has one."""
        if self.place is None:
            self.place = place
        # Its end may have come just now, in another thread, and have found no place to leave.
        if self.place is not place or self.state is State.CLOSED:
            place.leave()

    def count_traffic(self) -> None:
        """See to it that its traffic can be known, by our own counter where need be. Before it is served.

        Raises
        ------
        OSError
            When there is no memory to share with the process of its handler (ENOMEM in mmap(2)). It may be
            called again.
        """
        is_shared = self.engine.name == "processes"
        if is_shared and self.own_timeouts is None:
            # What its handler sets in the child concerns the reaper here.
            self.own_timeouts = self.core.options.timeouts_on(self.server, self.engine.name)
        if self._record is None and not kernel_counts(self.client_address):
            self._record = new_record(is_shared=is_shared)

    def was_not_served(self, reason: Reason) -> None:
        """Note that there was no worker for it, or that it was refused at the last moment."""
        if self.place is not None:
            self.place.leave()
        if self.is_registered:
            self.reason = reason
            self.core.registry.close(self)

    # Its end

    def note_last_traffic(self) -> None:
        """Ask the kernel what has gone over the connection, while it is there. Before it is closed."""
        is_gone = self.traffic is None and descriptor_of(self.request) < 0
        # A handler that wraps its connection by itself leaves none behind, and its error tells more.
        if is_gone and self.failed_for is Reason.HANDLER_FAILED:
            self.failed_for = Reason.HANDED_OFF
        self._traffic_is_final = True

    def _end(self, *, is_served: bool) -> None:
        end_subscriptions(self)
        if self.is_registered:
            self._end_registered(is_served=is_served)
            return
        # No registry concludes a datagram.
        self.state = State.CLOSED
        self.forget_decision()
        if self.place is not None:
            self.place.leave()

    def _end_registered(self, *, is_served: bool) -> None:
        self._end_outbox()
        registry, place = self.core.registry, self.place
        reason = Reason.HANDLER_RETURNED if is_served else self.failed_for
        if registry.are_detailed and reason is Reason.HANDLER_RETURNED:
            reason = self._reason_by_the_kernel()
        if place is not None:
            # Before the registry: a connection beyond max_connections must not be missed there for a moment.
            place.leave()
        if self.is_overflow:
            reason = Reason.REFUSED_FULL
        if registry.is_draining and reason is Reason.HANDLER_RETURNED:
            reason = Reason.DRAINED
        if self.reason is None:
            self.reason = reason
        try:
            registry.close(self)
        finally:
            if self.place is not place and self.place is not None:
                self.place.leave()  # given to it meanwhile
            # Made meanwhile: now its state tells that there are to be none.
            self._end_outbox()
            end_subscriptions(self)

    def abandon(self) -> None:
        """Count the connection, and its worker, no longer. A worker process is killed."""
        self.engine.abandon(self)
        if self.engine.name != "processes":
            self._end(is_served=False)

    # A worker process

    def copy_to_keep(self) -> "KeptCopy | None":
        """Return a copy by which this process can look at the connection, if the registry needs one.

        Raises
        ------
        OSError
            When there is no descriptor for it, or no memory for what its handler is to share with the reaper.
        """
        if not (self.is_registered and self.core.registry.are_detailed):
            return None
        self.count_traffic()
        return KeptCopy(self.request)

    def hand_over(self, kept: "KeptCopy | None") -> None:
        """Close what this process has of the connection, but for what it keeps."""
        request = self.request
        if kept is not None:
            self.request = kept
        try:
            self.server.close_request(request)
        except Exception:  # noqa: BLE001 - a hook's failure; the handler is at work by now, and goes on
            self.server.handle_error(request, self.client_address)

    def tell_step(self, step: Step) -> None:
        """Have the parent of a worker process know which step the connection takes there."""
        self.engine.tell_step(1 + _STEPS.index(step))

    @property
    def is_to_be_opened(self) -> bool:
        """Whether something is due before its handler."""
        return self.state in _BEFORE_ITS_HANDLER

    def note_step(self, number: int) -> None:
        """Note a step that its worker process takes; 0: the first one, as its request says."""
        self.take(_STEPS[number - 1] if number else opening.first_step(self.request))

    def word_for_parent(self) -> int:
        """Return the number of the reason for its end, from 1; the last when the parent is to decide."""
        if self.reason in {None, Reason.HANDLER_RETURNED}:
            return _FOR_PARENT_TO_DECIDE
        return 1 + _REASONS.index(self.reason)

    def worker_ended(self, status: int, word: int) -> None:
        """Note that the process which served it has ended, with an exit status, or by a signal (negative)."""
        if self.reason is None and 0 < word <= len(_REASONS):
            self.reason = _REASONS[word - 1]
        elif self.reason is None and status:
            self.reason = Reason.HANDLER_FAILED
        copy = self.request
        if isinstance(copy, KeptCopy):
            self._note_traffic_of_copy()
            copy.close()
        self._end(is_served=status == 0)

    # Its deadlines

    @property
    def deadlines(self) -> "ConnectionTimeouts":
        """The deadlines of the connection, to be read and set. Thread-safe."""
        if self.own_timeouts is None:
            engine = self.engine.name
            if self._is_known_here_alone():
                self.core.registry.open(self)
                engine = "threads"
            made = self.core.options.timeouts_on(self.server, engine)
            # The handler and another thread may both be the first to ask.
            first = _first_timeouts.setdefault(self.number, made)
            if self.own_timeouts is None:
                self.own_timeouts = first
            _first_timeouts.pop(self.number, None)
        return self.own_timeouts

    def _is_known_here_alone(self) -> bool:
        """Tell whether this is a handler's process, and the parent's reaper does not look after it."""
        return (
            self.is_registered
            and self.state is State.OPEN
            and self.number not in self.core.registry
        )


class Datagram(Connection):
    """A datagram that an accept loop serves itself, made while its handler is at work.

    See `runtime.caller.Turn`.
    """

    __slots__ = ()

    def __init__(  # noqa: PLR0913, PLR0917 - as of any connection
        self,
        came_at: float,
        server: Any,
        request: Any,
        client_address: Any,
        engine: "Engine",
        core: Core,
    ) -> None:
        super().__init__(server, request, client_address, None, engine, core)
        self.opened_at = came_at
        self.state = State.OPEN

    def end_turn(self) -> None:
        """Note that its handler is done."""
        self._end(is_served=True)


def current_connection() -> Connection | None:
    """Return the connection that the calling thread, or fiber, serves, if any."""
    connection: Connection | None = current_task()
    return connection


def reason_of_failure(error: BaseException) -> Reason | None:
    """Return why the connection ends whose handler raised `error`; None where it was no handler."""
    connection = current_connection()
    where = error.__traceback__
    # On a sequential server the accept loop reports it, which serves no connection by then.
    while connection is None and where is not None:
        if where.tb_frame.f_code is Connection.process_request_thread.__code__:
            connection = where.tb_frame.f_locals["self"]
        where = where.tb_next
    return None if connection is None else connection.reason or connection.failed_for
