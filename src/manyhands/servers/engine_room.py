"""Which engine serves a server's connections: the mix-in's choice, or the one that `engine` names.

Works on any object that has the hooks: a mix-in may stand on a class that is none of ours.
"""

import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from manyhands.connections.books import Books
from manyhands.engines import ENGINES, Engine, ThreadsEngine
from manyhands.engines.threads import Threads
from manyhands.rules import events
from manyhands.rules.accept_errors import Backoff
from manyhands.rules.warning import warn

from .conversation import Conversation, Serve, current
from .settings import is_on, setting

if TYPE_CHECKING:
    from .bell import Bell

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

        self.bell: Bell | None = None
        """What tells forked handlers of a drain, where somebody has hung one up."""

        self.backoff = Backoff()
        """Grows while no worker can be had for the connections that come in."""

    def engine(self, server: Any, name: str) -> Engine:
        """Return the engine called `name`, set up as `server` has its attributes now."""
        engine = self._engines.get(name) or self._engines.setdefault(name, ENGINES[name]())
        _set_up(engine, server)
        self.latest = engine
        return engine

    def start(self, server: Any, chosen: str, request: Any, client_address: Any) -> None:
        """Hand a request to the engine `chosen` by its class, or to the one that overrides it.

        Raises
        ------
        OSError or RuntimeError
            When no worker could be had.
        Exception
            Whatever the handler raised, when the engine is sequential.
        """
        name = override(server) or chosen
        engine = self.engine(server, name)
        task = Conversation(server, request, client_address, _way_of_serving(server, name), engine)
        # A datagram is no connection.
        if type(request) is not tuple:
            task.enter(self.books)
        if name == "sequential":
            engine.start(task)
            return
        try:
            engine.start(task)
        except (OSError, RuntimeError) as error:
            task.found_no_worker()
            self.backoff.fail(time.monotonic())
            events.hub.emit(events.WorkerFailed(name, client_address, str(error)))
            raise
        if self.backoff.since is not None:
            self.backoff.succeed(time.monotonic())

    @property
    def engines(self) -> list[Engine]:
        """The engines that there are by now."""
        return list(self._engines.copy().values())

    def close(self, server: Any, *, but: str) -> None:
        """Do for all engines what a mix-in does for its own, which is `but`: wait, if closing is to wait."""
        for name, engine in self._engines.copy().items():
            if name != but and is_on("block_on_close", server):
                engine.join_workers()
            elif name != but:
                engine.reap()
            engine.release()


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
        if server is None:
            return self
        room = server._engine_room
        bell = room.bell
        return room.books.is_draining or bool(
            bell is not None and bell.is_elsewhere() and bell.has_rung()
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


def serve_and_raise(server: Any, request: Any, client_address: Any) -> None:
    """Serve a request in the caller; what the handler raises is raised."""
    server.finish_request(request, client_address)
    server.shutdown_request(request)


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
        self.handle_error(request, client_address)
        return False
    else:
        return True
    finally:
        self.shutdown_request(request)
