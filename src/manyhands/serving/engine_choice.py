"""Which engine serves the next connection of a server, and the engines that it has by now."""

import weakref
from collections.abc import Callable, Iterator

from manyhands.config.options import by_engine, is_on, setting
from manyhands.engines import ENGINES, Engine, ProcessesEngine, SequentialEngine, ThreadsEngine
from manyhands.engines.threads import Threads
from manyhands.runtime.error_reports import warn

_warned_about: "weakref.WeakSet[type]" = weakref.WeakSet()
"""Classes whose `engine` is none: once is enough, for the name is looked at again and again."""


class EngineChoice:
    """The engines of a server, and the choice among them. Thread-safe.

    Parameters
    ----------
    chosen : str
        The engine that the server's class chooses.
    made : dict
        The engines that were needed so far, by name: the same for all listeners of one server.
    on_made : callable
        Called with each engine that is made.
    """

    def __init__(
        self, chosen: str, made: dict[str, Engine], on_made: Callable[[Engine], object]
    ) -> None:
        self.chosen = chosen
        self._on_made = on_made
        self._made = made
        self.latest: Engine | None = None
        """The engine that was asked for last."""

        self.sequential: SequentialEngine | None = None
        """The engine of that name, once it was asked for."""

    def __iter__(self) -> Iterator[Engine]:
        """Return the engines that were needed so far."""
        return iter(tuple(self._made.copy().values()))

    def of(self, server: object, chosen: str | None = None) -> Engine:
        """Return the engine that the next connection goes to, set up as the server's attributes say now.

        `chosen` is what a mix-in chooses, in place of the server's class; its attribute `engine` overrides
        both.
        """
        name = getattr(type(server), "engine", None)
        if name is None:
            name = chosen or self.chosen
            if name == "sequential" and self.sequential is not None:
                self.latest = self.sequential
                return self.sequential  # it goes by no attributes
        elif not (isinstance(name, str) and (name in ENGINES or name in self._made)):
            _warn_about(type(server), name)
            name = chosen or self.chosen
        engine = self.named(name)
        # Each connection asks, and a program may change its bounds at any time: so this must be cheap.
        attributes = [getattr(server, each, None) for each in _ENGINE_ATTRIBUTES.get(name, ())]
        if attributes != engine.attributes:
            engine.attributes = attributes
            _set_up(engine, server)
        self.latest = engine
        if isinstance(engine, SequentialEngine):
            self.sequential = engine
        return engine

    def named(self, name: str) -> Engine:
        """Return the engine of that name, made when it is first asked for."""
        engine = self._made.get(name)
        if engine is None:
            engine = self._made.setdefault(name, ENGINES[name]())
            self._on_made(engine)
        return engine

    def have(self, engine: Engine) -> None:
        """Have one more engine, made elsewhere, which a class chooses by its name."""
        self._made[engine.name] = engine

    @property
    def processes(self) -> ProcessesEngine:
        """The engine `processes`, whose children are `active_children`, even where another one serves."""
        engine = self.named("processes")
        assert isinstance(engine, ProcessesEngine)  # noqa: S101 - tells the type checker
        return engine

    def is_overridden(self, server: object, chosen: str) -> bool:
        """Tell whether the class chooses `sequential`, and `manyhands run --engine` says another."""
        return chosen == self.chosen == "sequential" and _is_forced(type(server))


def _is_forced(kind: type) -> bool:
    """Tell whether a class has its engine from one of ours, as `manyhands run --engine` sets it there."""
    if getattr(kind, "engine", None) is None:
        return False  # as of nearly all, and each call of `handle_request` asks
    said_by = next((each for each in kind.__mro__ if "engine" in vars(each)), None)
    return said_by is not None and said_by.__module__.partition(".")[0] in _OUR_MODULES


_OUR_MODULES = {__name__.partition(".")[0], "socketserver"}
"""The first parts of the names that our classes' modules have, `manyhands.install` or not."""


def _warn_about(kind: type, name: object) -> None:
    # One that is no text is the program's own attribute, which happens to have that name.
    if isinstance(name, str) and kind not in _warned_about:
        _warned_about.add(kind)
        warn(
            f"{kind.__name__}.engine is {name!r}, which is none of {', '.join(ENGINES)}: ignored",
            stacklevel=3,
        )


_ENGINE_ATTRIBUTES = {name: by_engine(name) for name in ENGINES}
"""The attributes of a server that an engine goes by, by the engine's name; its bound is the first."""

_ENGINE_ATTRIBUTES["threads"] += ("_threads",)


def _set_up(engine: Engine, server: object) -> None:
    """Set an engine up as the attributes of its server are now."""
    if engine.name != "sequential":
        engine.limit = setting(_ENGINE_ATTRIBUTES[engine.name][0], server)
        engine.daemon = is_on("daemon_threads", server)
    if isinstance(engine, ThreadsEngine):
        threads = getattr(server, "_threads", None)
        if isinstance(threads, Threads):
            engine.threads = threads
    elif engine.name == "fibers":
        engine.hub_block_time = setting("hub_block_time", server)
