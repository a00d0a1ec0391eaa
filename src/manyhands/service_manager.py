"""Telling systemd how a server fares, in datagrams to its socket: the protocol of sd_notify(3)."""

import errno
import os
import socket
from collections.abc import Mapping
from typing import Self


class ServiceManager:
    """Whoever started this process and wants to hear of it. Thread-safe.

    Parameters
    ----------
    where : str
        Its socket, as ``NOTIFY_SOCKET`` has it: a path, or ``@`` and an abstract name.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    @classmethod
    def of_environment(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """Return the one that ``NOTIFY_SOCKET`` names, if any."""
        where = variables.get("NOTIFY_SOCKET")
        return cls(where) if where else None

    def tell(self, *assignments: str, patience: float = 0) -> None:
        """Send assignments, such as ``READY=1``, in one message.

        Parameters
        ----------
        *assignments
            ``NAME=value``; line ends in them become spaces.
        patience
            Seconds to wait where messages have piled up in the socket.

        Raises
        ------
        OSError
            When it cannot be told.
        """
        message = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(patience)
            sender.sendto(message.encode(errors="backslashreplace"), self._address())

    def _address(self) -> str:
        if self.where.startswith("@"):
            return "\0" + self.where[1:]
        if self.where.startswith("/"):
            return self.where
        raise OSError(
            errno.EAFNOSUPPORT, f"NOTIFY_SOCKET is {self.where!r}, neither a path nor an @name"
        )
