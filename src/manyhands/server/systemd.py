"""A server as a service of systemd: it reports its state in datagrams, by the protocol of sd_notify(3).

Only `Server.run` does so, for only there the server is what the process is for. The message that it is alive
comes from the accept loop's own turn, and during the drain from the drain's, so neither can hang and be taken
for alive.
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from manyhands.engines import Engine
from manyhands.model.addresses import Address
from manyhands.protocol import systemd
from manyhands.runtime.error_reports import warn

MESSAGE_TIMEOUT = 5.0
"""Seconds to wait while the manager's socket is full, with messages that the manager itself waits for."""

EXTENSION = 10.0
"""Seconds that a drain asks for, again and again: longer than any of its turns, and so short that a drain
that hangs is killed soon after the unit's own TimeoutStopSec= has passed."""

EXTENSION_INTERVAL = 1.0
"""Seconds between two such requests of one drain."""


class ServiceManager:
    """The service manager that started this process, and its socket for messages. Thread-safe.

    Parameters
    ----------
    where : str
        Its socket, as ``NOTIFY_SOCKET`` has it: a path, or ``@`` and an abstract name.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def tell(self, *assignments: str, timeout: float = 0) -> None:
        """Send assignments, such as ``READY=1``, in one message.

        Parameters
        ----------
        *assignments
            ``NAME=value``; line ends in them become spaces.
        timeout
            Seconds to wait while the socket is full of messages.

        Raises
        ------
        OSError
            When the message cannot be sent.
        """
        # A line end in a value would begin another assignment: a path may contain one.
        message = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(timeout)
            sender.sendto(message.encode(errors="backslashreplace"), self._address())

    def _address(self) -> str:
        if self._where.startswith("@"):
            return "\0" + self._where[1:]  # the abstract namespace (unix(7))
        if self._where.startswith("/"):
            return self._where
        raise OSError(
            errno.EAFNOSUPPORT, f"NOTIFY_SOCKET is {self._where!r}, neither a path nor an @name"
        )


class ServerOfService(Protocol):
    """What a service needs of its server."""

    @property
    def addresses(self) -> Sequence[Address]:
        """The addresses of its listeners."""

    @property
    def engine(self) -> Engine:
        """The engine that runs its handlers."""

    def reload_then(self, done: Callable[[str | None], object]) -> None:
        """Reload; tell `done` the outcome, now or later: a sentence why it failed, or None."""


class Service:
    """A running server that reports to its service manager.

    Parameters
    ----------
    manager : ServiceManager
        The manager.
    server : ServerOfService
        The server.
    timeout : float or None
        Seconds of silence after which the manager takes the server for dead (WatchdogSec=); None: never.
    clock : callable
        The time in seconds; it never goes back.

    Notes
    -----
    `look` is for the accept loop and `reload_soon` for signal handlers; the others are for the thread that
    runs the server.
    """

    def __init__(
        self,
        manager: ServiceManager,
        server: ServerOfService,
        timeout: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._server = server
        self._clock = clock
        # Half of the time, as sd_watchdog_enabled(3) recommends.
        self._alive_every = None if timeout is None else timeout / 2
        self._next_alive = clock()
        self._next_extension = clock()
        self._reload_is_due = False

    def ready(self) -> None:
        """Report that clients are served from now on; warn when the manager cannot be told."""
        where = ", ".join(map(str, self._server.addresses))
        try:
            self._manager.tell("READY=1", f"STATUS=serving on {where}", timeout=MESSAGE_TIMEOUT)
        except OSError as error:
            reason = error.strerror or str(error)
            warn(
                f"the service manager cannot be told that the server is ready: {reason}",
                stacklevel=2,
            )

    def stopping(self) -> None:
        """Report that the drain begins."""
        self._next_extension = self._clock() + EXTENSION_INTERVAL
        self._tell("STOPPING=1", "STATUS=draining", _extension(), timeout=MESSAGE_TIMEOUT)

    def reload_soon(self) -> None:
        """Have the next `look` reload."""
        self._reload_is_due = True

    def look(self) -> None:
        """Reload if that was asked for, and report that the accept loop turns when that is due."""
        if self._reload_is_due:
            self._reload_is_due = False
            self._reload()
        self._tell_that_it_lives()

    def draining(self) -> None:
        """Ask for more time, now and then, at the turns of the drain."""
        self._tell_that_it_lives()
        now = self._clock()
        if now >= self._next_extension:
            self._next_extension = now + EXTENSION_INTERVAL
            self._tell(_extension(), f"STATUS=draining: {self._server.engine.running()} left")

    def _reload(self) -> None:
        # Not in the signal handler: with Type=notify-reload systemd wants a MONOTONIC_USEC= that is later
        # than its own SIGHUP (systemd.service(5)).
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._server.reload_then(self._tell_of_reload)

    def _tell_of_reload(self, failure: str | None) -> None:
        status = "reloaded" if failure is None else f"not reloaded: {failure}"
        self._tell("READY=1", f"STATUS={status}", timeout=MESSAGE_TIMEOUT)

    def _tell_that_it_lives(self) -> None:
        now = self._clock()
        if self._alive_every is not None and now >= self._next_alive:
            self._next_alive = now + self._alive_every
            self._tell("WATCHDOG=1")

    def _tell(self, *assignments: str, timeout: float = 0) -> None:
        # Clients are served no worse while the manager does not listen.
        with contextlib.suppress(OSError):
            self._manager.tell(*assignments, timeout=timeout)


def _extension() -> str:
    return f"EXTEND_TIMEOUT_USEC={EXTENSION * 1e6:.0f}"


def service_of_environment(server: ServerOfService) -> Service | None:
    """Return the service that reports for a server; None when no manager has set ``NOTIFY_SOCKET``."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return None
    timeout = systemd.watchdog_timeout(os.environ, os.getpid())
    return Service(ServiceManager(where), server, timeout)


def poll_interval(usual: float) -> float:
    """Return the seconds between two turns of a loop, short enough to report in time that it is alive."""
    timeout = systemd.watchdog_timeout(os.environ, os.getpid())
    return usual if timeout is None else min(usual, timeout / 4)
