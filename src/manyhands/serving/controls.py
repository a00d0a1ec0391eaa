"""What operators may ask of a server, and have it do: of a `manyhands.Server` and a drop-in class alike."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

from manyhands.config.option import Option
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

    @property
    @abc.abstractmethod
    def handler(self) -> str:
        """The name of what serves its connections."""

    @property
    @abc.abstractmethod
    def listeners(self) -> Sequence[Listener]:
        """The drop-in servers that it consists of; a drop-in server is its only one."""

    @property
    def certificates(self) -> Mapping[str, float]:
        """When each of its certificates expires, in seconds since 1970, by its file."""
        return {}

    def info(self, *, totals: bool = False) -> ServerInfo:
        """Return a snapshot without connections; `totals` as of `info_of`."""
        return info_of(
            self.core, self.listeners, certificates=self.certificates, first=0, totals=totals
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

    @abc.abstractmethod
    def begin_drain(self, timeout: float | None) -> None:
        """Stop serving, and drain in so many seconds; None: as its option says. Returns at once.

        Raises
        ------
        Mistake
            When it cannot be drained, or not now.
        """

    @abc.abstractmethod
    def reload(self) -> str:
        """Read its files again; return what was reloaded, in a word.

        Raises
        ------
        Mistake
            When there is nothing to reload, or what was read cannot be used.
        """


def name_of_handler(handler: Any) -> str:
    """Return the name of a handler class, or of whatever a server has in its place."""
    function = getattr(handler, "func", handler)  # of a `functools.partial`
    return getattr(function, "__qualname__", None) or type(function).__qualname__
