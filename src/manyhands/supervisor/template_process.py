"""The supervisor's side of a template: how it is started, and asked for workers."""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import system_fork
from manyhands.runtime.sockets import has_hung_up, unix_pair, unix_socket
from manyhands.runtime.spawning import spawn
from manyhands.workers.records import VERSION
from manyhands.workers.role import OF_PROGRAM, VARIABLE
from manyhands.workers.share import Share
from manyhands.workers.template import MOST_DESCRIPTORS, MOST_MESSAGE

_OF_SUPERVISOR = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID"),
)
"""What a service manager has told the supervisor alone (sd_notify(3), sd_listen_fds(3))."""


class Starter(Protocol):
    """What starts the process of a template."""

    def start(self, channel: socket.socket, here: socket.socket) -> int:
        """Start it with its end of the channel, whose other end is this process's; return its id."""


class SameCommand:
    """Starts the command of this process once more, with the code that is on disk now.

    Parameters
    ----------
    only_to_look
        Whether it is to tell only whether it could be a template, and to end then.
    """

    def __init__(self, *, only_to_look: bool = False) -> None:
        self._only_to_look = only_to_look

    def start(self, channel: socket.socket, here: socket.socket) -> int:  # noqa: ARG002 - closed by exec
        """Start it with its end of the channel; return its id."""
        environment = {
            name: value for name, value in os.environ.items() if name not in _OF_SUPERVISOR
        }
        environment[VARIABLE] = json.dumps(
            {
                "version": VERSION,
                "channel": channel.fileno(),
                "only_to_look": self._only_to_look,
            }
        )
        return spawn([sys.executable, *sys.orig_argv[1:]], environment, [channel.fileno()])


class Program:
    """Starts a program under our launcher, as a template.

    Parameters
    ----------
    command
        What runs it: the interpreter, and all that follows.
    environment
        The program's.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment

    def start(self, channel: socket.socket, here: socket.socket) -> int:  # noqa: ARG002 - closed by exec
        """Start it with its end of the channel; return its id."""
        said = {"version": VERSION, "channel": channel.fileno(), OF_PROGRAM: True}
        environment = {
            name: value for name, value in self._environment.items() if name not in _OF_SUPERVISOR
        }
        environment[VARIABLE] = json.dumps(said)
        return spawn(self._command, environment, [channel.fileno()])


class CopyOfThis:
    """Forks this process as it is, for a program that cannot be started once more.

    Parameters
    ----------
    become
        Called in the copy, as the template; it never returns.
    """

    def __init__(self, become: Callable[[socket.socket], object]) -> None:
        self._become = become

    def start(self, channel: socket.socket, here: socket.socket) -> int:
        """Fork it with its end of the channel; return its id."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        pid = system_fork()
        if not pid:
            try:
                here.close()
                for name in _OF_SUPERVISOR:
                    os.environ.pop(name, None)
                self._become(channel)
            finally:
                os._exit(1)
        return pid


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors, those that are closed by now too."""
    for each in descriptors:
        with contextlib.suppress(OSError):
            os.close(each)


class TemplateProcess:
    """A template that was started. For the thread of the supervisor's loop.

    Raises
    ------
    OSError
        When there is no process, or no descriptor.
    """

    def __init__(self, starter: Starter) -> None:
        self.about: Mapping[str, Any] = {}
        """What it has told of the program; empty until it is ready."""

        self.failure = ""
        """Why there will be no worker of it, if it has told."""

        self.is_garbled = False
        """Whether it has told what cannot be read."""

        self._channel, there = unix_pair(socket.SOCK_SEQPACKET)
        try:
            self._channel.setblocking(False)
            self.pid = starter.start(there, self._channel)
        except BaseException:
            self._channel.close()
            raise
        finally:
            there.close()
        self.pidfd = os.pidfd_open(self.pid)
        self.began_at = time.monotonic()

    def as_plain(self) -> dict[str, Any]:
        """Return what another program that takes this process over needs of it, with its descriptors."""
        return {
            "pid": self.pid,
            "pidfd": self.pidfd,
            "channel": self._channel.fileno(),
            "began_at": self.began_at,
            "about": self.about,
        }

    @classmethod
    def of_plain(cls, said: Mapping[str, Any]) -> Self:
        """Make it of that, in the program that takes over."""
        template = cls.__new__(cls)
        template.about, template.failure, template.is_garbled = said["about"], "", False
        template.pid, template.pidfd = said["pid"], said["pidfd"]
        template.began_at = said["began_at"]
        if said["channel"] < 0:  # it is to end
            template._channel = unix_socket(socket.SOCK_SEQPACKET)
            template._channel.close()
        else:
            template._channel = unix_socket(socket.SOCK_SEQPACKET, said["channel"])
            template._channel.setblocking(False)
        return template

    @property
    def descriptors(self) -> list[int]:
        """All descriptors that this process has of it."""
        return [self.pidfd, self._channel.fileno()]

    @property
    def is_ready(self) -> bool:
        """Whether it can be asked for workers."""
        return bool(self.about)

    @property
    def has_threads(self) -> bool:
        """Whether the program has started threads, so that it cannot be forked safely."""
        return int(self.about.get("threads", 1)) > 1

    def fileno(self) -> int:
        """Return the descriptor of the channel, which is readable when it tells something."""
        return self._channel.fileno()

    def hear(self) -> Sequence[tuple[Mapping[str, Any], Sequence[int]]]:
        """Return what it has told, with the descriptors that have come.

        From what makes no sense on it is `is_garbled`, and comes to its end.
        """
        told: list[tuple[Mapping[str, Any], Sequence[int]]] = []
        while not self.is_garbled:
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    self._channel, MOST_MESSAGE, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                )
            except OSError:
                break
            if not message:
                break
            try:
                said = self._read(message)
            except Exception as error:  # noqa: BLE001 - whatever makes no sense in what it has told
                close_all(descriptors)
                self.distrust(error)
                break
            told.append((said, descriptors))
        return told

    def _read(self, message: bytes) -> Mapping[str, Any]:
        said: Mapping[str, Any] = json.loads(message)
        kind = said["kind"]
        if kind == "ready":
            int(said["threads"])
            self.about = said
        elif kind == "failed":
            self.failure = str(said["sentence"])
        return said

    def distrust(self, error: Exception) -> None:
        """Listen to it no more, and end it: what it has told cannot be read."""
        self.is_garbled = True
        self.failure = f"the template has told what cannot be read: {type(error).__name__}: {error}"
        print_uncaught(error)
        self.kill()

    def answer(self, told: Mapping[str, Any], *descriptors: int) -> None:
        """Answer what it has asked.

        Raises
        ------
        OSError
            When it takes nothing.
        """
        message = json.dumps(told).encode()
        if descriptors:
            socket.send_fds(self._channel, [message], descriptors)
        else:
            self._channel.send(message)

    def ask_for(self, share: Share) -> None:
        """Have it fork a worker; of a program with threads, have it become one.

        Raises
        ------
        OSError
            When it takes nothing: it has ended, or hangs.
        """
        kind = "become" if self.has_threads else "fork"
        message = json.dumps({**share.as_plain(), "kind": kind}).encode()
        socket.send_fds(self._channel, [message], share.descriptors)

    def wait(self) -> int:
        """Return its exit status; it has ended."""
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(self.pid, 0)
            return os.waitstatus_to_exitcode(status)
        return 0

    def has_hung_up(self) -> bool:
        """Tell whether it tells nothing more."""
        descriptor = self._channel.fileno()
        return descriptor >= 0 and has_hung_up(descriptor)

    def kill(self) -> None:
        """End its process."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def release(self) -> None:
        """Have it end: nothing more is asked of it. Its process is waited for still."""
        self._channel.close()

    def close(self) -> None:
        """Give back all that this process has of it: it has ended."""
        self._channel.close()
        os.close(self.pidfd)
