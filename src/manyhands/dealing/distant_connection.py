"""What stands, in one process of a server, for the connection of another one."""

from typing import Any, NamedTuple, Protocol

from manyhands.connections.connection import Connection, Core
from manyhands.engines import Engine
from manyhands.model.connection_states import Reason


class Way(Protocol):
    """What leads to the other process."""

    def send(self, number: int, piece: bytes) -> bool:
        """Have a piece sent to the connection of a number; return whether it is."""


class _DistantOutbox:
    """What takes pieces, in one process, for the connection of another one."""

    def __init__(self, number: int, way: Way) -> None:
        self._number = number
        self._way = way
        self.is_over = False
        self.waiting = 0
        self.missed = 0

    def put(self, data: bytes) -> bool:
        """Have a piece sent by that way."""
        return self._way.send(self._number, data)

    def miss(self, count: int) -> None:
        """Count pieces that were dropped before they came here."""
        self.missed += count

    def end(self) -> None:
        """Do nothing: it is the other process's."""


class ServedHere(NamedTuple):
    """What a connection of this process has, and one that stands for another process's seems to have."""

    server: Any
    engine: Engine
    core: Core


class DistantConnection(Connection):
    """Stands, in one process, for the connection of another one: it can be sent to."""

    __slots__ = ()

    def __init__(self, number: int, client_address: Any, way: Way, of: ServedHere) -> None:
        super().__init__(of.server, None, client_address, None, of.engine, of.core)
        self.number = number
        self.outbox = _DistantOutbox(number, way)

    def close(self, reason: Reason = Reason.KICKED) -> bool:  # noqa: ARG002 - as of any connection
        """Refuse.

        Raises
        ------
        RuntimeError
            It is another process's.
        """
        raise RuntimeError(
            f"connection {self.number} cannot be closed here: another process serves it, and only the "
            "program itself can close it, in the worker that has it"
        )
