"""The core of one server: all that it has besides its hooks, made when it is first needed.

Works on any object that has the hooks: a mix-in may stand on a class that is none of ours, and programs skip
`__init__`. So the core is found in the server's own attributes, and its methods take the server, whose
hooks they look up at each step.

Listeners of one `manyhands.Server` have a core each, which share everything but what concerns one listener:
its loops, whether it is suspended, how `accept` fares there, and what is told of the clients it refuses.
"""

import errno
import os
import socket
import time
from _thread import get_ident
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, overload

from manyhands.config.options import is_on
from manyhands.connections.connection import Connection, Datagram, Serve
from manyhands.connections.opening import is_opened
from manyhands.connections.registry import Others as OtherConnections
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Others as OtherRooms
from manyhands.connections.rooms import Rooms
from manyhands.engines import ENGINES, Engine, ProcessesEngine
from manyhands.exchange.exchange import Exchange
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.local import Others as OtherExchanges
from manyhands.model.accept_errors import Backoff
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import has_client_waiting
from manyhands.serving.admission_control import AdmissionControl, OverflowPlace
from manyhands.serving.engine_choice import EngineChoice
from manyhands.serving.followed_options import FollowedOptions
from manyhands.serving.reaper import Reaper
from manyhands.serving.request_hooks import (
    Listener,
    OverflowServer,
    process_request_thread,
    refuse_forked_handler,
    shut_down,
)
from manyhands.serving.serve_loops import ServeLoops, process_watch
from manyhands.serving.served_exchange import ServedExchange
from manyhands.serving.unserved_clients import ACCEPTED_FROM, UnservedClients
from manyhands.serving.worker_shortage import WorkerShortage, end_pause

if TYPE_CHECKING:
    from manyhands.admission.admission import HeldPlace, Place
    from manyhands.connections.hand_over import HandOver
    from manyhands.runtime.wakeup import PollableLatch

_ATTRIBUTE = "_server_core"
"""Where a server has its core, among its own attributes."""

_CHOICE = "_engine_choice"
"""The class attribute by which a server class, or a mix-in, chooses an engine."""


class Others(OtherRooms, OtherConnections, OtherExchanges, Protocol):
    """What leads to other processes that serve the same server."""


class _Shared:
    """What the listeners of one server have in common."""

    __slots__ = (
        "admission",
        "engines",
        "exchange",
        "hand_over",
        "notice",
        "options",
        "reaper",
        "registry",
        "rooms",
        "shortage",
        "spreads_closings",
    )

    def __init__(self, books: "tuple[Registry, AdmissionControl] | None" = None) -> None:
        self.engines: dict[str, Engine] = {}
        if books is None:
            registry = Registry()
            books = registry, AdmissionControl(registry)
        self.registry, self.admission = books
        self.reaper = Reaper(self.registry)
        self.rooms = Rooms()
        self.exchange = ServedExchange()
        self.shortage = WorkerShortage()
        self.options = FollowedOptions(self.admission, self.reaper)
        self.notice: PollableLatch | None = None
        self.hand_over: HandOver | None = None
        self.spreads_closings = False

    def note_engine(self, engine: Engine) -> None:
        """Have the processes of an engine told things, if it has any."""
        if isinstance(engine, ProcessesEngine) and engine.dealing is None:
            # The other engines do not pay for the import.
            from manyhands.dealing.dealer import Dealer  # noqa: PLC0415
            from manyhands.dealing.shared_terms import SharedTerms  # noqa: PLC0415

            engine.wake_loop = self._wake_loop
            terms = self.options.shared_terms = SharedTerms()
            engine.dealing = Dealer(
                engine, self.rooms, self.registry, self.exchange, terms, self._wake_loop
            )

    def _wake_loop(self) -> None:
        self.reaper.wake_loop()


FiguresElsewhere: TypeAlias = Callable[
    [], tuple[Mapping[tuple[int, int], str], Iterable[tuple[int, int]]]
]
"""Returns the figures that workers tell now, as text, by their numbers and processes; and which there are.

It waits for them, so it is for threads of the system's alone that serve tools.
"""


class ServerCore:
    """What one server has: its engines, registry, admission control, reaper and loops. Thread-safe.

    Parameters
    ----------
    chosen : str
        The engine that the server's class chooses.
    owner : ServerCore, optional
        The core with which a listener shares all that is not the listener's own.
    books : Registry and AdmissionControl, optional
        Those of a supervisor, or of a worker; None makes the usual ones.
    """

    def __init__(
        self,
        chosen: str = "sequential",
        owner: "ServerCore | None" = None,
        books: tuple[Registry, AdmissionControl] | None = None,
    ) -> None:
        # Not the owner itself: a core that refers to itself would outlive its server until the next
        # collection.
        self._shared: _Shared = _Shared(books) if owner is None else owner._shared
        shared = self._shared
        self.engines = EngineChoice(chosen, shared.engines, shared.note_engine)
        self.registry = shared.registry
        """The connections of the server, or of all its listeners."""

        self.admission = shared.admission
        self.reaper = shared.reaper
        self.options = shared.options
        self.rooms = shared.rooms
        self.shortage = shared.shortage
        """Of workers: what becomes of connections meanwhile."""

        self.accept_backoff = Backoff()
        """Grows while `accept`, or the program's `get_request`, fails in a way that comes again."""

        self.unserved = UnservedClients(self.registry, self.admission, self.accept_backoff)
        self.loops = ServeLoops()
        self.accepted_from: Any = None
        """The address of the client that our `get_request` accepted last, for the holder of
        `loops.accepting`: a hook around it may fail, and the connection is to be counted all the same."""

        self._room: Callable[..., bool] | None = None
        self.is_suspended = False
        """Whether the accept loops leave the listener alone."""

        self.is_read_elsewhere = False
        """Whether other processes read from the listener, so that no accept loop here does."""

        self._callers: set[int] = set()
        """The threads that are in `handle_request`: see `serve_for_caller`."""

        self.has_begun = owner is not None
        """Whether the process has been told that the server serves; of a listener its owner tells it."""

        self._on_end: Callable[[], object] | None = None
        self.figures_elsewhere: FiguresElsewhere | None = None
        """In the process of a supervisor: what workers have for Prometheus."""

    @property
    def exchange(self) -> Exchange:
        """What its handlers and the program tell each other; a handler's process has its parent's."""
        parent = self.rooms.parent
        return self._shared.exchange if parent is None else parent.exchange

    @property
    def own_exchange(self) -> LocalExchange:
        """That of this process, whichever it is."""
        return self._shared.exchange

    def reach(self, others: Others | None) -> None:
        """Have rooms, connections and the exchange reach other processes from now on; None: no more."""
        shared = self._shared
        shared.rooms.others = shared.registry.others = shared.exchange.others = others

    @property
    def hand_over(self) -> "HandOver | None":
        """What leads to other processes that resume what this one serves; None where there is none."""
        return self._shared.hand_over

    @hand_over.setter
    def hand_over(self, hand_over: "HandOver | None") -> None:
        self._shared.hand_over = hand_over

    @property
    def drain_notice(self) -> "PollableLatch | None":
        """What tells forked handlers of a drain, while the server listens on the engine `processes`."""
        return self._shared.notice

    @drain_notice.setter
    def drain_notice(self, notice: "PollableLatch | None") -> None:
        self._shared.notice = notice

    @property
    def spreads_closings(self) -> bool:
        """Whether a drain ends connections a few at a time: their clients come back, to other processes."""
        return self._shared.spreads_closings

    @spreads_closings.setter
    def spreads_closings(self, value: bool) -> None:
        self._shared.spreads_closings = value

    @property
    def is_draining(self) -> bool:
        """Whether the server drains, in its handlers' processes too."""
        notice = self.drain_notice
        return self.registry.is_draining or bool(
            notice is not None and notice.is_inherited() and notice.is_set()
        )

    def detailed_registry(self) -> Registry:
        """Return the registry, and have it ask the kernel at each end from now on."""
        self.registry.are_detailed = True
        return self.registry

    # A connection's way from the listener to its engine

    def serve_for_caller(self, server: object, handle: Callable[[Any], Any]) -> Any:
        """Have `handle` hand over a request for the caller's `handle_request`, which has looked around.

        Where its class is sequential it is served in the caller, whatever engine the whole program was given:
        a program that asks for one request looks at what its handler has left next.
        """
        caller = get_ident()
        self._callers.add(caller)
        try:
            return handle(server)
        finally:
            self._callers.discard(caller)

    def seconds_to_rest(self) -> float:
        """Return the seconds for which accepting is of no use: no descriptor, or no worker, is left."""
        if self.accept_backoff.since is None and self.shortage.backoff.since is None:
            return 0.0
        now = time.monotonic()
        return self.accept_backoff.resting(now) or self.shortage.backoff.resting(now)

    def retry_workers(self, now: float) -> float | None:
        """Have connections begin that wait for a worker; return the seconds until the next try, if any."""
        if self.shortage.seconds_to_retry(now) is None:
            return None
        self.shortage.retry(self.unserved.refuse)
        return self.shortage.seconds_to_retry(now)

    def next_request(self, server: Listener) -> tuple[Any, Any, Reason | None]:
        """Get the next request, its client's address, and why it must be refused; of several loops, one does.

        Raises
        ------
        BlockingIOError
            When another loop has taken the client of which this one was told too, or its place. `get_request`
            would wait for the next client, and the loop could not be stopped meanwhile.
        """
        loops, admission = self.loops, self.admission
        if loops.turn is None:
            self._look_before_request(server)
        loops.accepting.acquire()
        try:
            # The other loop may have ended since it took the client.
            has_gone = loops.were_several and not has_client_waiting(server)
            if has_gone or (admission.is_guarded and not self._has_room(server)):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self.accepted_from = None
            try:
                request, client_address = server.get_request()
            except BaseException as error:
                vars(error)[ACCEPTED_FROM] = self.accepted_from
                raise
            if loops.were_several:
                admission.in_hand.arrival = id(request)
            refusal = admission.arrive(server, request, client_address)
        finally:
            loops.accepting.release()
        if self.accept_backoff.since is not None:
            try:
                end_pause(self.accept_backoff, server)
            except BaseException:
                self.admission.withdraw(request, Reason.REFUSED_BY_HOOK)
                shut_down(server, request, client_address)
                raise
        return request, client_address, refusal

    def _look_before_request(self, server: Listener) -> None:
        if not self.reaper.accept_loops:
            if get_ident() not in self._callers:
                self.attend(server)
        elif not self.options.look_at:
            # Options that were changed since the loop began its turn hold for the next client, too.
            self.options.follow(server, time.monotonic(), self.engines)

    def _has_room(self, server: object) -> bool:
        room = self._room
        if room is None:
            room = self._room = self.room_for(server)
        return room()

    def room_for(self, server: object) -> Callable[..., bool]:
        """Return what tells whether the limits let the next request of a server in."""
        admission = self.admission
        is_of_datagrams = getattr(server, "socket_type", None) == socket.SOCK_DGRAM
        return admission.has_room_for_datagram if is_of_datagrams else admission.has_room

    def attend(self, server: Listener) -> None:
        """Do once for a server what an accept loop of ours would do at each turn."""
        self.options.changed()
        self.look_around(server, self.engines.of(server), time.monotonic())

    def look_around(self, server: Listener, engine: Engine, now: float) -> None:
        """Do what is due before a request is served without an accept loop."""
        engine.reap()
        self.options.follow(server, now, self.engines)
        if self.admission.has_chores or self.unserved.refusals.are_due:
            self.do_chores(server)
        if engine.name == "processes":
            self.reaper.look_here()

    def refuse_waiting(self, server: object) -> None:
        """Refuse the connections of a server that wait for a worker: it closes."""
        self.shortage.end(server, self.unserved.refuse)

    def start(
        self,
        server: Any,
        chosen: str,
        request: Any,
        client_address: Any,
        serve: Serve | None = None,
    ) -> None:
        """Hand a request to the engine `chosen` by its class, or to the one that overrides it.

        `serve` is what serves it; None: the server's hooks.

        Raises
        ------
        OSError or RuntimeError
            When the engine has no worker for it, and no accept loop of ours runs in which it could wait.
        Exception
            Whatever the handler raised, when the engine is sequential.
        """
        engine = (
            self.engines.named(chosen)
            if self._callers
            and get_ident() in self._callers
            and self.engines.is_overridden(server, chosen)
            else self.engines.of(server, chosen)
        )
        if serve is None and engine.name != "sequential":
            # Looked up on the server: a subclass may have overridden it, whatever engine it gets.
            serve = getattr(server, "process_request_thread", None) or partial(
                process_request_thread, server
            )
        connection = Connection(server, request, client_address, serve, engine, self)
        # A datagram is no connection.
        if type(request) is not tuple:
            # The registry comes first, so that the connection is counted at every moment.
            connection.is_registered = True
            self.registry.open(connection)
            if not self._is_let_in(connection):
                return
        elif self.admission.bounds_datagrams:
            connection.place = self.admission.place_for_datagram()
        may_wait = connection.is_registered and bool(self.reaper.accept_loops)
        if not self.shortage.start(connection, may_wait=may_wait):
            self.reaper.wake_loop()

    def serve_here(self, server: Any, request: Any, client_address: Any) -> None:
        """Serve a request in the calling thread, as sequential servers do, unless another engine is to."""
        engine, turn = self.engines.sequential, self.loops.turn
        if (
            turn is None
            or engine is None
            or turn.made_of is not None
            or type(request) is not tuple
            or getattr(type(server), "engine", None) is not None
            or turn.thread != get_ident()
        ):
            self.start(server, "sequential", request, client_address)
            return
        # The shortest way: a datagram is in no registry, and no worker can be lacking.
        turn.made_of = Datagram, server, request, client_address, engine, self
        try:
            server.finish_request(request, client_address)
            server.shutdown_request(request)
        finally:
            turn.made_of = None
            if turn.is_watched:
                engine.end_turn(turn)

    def _is_let_in(self, connection: Connection) -> bool:
        """Have a connection leave the arriving ones, with its place; return False when it was refused."""
        try:
            arrival = self.admission.take(connection.request)
            # Where nothing limits connections, and nothing looks at them, there is nothing more to do.
            is_plain = arrival is not None and arrival[1] is None and not self.registry.are_detailed
            return is_plain or self._is_admitted(connection, arrival)
        except BaseException:
            # What a hook, or a subscriber, raised.
            connection.was_not_served(Reason.REFUSED_BY_HOOK)
            raise

    def _is_admitted(
        self, connection: Connection, arrival: "tuple[Any, HeldPlace | None] | None"
    ) -> bool:
        """Give a connection that the registry has its place; return False when it was refused."""
        place = self._place_of_its_own(connection) if arrival is None else arrival[1]
        if isinstance(place, Reason):
            server, request = connection.server, connection.request
            self.unserved.note_refusal(server, request, connection.client_address, place)
            self.unserved.send_away(server, request, connection.client_address)
            connection.was_not_served(place)
            return False
        connection.place = place
        if place is not None:
            connection.is_overflow = isinstance(place, OverflowPlace)
        if self.reaper.is_on:
            # That of a process is counted when the process is made, which may have to wait.
            if connection.engine.name != "processes":
                connection.count_traffic()
            self.reaper.call(connection.engine.name)
        return True

    def _place_of_its_own(self, connection: Connection) -> "Place | Reason | None":
        """Admit a connection that a program's own loop has accepted."""
        server = connection.server
        # The limits alone: a loop of the program's own, on a class of the standard library's, keeps its own
        # timeouts, by whatever names.
        self.options.follow_limits(server)
        return self.admission.admit_entered(server, connection.client_address)

    def refuses_datagram(self, server: Any, request: Any, client_address: Any) -> bool:
        """Apply the limits to a datagram of a loop that is none of ours; tell whether it is dropped.

        It has been received, so it cannot wait in the kernel's buffer for a place, as in ours.
        """
        self.options.follow_limits(server)
        refusal = (
            self.admission.arrive(server, request, client_address)
            if self.admission.has_room_for_datagram()
            else Reason.REFUSED_FULL
        )
        if refusal is not None:
            self.unserved.turn_away(server, request, client_address, refusal)
        return refusal is not None

    def identify(self, connection: Connection) -> Reason | None:
        """Apply the limits for addresses, now that a PROXY header has told the client's.

        Returns
        -------
        Reason or None
            Why the connection must be closed; it has been told of.
        """
        refusal = self.admission.identify(connection.place, connection.client_address)
        if refusal is not None:
            self.unserved.note_refusal(connection.server, None, connection.client_address, refusal)
        return refusal

    def open_late(self, server: Listener, request: Any, client_address: Any) -> tuple[Any, Any]:
        """Open a request that no engine of ours has had; return it and its address, or twice None."""
        engine = ENGINES["sequential"]()
        connection = Connection(
            server, request, client_address, server.finish_request, engine, self
        )
        if not is_opened(connection):
            return None, None
        return connection.request, connection.client_address

    def turn_away(
        self, server: Listener, request: Any, client_address: Any, reason: Reason
    ) -> None:
        """Refuse a request that has arrived, or have the overflow handler serve it."""
        handler, unserved = self.admission.overflow_for(server, request, reason), self.unserved
        try:
            if handler is None:
                unserved.turn_away(server, request, client_address, reason)
            else:
                unserved.note_refusal(server, request, client_address, reason)
                serve = partial(process_request_thread, OverflowServer(server, handler))
                self.start(server, self.engines.chosen, request, client_address, serve)
        except Exception as error:  # noqa: BLE001 - no worker for the overflow handler, say
            unserved.refuse(server, request, client_address, error)
        except BaseException:
            self.admission.withdraw(request, reason)
            shut_down(server, request, client_address)
            raise

    # Now and then

    def do_chores(self, server: Listener) -> None:
        """Do what is due by now, in the accept loop: tell of refusals, count what has ended elsewhere."""
        if self.admission.has_chores:
            self.admission.count_gone()
        if self.unserved.refusals.are_due:
            self.unserved.refusals.tell_what_is_due(server)

    def set_suspended(self, server: object, value: bool) -> None:
        """Have the accept loops leave a server's listener alone, or look at it again; they are to be woken.

        Raises
        ------
        RuntimeError
            In the process of a forked handler, which has only a copy of the server.
        """
        refuse_forked_handler("suspend the server" if value else "resume the server", server)
        self.is_suspended = value

    def begin(self, server: object) -> None:
        """Tell the process that a server serves, unless that was done before."""
        if not self.has_begun:
            self.has_begun = True
            self._on_end = process_watch.begin(server)

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            self.has_begun = False
            on_end()

    def close(self, server: object, *, joined: str) -> None:
        """Do for all engines what a mix-in does for its own, which is `joined`: wait, if the close is to."""
        self._end()
        self.refuse_waiting(server)
        self.unserved.refusals.tell_the_rest(server)
        for engine in self.engines:
            if engine.name != joined and is_on("block_on_close", server):
                engine.join_workers()
            elif engine.name != joined:
                engine.reap()
            engine.release()
        self.reaper.rest()


class OwnCore:
    """The attribute `_server_core`: each server's own, made when it is first asked for.

    So it needs no `__init__` to have run, and afterwards it costs one look into the server's attributes. A
    listener that shares its server's has it there.
    """

    @overload
    def __get__(self, server: None, kind: type) -> Self: ...
    @overload
    def __get__(self, server: object, kind: type) -> ServerCore: ...
    def __get__(self, server: object, kind: type) -> Self | ServerCore:
        # Asked of the class, as `unittest.mock` does of all that there is, it is the attribute itself.
        return self if server is None else core_of(server)


def core_of(server: object) -> ServerCore:
    """Return the core of a server, be it one that is none of ours; it is made when it is first asked for."""
    attributes = vars(server)
    core: ServerCore | None = attributes.get(_ATTRIBUTE)
    if core is None:
        chosen = getattr(server, _CHOICE, "sequential")
        # `setdefault` is one step: of two threads that come first, both get the same core.
        core = attributes.setdefault(_ATTRIBUTE, ServerCore(chosen))
    return core


def core_if_made(server: object) -> ServerCore | None:
    """Return the core of what may be a server, if it has one by now."""
    core: ServerCore | None = getattr(server, "__dict__", {}).get(_ATTRIBUTE)
    return core


def share_core(listener: object, owner: ServerCore) -> ServerCore:
    """Give a listener its core, which shares with that of the server that it belongs to."""
    chosen = getattr(listener, _CHOICE, "sequential")
    core = vars(listener)[_ATTRIBUTE] = ServerCore(chosen, owner)
    return core
