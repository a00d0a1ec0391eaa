"""What operators may ask of a server, and have it do: of a `manyhands.Server` and a drop-in class alike."""

import abc
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from manyhands.config.option import Option
from manyhands.config.options import DROP_IN_OPTIONS, SERVER_OPTIONS, setting
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.program_threads import Start, start_thread
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.info import ServerInfo, info_of
from manyhands.serving.request_hooks import Listener


class ServerControls(abc.ABC):
    """One server as its operators see it. Thread-safe; nothing here waits for a client, a handler or a hub.

    Parameters
    ----------
    core
        The core of the server.
    kind
        The name of the server's class.
    """

    def __init__(self, core: ServerCore, kind: str) -> None:
        self.core = core
        self.kind = kind
        self.start_thread: Start = start_thread
        """Starts a thread of the program's."""

    @property
    def is_there(self) -> bool:
        """Whether there still is such a server."""
        return True

    @property
    @abc.abstractmethod
    def handler(self) -> str:
        """The name of what serves its connections."""

    @property
    @abc.abstractmethod
    def listeners(self) -> Sequence[Listener]:
        """The drop-in servers that it consists of; a drop-in server is its only one."""

    @property
    def is_stopping(self) -> bool:
        """Whether it is to come to its end: it drains, or is about to."""
        return self.core.is_draining

    @property
    def certificates(self) -> Mapping[str, float]:
        """When each of its certificates expires, in seconds since 1970, by its file."""
        return {}

    def info(self, *, totals: bool = False) -> ServerInfo:
        """Return a snapshot without connections; `totals` as of `info_of`."""
        return info_of(
            self.core, self.listeners, certificates=self.certificates, first=0, totals=totals
        )

    def tell(self, room: str, data: bytes) -> int:
        """Send a piece of data to all members of a room; return to how many. Waits for none of them.

        Those of other workers are told by the controls of these.

        Raises
        ------
        Mistake
            When the name of the room is none, or the piece is longer than may wait for a member.
        """
        core = self.core
        return core.rooms.tell_in_process(
            room, data, core.options.outbox_terms(next(iter(self.listeners), None))
        )

    @property
    @abc.abstractmethod
    def adjustable(self) -> Mapping[str, Option]:
        """The options that may be changed while it serves, by their names."""

    @abc.abstractmethod
    def value_of(self, name: str) -> object:
        """Return what an option is now."""

    @abc.abstractmethod
    def adjust(self, values: Mapping[str, object]) -> None:
        """Change options, with the checks of a program's own assignment: all of them, or none.

        Raises
        ------
        Mistake
            When one of them is not adjustable, or its value does not fit.
        """

    def set_suspended(self, listener: Listener, value: bool) -> None:
        """Accept no client on a listener, or accept clients again."""
        core_of(listener).set_suspended(listener, value)
        self.wake()

    @abc.abstractmethod
    def wake(self) -> None:
        """Have the accept loop look at its listeners again."""

    def begin_drain(self, timeout: float | None) -> None:
        """Stop serving, and drain in so many seconds; None: as its option says. Returns at once.

        Where it drains already, it has no longer than that from now on.

        Raises
        ------
        Mistake
            When it cannot be drained, or not now.
        """
        if timeout is not None:
            DRAIN_TIMEOUT.check(timeout)
        self._drain(timeout)

    @abc.abstractmethod
    def _drain(self, timeout: float | None) -> None:
        """Do that."""

    @abc.abstractmethod
    def reload(self) -> str:
        """Read its files again; return what was reloaded, in a word.

        Raises
        ------
        Mistake
            When there is nothing to reload, or what was read cannot be used.
        """


class Controllable:
    """A server that consists of several: a base of `manyhands.Server`."""

    __slots__ = ()

    @property
    def controls(self) -> ServerControls:
        """What operators may ask of it, and have it do."""
        raise NotImplementedError


def controls_of(server: object) -> ServerControls:
    """Return what operators may ask of any server of ours, be it a mix-in of ours on another class."""
    return server.controls if isinstance(server, Controllable) else DropInControls(server)


_ADJUSTABLE = {
    name: option
    for name, option in DROP_IN_OPTIONS.items()
    if option.is_adjustable and "BaseServer" in option.owners
}

_ABSENT = object()


class DropInControls(ServerControls):
    """What operators may ask of a server of `manyhands.socketserver`, and have it do.

    Parameters
    ----------
    server
        The server.
    """

    def __init__(self, server: Any) -> None:
        super().__init__(core_of(server), type(server).__name__)
        self._handler = name_of_handler(getattr(server, "RequestHandlerClass", None))
        # A program may drop its server, which closes its socket then.
        self._find = weakref.ref(server)

    @property
    def _server(self) -> Any:
        server = self._find()
        if server is None:
            raise Mistake(f"the program has dropped its {self.kind}")
        return server

    @property
    def is_there(self) -> bool:
        """Whether the program has not dropped it."""
        return self._find() is not None

    @property
    def handler(self) -> str:
        """The name of what serves its connections."""
        return self._handler

    @property
    def listeners(self) -> Sequence[Listener]:
        """The server itself."""
        server: Any = self._find()
        return () if server is None else (server,)

    @property
    def adjustable(self) -> Mapping[str, Option]:
        """The options that may be changed while it serves."""
        return _ADJUSTABLE

    def value_of(self, name: str) -> object:
        """Return what an option is now."""
        value: object = setting(name, self._server)
        return value

    def adjust(self, values: Mapping[str, object]) -> None:
        """Change options, all or none: they are attributes of the server."""
        for name, value in values.items():
            if name not in _ADJUSTABLE:
                raise Mistake(f"{name} cannot be changed while the server serves")
            _ADJUSTABLE[name].check(value)
        before = {name: vars(self._server).get(name, _ABSENT) for name in values}
        try:
            for name, value in values.items():
                setattr(self._server, name, value)
        except Exception as error:
            self._put_back(before)
            raise Mistake(f"the program's own class refuses that: {error}") from error
        self.core.options.changed()
        self.wake()

    def _put_back(self, before: Mapping[str, object]) -> None:
        own = vars(self._server)
        for name, value in before.items():
            if value is _ABSENT:
                own.pop(name, None)
            else:
                own[name] = value

    def wake(self) -> None:
        """Have the accept loops look at their listener again."""
        self.core.loops.wake()

    def _drain(self, timeout: float | None) -> None:
        # As the program's own call does it, which goes on after its `serve_forever`.
        drain = getattr(self._server, "drain", None)
        if drain is None:
            raise Mistake(f"{self.kind} cannot be drained: its accept loop is the program's own")
        self.start_thread(drain if timeout is None else partial(drain, timeout))

    def reload(self) -> str:
        """Refuse to: a program's own class keeps its files itself."""
        raise Mistake(f"there is nothing to reload: {self.kind} keeps its certificates itself")


DRAIN_TIMEOUT = SERVER_OPTIONS["drain_timeout"]


def name_of_handler(handler: Any) -> str:
    """Return the name of a handler class, or of whatever a server has in its place."""
    function = getattr(handler, "func", handler)  # of a `functools.partial`
    return getattr(function, "__qualname__", None) or type(function).__qualname__
