"""Servers with workers, and their clients."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterable
from typing import Any, Self

from manyhands import Server, StreamRequestHandler
from manyhands.control.client import Client
from manyhands.supervisor.fleet_view import FleetView, WorkerSeen
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ENGINES = ("threads", "fibers", "processes")
"""Those on which a worker serves several clients at once."""


class Pid(StreamRequestHandler):
    """Says each line back, with the process of the worker before it."""

    def handle(self) -> None:
        worker = os.getppid() if self.server.owner.engine.name == "processes" else os.getpid()
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (worker, line))


class Caller:
    """A client of `Pid`."""

    def __init__(self, address: Any, family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._lines = self.socket.makefile("rb")

    def ask(self, word: bytes = b"hi") -> int:
        """Return the process of the worker that answers."""
        self.socket.sendall(word + b"\n")
        return self.answer(word)

    def answer(self, word: bytes = b"hi") -> int:
        """Read an answer; return the process of the worker."""
        pid, said = self._lines.readline().split()
        assert said == word
        return int(pid)

    def ask_any(self, word: bytes) -> int:
        """Say a word to a handler that says "hi" to all of them; return the process of the worker."""
        self.socket.sendall(word + b"\n")
        return self.answer()

    def end(self) -> bytes:
        """Read to the end."""
        return self._lines.read()

    def wait_for_the_end(self) -> None:
        """Read to the end, be it a reset: what a worker had not read when it was killed causes that."""
        with contextlib.suppress(ConnectionResetError):
            assert self.end() == b""

    def close(self) -> None:
        self._lines.close()
        with contextlib.suppress(OSError):
            # A worker may be a copy of this process, which has the socket too.
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def idle_timeout_of(caller: Caller, client: Client) -> Any:
    """Return the deadline of the client that has called last, as an operator is told of it."""
    caller.ask()
    last = max(each["id"] for each in client.call("connections.list")["items"])
    return client.call("connections.get", id=last)["deadlines"]["idle_timeout"]


def callers(server: Server, count: int) -> list[Caller]:
    """Have so many clients call, each of which was answered."""
    every = [Caller(bound(server)) for _ in range(count)]
    for each in every:
        each.ask()
    return every


def close(every: Iterable[Caller]) -> None:
    for each in every:
        each.close()


def workers(server: Server) -> list[WorkerSeen]:
    """Return the workers of a server as operators see them."""
    return list(FleetView(server._sockets.fleet).workers())  # type: ignore[attr-defined]


def serving(server: Server) -> list[int]:
    """Return the processes of the workers that serve."""
    return [each.pid for each in workers(server) if each.state == "serving"]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def wait_for_another(server: Server, pid: int, count: int = 2) -> None:
    """Wait until a worker has another one in its place."""
    wait_until(lambda: pid not in serving(server) and len(serving(server)) == count)


def is_balanced(server: Server) -> bool:
    """Tell whether what was accepted is open, or closed for a reason."""
    info = server.info()
    return info.accepted == sum(info.open.values()) + sum(info.closed.values())
