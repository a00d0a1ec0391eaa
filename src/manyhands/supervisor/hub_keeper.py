"""Keeps the process of the hub, by which workers tell each other things: made again when it has died."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping
from typing import Self

from manyhands.hub.command import hub_command, hub_listener
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.sockets import unix_socket
from manyhands.runtime.spawning import spawn
from manyhands.supervisor.backoff import Restarts
from manyhands.supervisor.polling import Polling


class HubKeeper:
    """Holds the address of the hub, and starts its process. For the thread of the supervisor's loop.

    Parameters
    ----------
    polling
        What tells that the process has ended.
    listener
        On which workers reach the hub; None makes one.
    """

    def __init__(self, polling: Polling, listener: socket.socket | None = None) -> None:
        self._polling = polling
        self._listener = hub_listener() if listener is None else listener
        name = self._listener.getsockname()
        self.address: str = name.decode("latin-1") if isinstance(name, bytes) else name
        """Where workers reach it: as long as this keeper is there, whichever process is the hub."""

        self._restarts = Restarts()
        self._began_at = 0.0
        self._due: float | None = 0.0
        self._pid = 0
        self._pidfd = -1

    def as_plain(self) -> dict[str, int]:
        """Return what another program that takes this process over needs of it, with its descriptors."""
        return {"listener": self._listener.fileno(), "pid": self._pid}

    @classmethod
    def of_plain(cls, said: Mapping[str, int], polling: Polling) -> Self:
        """Make it of that; the hub of before ends, and the workers find the new one at the same address."""
        listener = unix_socket(socket.SOCK_STREAM, said["listener"])
        listener.set_inheritable(False)
        if said["pid"]:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(said["pid"], signal.SIGKILL)
                os.waitpid(said["pid"], 0)
        return cls(polling, listener)

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that another program needs."""
        return [self._listener.fileno()]

    @property
    def pid(self) -> int:
        """The process of the hub; 0 where there is none."""
        return self._pid

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until a hub is to be started; None while one is there."""
        return None if self._due is None else max(0.0, self._due - now)

    def look(self, now: float) -> None:
        """Start a hub, if it is time to."""
        if self._due is None or self._due > now:
            return
        self._due, self._began_at = None, now
        command = hub_command(self._listener)
        try:
            # While it loads, what a terminal sends to all processes would end it.
            self._pid = spawn(command.argv, command.env, command.pass_fds, signals_wait=True)
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as error:
            print_uncaught(error)
            if self._pid:
                # Its end could not be known.
                self._kill()
                self._wait()
            self._due = now + self._restarts.pause(0.0) + 1.0
            return
        self._polling.watch(self._pidfd, lambda _: self._bury())

    def _bury(self) -> None:
        self._forget()
        now = time.monotonic()
        self._due = now + self._restarts.pause(now - self._began_at)

    def _forget(self) -> None:
        if not self._pid:
            return
        self._polling.forget(self._pidfd)
        os.close(self._pidfd)
        self._wait()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def _wait(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pid = 0

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        self._listener.close()
        if self._pid:
            # Once: a copy of the copy may have something else by that number.
            self._pid = 0
            os.close(self._pidfd)

    def close(self) -> None:
        """End the process, and give the address up: the workers have ended."""
        if self._pid:
            self._kill()
        self._forget()
        self._due = None
        self._listener.close()
