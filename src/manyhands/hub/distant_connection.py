"""What stands, in one worker, for the connection of another one."""

from typing import Any, Protocol

from manyhands.dealing.distant_connection import DistantConnection, ServedHere
from manyhands.runtime.pending import Pending
from manyhands.serving.core import ServerCore


class Sends(Protocol):
    """What leads to the other workers."""

    def send(self, number: int, piece: bytes) -> Pending[bool]:
        """Have a piece sent to the connection of a number; the result is whether it is."""


class _Way:
    """Sends, and waits until that is done."""

    def __init__(self, others: Sends) -> None:
        self._others = others

    def send(self, number: int, piece: bytes) -> bool:
        return self._others.send(number, piece).wait()


class ConnectionElsewhere(DistantConnection):
    """Stands for the connection of another worker: it can be sent to."""

    __slots__ = ()

    def __init__(self, number: int, client_address: Any, others: Sends, core: ServerCore) -> None:
        engine = next(iter(core.engines), None) or core.engines.named("sequential")
        super().__init__(number, client_address, _Way(others), ServedHere(None, engine, core))
