"""Which engine serves a server's connections: the mix-in's choice, or the one that `engine` names.

Works on any object that has the hooks: a mix-in may stand on a class that is none of ours.
"""

import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from manyhands.config.class_attributes import is_on, setting
from manyhands.connections.conversation import Conversation, Serve, current
from manyhands.connections.registry import Books
from manyhands.connections.tls_handshake import failed_connection
from manyhands.engines import ENGINES, Engine, ThreadsEngine
from manyhands.engines.threads import Threads
from manyhands.model import events
from manyhands.model.accept_errors import Backoff
from manyhands.model.connection_states import Reason
from manyhands.runtime.error_reports import warn
from manyhands.serving.admission_control import Door, Handler
from manyhands.serving.reaper import Sweeper

if TYPE_CHECKING:
    from manyhands.runtime.wakeup import PollableLatch

_warned_about: "weakref.WeakSet[type]" = weakref.WeakSet()
"""Classes whose `engine` is none: once is enough, for the name is looked at again and again."""


class EngineRoom:
    """The engines of one server, each made when it is first needed. Thread-safe."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self.latest: Engine | None = None
        """The engine that was asked for last."""

        self.books = Books()
        """The connections of the server, or of all servers that share the room."""

        self.door = Door(self.books)
        """Who of those that call gets in."""

        self.sweeper = Sweeper(self.books)
        """Ends those of them whose time is over."""

        self.bell: PollableLatch | None = None
        """What tells forked handlers of a drain, where somebody has hung one up."""

        self.backoff = Backoff()
        """Grows while no worker can be had for the connections that come in."""

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines that were needed so far."""
        return tuple(self._engines.copy().values())

    def engine(self, server: Any, name: str) -> Engine:
        """Return the engine called `name`, set up as `server` has its attributes now."""
        engine = self._engines.get(name) or self._engines.setdefault(name, ENGINES[name]())
        _set_up(engine, server)
        self.latest = engine
        return engine

    def turn_away(self, server: Any, request: Any, client_address: Any, reason: Reason) -> None:
        """Refuse a request that has arrived, or have the overflow handler serve it.

        Raises
        ------
        OSError or RuntimeError
            When no worker could be had.
        """
        handler = self.door.overflow_for(server, request, reason)
        if handler is None:
            self.door.refuse(server, request, client_address, reason)
            return
        self.door.note(server, request, client_address, reason)
        serve = partial(process_request_thread, _Overflow(server, handler))
        self.start(server, server._engine_choice, request, client_address, serve)

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
            When no worker could be had.
        Exception
            Whatever the handler raised, when the engine is sequential.
        """
        name = override(server) or chosen
        engine = self.engine(server, name)
        serve = serve or _way_of_serving(server, name)
        task = Conversation(server, request, client_address, serve, engine)
        # A datagram is no connection.
        if type(request) is not tuple:
            if not self._enters(task, request):
                return
            self._have_swept(task, name)
        if name == "sequential":
            engine.start(task)
            return
        try:
            engine.start(task)
        except (OSError, RuntimeError) as error:
            task.was_not_served(Reason.NO_WORKER)
            self.backoff.fail(time.monotonic())
            events.hub.emit(events.WorkerFailed(name, client_address, str(error)))
            raise
        if self.backoff.since is not None:
            self.backoff.succeed(time.monotonic())

    def _enters(self, task: Conversation, request: Any) -> bool:
        # First the books, so that it is counted at every moment.
        task.enter(self.books)
        place = self.door.take(task.server, request, task.client_address)
        if isinstance(place, Reason):
            self.door.note(task.server, request, task.client_address, place)
            self.door.send_away(task.server, request, task.client_address)
            task.was_not_served(place)
            return False
        task.place = place
        return True

    def _have_swept(self, task: Conversation, name: str) -> None:
        if self.sweeper.is_on:
            task.prepare_for_sweep()
            self.sweeper.call(name)
        elif name == "processes" and self.books.are_detailed:
            task.prepare_for_sweep()

    def close(self, server: Any, *, but: str) -> None:
        """Do for all engines what a mix-in does for its own, which is `but`: wait, if closing is to wait."""
        self.door.close(server)
        for name, engine in self._engines.copy().items():
            if name != but and is_on("block_on_close", server):
                engine.join_workers()
            elif name != but:
                engine.reap()
            engine.release()
        self.sweeper.rest()


class OwnRoom:
    """The attribute `_engine_room`: each server's own, made when it is first asked for.

    So it needs no `__init__` to have run, and afterwards it costs one look into the server's attributes. A
    server that is given one to share has it there.
    """

    def __get__(self, server: Any, kind: type) -> Any:
        if server is None:
            return self  # asked of the class, as `unittest.mock` does of all that there is
        # `setdefault` is one step: of two threads that come first, both get the same room.
        return vars(server).setdefault("_engine_room", EngineRoom())


class OwnBooks:
    """The attribute `connections`: a server's books, in detail from the first look on.

    Programs may have an attribute of that name themselves, which then counts.
    """

    def __get__(self, server: Any, kind: type) -> Any:
        if server is None:
            return self
        books = server._engine_room.books
        books.are_detailed = True
        return books


class OwnDraining:
    """The attribute `draining`: whether a server comes to its end, and its handlers had better do so.

    Programs may have an attribute of that name themselves, which then counts.
    """

    def __get__(self, server: Any, kind: type) -> Any:
        return self if server is None else is_draining(server)


def is_draining(server: Any) -> bool:
    """Tell whether a server drains, in its handlers' processes too."""
    room = server._engine_room
    bell = room.bell
    return room.books.is_draining or bool(
        bell is not None and bell.is_inherited() and bell.is_set()
    )


def override(server: Any) -> str | None:
    """Return the engine that the class attribute `engine` names, if any."""
    name = getattr(type(server), "engine", None)
    if not isinstance(name, str):
        return None  # the program's own attribute, which happens to have that name
    if name in ENGINES:
        return name
    _warn_about(type(server), name)
    return None


def _warn_about(kind: type, name: str) -> None:
    if kind not in _warned_about:
        _warned_about.add(kind)
        warn(
            f"{kind.__name__}.engine is {name!r}, which is none of {', '.join(ENGINES)}: ignored",
            stacklevel=3,
        )


_LIMITS = {"threads": "max_threads", "processes": "max_children", "fibers": "max_fibers"}
"""The option that is the bound of an engine, by the engine's name."""

_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "sequential": (),
    "threads": ("max_threads", "daemon_threads", "_threads"),
    "processes": ("max_children",),
    "fibers": ("max_fibers", "daemon_threads", "hub_block_time"),
}
"""The attributes of a server that an engine goes by, by the engine's name."""


def _set_up(engine: Engine, server: Any) -> None:
    """Set an engine up as the attributes of its server are now. Each connection asks, so it must be cheap."""
    names = _ATTRIBUTES[engine.name]
    attributes = [getattr(server, name, None) for name in names]
    if attributes != engine.attributes:
        engine.attributes = attributes
        _read(engine, server)


def _read(engine: Engine, server: Any) -> None:
    if engine.name in _LIMITS:
        engine.limit = setting(_LIMITS[engine.name], server)
        engine.daemon = is_on("daemon_threads", server)
    if isinstance(engine, ThreadsEngine):
        threads = getattr(server, "_threads", None)
        if isinstance(threads, Threads):
            engine.threads = threads
    elif engine.name == "fibers":
        engine.patience = setting("hub_block_time", server)


def _way_of_serving(server: Any, name: str) -> Serve:
    if name == "sequential":
        return partial(serve_and_raise, server)
    # Looked up on the server: a subclass may have overridden it, whatever engine it gets.
    return getattr(server, "process_request_thread", None) or partial(
        process_request_thread, server
    )


class _Overflow:
    """A server as those see it whom its overflow handler serves."""

    def __init__(self, server: Any, handler: Handler) -> None:
        self.handle_error = server.handle_error
        self.shutdown_request = server.shutdown_request
        self._server = server
        self._handler = handler

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection by the overflow handler."""
        self._handler(request, client_address, self._server)


def serve_and_raise(server: Any, request: Any, client_address: Any) -> None:
    """Serve a request in the caller; what the handler raises is raised."""
    server.finish_request(request, client_address)
    server.shutdown_request(request)


def opened(server: Any, request: Any, client_address: Any) -> tuple[Any, Any]:
    """Open a request that no engine of ours has had; return it and its client's address, or twice None."""
    engine = ENGINES["sequential"]()
    opening = Conversation(server, request, client_address, server.finish_request, engine)
    if not opening.is_opened():
        return None, None
    return opening.request, opening.client_address


def process_request_thread(self: Any, request: Any, client_address: Any) -> bool:
    """Serve one request in a worker of its own: what its handler raises is `handle_error`'s. A hook.

    `SystemExit` and its like are not the handler's failure, and are raised.

    Returns
    -------
    bool
        Whether the handler returned.
    """
    try:
        self.finish_request(request, client_address)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is handle_error's
        conversation = current()
        if conversation is not None:
            conversation.note_failure(error)
        # Of a failed handshake (STARTTLS) an event has told.
        if failed_connection(error) is None:
            self.handle_error(request, client_address)
        return False
    else:
        return True
    finally:
        self.shutdown_request(request)
