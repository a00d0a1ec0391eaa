"""A service manager's end of sd_notify(3)."""

import select
import socket
from types import TracebackType
from typing import Self

from .waiting import PATIENCE


class ServiceManager:
    """Hears what a service says of itself.

    Parameters
    ----------
    where
        As ``NOTIFY_SOCKET`` has it: a path, or ``@`` and an abstract name.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + where[1:] if where.startswith("@") else where)

    def hear(self) -> dict[str, str]:
        """Wait for the next message; return its assignments."""
        self._socket.settimeout(PATIENCE)
        return _assignments(self._socket.recv(4096))

    def hear_until(self, name: str) -> list[dict[str, str]]:
        """Return the messages up to the one that assigns `name`."""
        heard = [self.hear()]
        while name not in heard[-1]:
            heard.append(self.hear())
        return heard

    def has_heard_all(self) -> bool:
        """Tell whether no message waits to be heard."""
        return not self._comes_within(0)

    def falls_silent_for(self, seconds: float) -> bool:
        """Take what has come already; tell whether nothing comes within so many seconds after it."""
        while self._comes_within(0):
            self.hear()
        return not self._comes_within(seconds)

    def _comes_within(self, seconds: float) -> bool:
        return bool(select.select([self._socket], [], [], seconds)[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()


def _assignments(message: bytes) -> dict[str, str]:
    lines = message.decode().split("\n")
    return dict(line.split("=", 1) for line in lines)  # type: ignore[misc]  # as they should be
