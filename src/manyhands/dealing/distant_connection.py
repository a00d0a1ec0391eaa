"""What stands, in a handler's process, for the connection of another one."""

from typing import Any, Protocol

from manyhands.connections.connection import Connection
from manyhands.model.connection_states import Reason


class Parent(Protocol):
    """What leads to the parent."""

    def send(self, number: int, piece: bytes) -> bool:
        """Have a piece sent to the connection of a number; return whether it is."""


class _DistantOutbox:
    """What takes pieces, in a handler's process, for the connection of another one."""

    def __init__(self, number: int, parent: Parent) -> None:
        self._number = number
        self._parent = parent
        self.is_over = False
        self.waiting = 0
        self.missed = 0

    def put(self, data: bytes) -> bool:
        """Have a piece sent by way of the parent."""
        return self._parent.send(self._number, data)

    def end(self) -> None:
        """Do nothing: it is the other process's."""


class DistantConnection(Connection):
    """Stands, in a handler's process, for the connection of another one: it can be sent to."""

    __slots__ = ()

    def __init__(self, number: int, client_address: Any, parent: Parent, own: Connection) -> None:
        super().__init__(own.server, None, client_address, None, own.engine, own.core)
        self.number = number
        self.outbox = _DistantOutbox(number, parent)

    def close(self, reason: Reason = Reason.KICKED) -> bool:  # noqa: ARG002 - as of any connection
        """Refuse.

        Raises
        ------
        RuntimeError
            It is another process's.
        """
        raise RuntimeError(
            f"a handler in a process of its own cannot close connection {self.number}, which another process "
            "serves"
        )
