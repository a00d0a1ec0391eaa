"""Which engine serves a server's connections: the mix-in's choice, or the one that `engine` names.

Works on any object that has the hooks: a mix-in may stand on a class that is none of ours.
"""

import time
import warnings
from functools import partial
from typing import Any

from manyhands.engines import ENGINES, Engine, ProcessesEngine, ThreadsEngine
from manyhands.engines.threads import Threads
from manyhands.rules import events
from manyhands.rules.accept_errors import Backoff

from .conversation import Conversation, Serve

DEFAULTS: dict[str, type] = {}
"""The class whose attributes are an engine's settings where a server has none: that engine's mix-in."""


class EngineRoom:
    """The engines of one server, each made when it is first needed."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}
        self.backoff = Backoff()
        """Grows while no worker can be had for the connections that come in."""

    @classmethod
    def of(cls, server: Any) -> "EngineRoom":
        """Return the room of `server`. Needs no `__init__` to have run; servers can be given one to share."""
        attributes = vars(server)
        if "_engine_room" not in attributes:
            attributes["_engine_room"] = cls()
        room: EngineRoom = attributes["_engine_room"]
        return room

    def engine(self, server: Any, name: str) -> Engine:
        """Return the engine called `name`, set up as `server` has its attributes now."""
        engine = self._engines.get(name)
        if engine is None:
            engine = self._engines[name] = ENGINES[name]()
        _set_up(engine, server)
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
        task = Conversation(server, request, client_address, _way_of_serving(server, name))
        if name == "sequential":
            engine.start(task)
            return
        try:
            engine.start(task)
        except (OSError, RuntimeError) as error:
            self.backoff.fail(time.monotonic())
            events.hub.emit(events.WorkerFailed(name, client_address, str(error)))
            raise
        self.backoff.succeed(time.monotonic())

    def close(self, server: Any, *, but: str) -> None:
        """Wait for the workers of all engines `but` the one that the server's mix-in waits for itself."""
        for name, engine in self._engines.items():
            # Whom the sequential engine serves has the caller's own thread, if anybody.
            if name not in {but, "sequential"} and getattr(server, "block_on_close", True):
                engine.join()


def override(server: Any) -> str | None:
    """Return the engine that the class attribute `engine` names, if any."""
    name = getattr(type(server), "engine", None)
    if not isinstance(name, str):
        return None  # the program's own attribute, which happens to have that name
    if name in ENGINES:
        return name
    warnings.warn(
        f"{type(server).__name__}.engine is {name!r}, which is none of "
        f"{', '.join(ENGINES)}: ignored",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _set_up(engine: Engine, server: Any) -> None:
    defaults = DEFAULTS.get(engine.name)
    if isinstance(engine, ThreadsEngine):
        engine.limit = _setting("max_threads", server, defaults)
        engine.daemon = _setting("daemon_threads", server, defaults)
        threads = getattr(server, "_threads", None)
        engine.threads = threads if isinstance(threads, Threads) else None
    elif isinstance(engine, ProcessesEngine):
        engine.limit = _setting("max_children", server, defaults)


def _setting(name: str, server: Any, defaults: type | None) -> Any:
    return getattr(server, name, getattr(defaults, name, None))


def _way_of_serving(server: Any, name: str) -> Serve:
    if name == "sequential":
        return partial(serve_and_raise, server)
    # Looked up on the server: a subclass may have overridden it, whatever engine it gets.
    return getattr(server, "process_request_thread", None) or partial(serve_and_report, server)


def serve_and_raise(server: Any, request: Any, client_address: Any) -> None:
    """Serve a request in the caller; what the handler raises is raised."""
    server.finish_request(request, client_address)
    server.shutdown_request(request)


def serve_and_report(server: Any, request: Any, client_address: Any) -> bool:
    """Serve a request in a worker of its own: what the handler raises is `handle_error`'s.

    `SystemExit` and its like are not the handler's failure, and are raised.
    """
    try:
        server.finish_request(request, client_address)
    except Exception:  # noqa: BLE001 - whatever a handler raises is handle_error's
        server.handle_error(request, client_address)
        return False
    else:
        return True
    finally:
        server.shutdown_request(request)
