"""Telling systemd how a server fares, in datagrams to its socket: the protocol of sd_notify(3)."""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self

from manyhands.engines import Engine
from manyhands.model.addresses import Address
from manyhands.protocol import systemd
from manyhands.runtime.error_reports import warn


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


# A server as a service of systemd: what it says of itself between its start and its end.
#
# Only `Server.run` does so, for only there the server is what the process is for. The word that it is alive
# comes from the accept loop's own turn, and during the drain from the drain's, so that neither can hang and
# be taken for alive.

PATIENCE = 5.0
"""Seconds to wait where the manager's socket is full, for words that it waits for itself."""

EXTENSION = 10.0
"""Seconds that a drain asks for, again and again: more than it ever takes from one turn to the next, and so
little that one that hangs is killed soon, once the unit's own TimeoutStopSec= has passed."""

SAY_AGAIN = 1.0
"""Seconds between two words of a drain that goes on."""


class Serving(Protocol):
    """What a service needs of its server."""

    @property
    def addresses(self) -> Sequence[Address]:
        """Where it listens."""

    @property
    def engine(self) -> Engine:
        """What its conversations run in."""

    def reload(self) -> bool:
        """Read again what can be read again; tell whether it could be used."""


class Service:
    """A running server, told of to its service manager.

    Parameters
    ----------
    manager : ServiceManager
        Whom to tell.
    server : Server
        Of whom.
    timeout : float or None
        Seconds without a word after which the manager takes the server for dead; None: never.
    clock : callable
        Tells the time in seconds.

    Notes
    -----
    `look` is for the accept loop and `reload_soon` for signal handlers; the others are for the thread that
    runs the server.
    """

    def __init__(
        self,
        manager: ServiceManager,
        server: Serving,
        timeout: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._server = server
        self._clock = clock
        self._alive_every = None if timeout is None else timeout / 2
        self._next_alive = clock()
        self._next_word = clock()
        self._reload_is_due = False

    def ready(self) -> None:
        """Tell that clients are served from now on; a warning says it when that cannot be told."""
        where = ", ".join(map(str, self._server.addresses))
        try:
            self._manager.tell("READY=1", f"STATUS=serving on {where}", patience=PATIENCE)
        except OSError as error:
            reason = error.strerror or str(error)
            warn(
                f"the service manager cannot be told that the server is ready: {reason}",
                stacklevel=2,
            )

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._next_word = self._clock() + SAY_AGAIN
        self._tell("STOPPING=1", "STATUS=draining", _extension(), patience=PATIENCE)

    def reload_soon(self) -> None:
        """Have the next `look` reload."""
        self._reload_is_due = True

    def look(self) -> None:
        """Reload when somebody has asked for it, and tell that the accept loop turns when that is due."""
        if self._reload_is_due:
            self._reload_is_due = False
            self._reload()
        self._tell_that_it_lives()

    def draining(self) -> None:
        """Ask for more time from time to time, as long as the drain turns."""
        self._tell_that_it_lives()
        now = self._clock()
        if now >= self._next_word:
            self._next_word = now + SAY_AGAIN
            self._tell(_extension(), f"STATUS=draining: {self._server.engine.running()} left")

    def _reload(self) -> None:
        # Not earlier: a manager that has asked for it by a signal looks which is the later (`notify-reload`).
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        could_be_used = self._server.reload()
        status = "reloaded" if could_be_used else "not reloaded: the certificates cannot be used"
        self._tell("READY=1", f"STATUS={status}", patience=PATIENCE)

    def _tell_that_it_lives(self) -> None:
        now = self._clock()
        if self._alive_every is not None and now >= self._next_alive:
            self._next_alive = now + self._alive_every
            self._tell("WATCHDOG=1")

    def _tell(self, *assignments: str, patience: float = 0) -> None:
        # No client is served any worse for a manager that does not listen.
        with contextlib.suppress(OSError):
            self._manager.tell(*assignments, patience=patience)


def _extension() -> str:
    return f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}"


def service_of_environment(server: Serving) -> Service | None:
    """Return the service that a server is, when a service manager started this process and wants to hear."""
    manager = ServiceManager.of_environment()
    if manager is None:
        return None
    return Service(manager, server, systemd.watchdog_timeout(os.environ, os.getpid()))


def poll_interval(usual: float) -> float:
    """Return the seconds between two turns of a loop, often enough to tell in time that it is alive."""
    timeout = systemd.watchdog_timeout(os.environ, os.getpid())
    return usual if timeout is None else min(usual, timeout / 4)
