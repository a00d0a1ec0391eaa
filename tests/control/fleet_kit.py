"""A small fleet: real processes with a real server each, which a supervisor's control socket asks."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manyhands import Server, StreamRequestHandler, socketserver
from manyhands.connections import connection as connections
from manyhands.control.client import Client
from manyhands.control.fleet import Done, WorkerSeen
from manyhands.control.sockets import control_sockets
from manyhands.serving.controls import ServerControls, controls_of
from manyhands.testing import call, read_line, running
from tests.support import bound, wait_until
from tests.support.processes import stop
from tests.support.programs import environment
from tests.support.waiting import PATIENCE

PLACES_EACH = 1000
"""The connections of worker 2 have the numbers from 2001 on, as their supervisor would deal them."""


class Member(StreamRequestHandler):
    """Joins the rooms that it is told to, and says each line back."""

    def handle(self) -> None:
        for line in self.rfile:
            word, _, rest = line.decode().strip().partition(" ")
            if word == "join":
                self.join(rest)
            self.wfile.write(line)


def work() -> None:
    """Be a worker: the server of a process that was started with its number and its descriptor."""
    kind, *numbers = sys.argv[1:]
    number, descriptor = map(int, numbers)
    connections._numbers = itertools.count(PLACES_EACH * number + 1)
    control = socket.socket(fileno=descriptor)
    if kind == "Server":
        with Server(Member, "tcp://127.0.0.1:0", engine="threads", drain_timeout=1.0) as server:
            _be_asked(server.controls, control, bound(server))
    else:
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Member) as dropin, running(dropin):
            _be_asked(controls_of(dropin), control, dropin.server_address)


def _be_asked(controls: ServerControls, control: socket.socket, address: Any) -> None:
    leave = control_sockets.enter_connected(controls, control)
    print(*address, flush=True)
    sys.stdin.read()
    leave()


@dataclass
class Worker:
    """A worker as its supervisor has it."""

    number: int
    kind: str = "Server"
    generation: int = 1
    state: str = "serving"
    open: int = 0
    begun: int = 0
    restarts: int = 0
    began_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from tests.control.fleet_kit import work; work()",
                    self.kind,
                    str(self.number),
                    str(theirs.fileno()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[theirs.fileno()],
                env=environment(),
            )
        self.pid = self.process.pid
        self._callers: list[socket.socket] = []

    def wait_until_it_serves(self) -> None:
        assert self.process.stdout is not None
        host, port = self.process.stdout.readline().split()
        self.address = host, int(port)

    def call(self, *lines: bytes) -> socket.socket:
        """Call it, and say some lines."""
        peer = call(self.address)
        self._callers.append(peer)
        for line in lines or (b"hello\n",):
            peer.sendall(line)
            read_line(peer)
        return peer

    def hang_up(self) -> None:
        while self._callers:
            self._callers.pop().close()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        stop(self.pid)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)

    def end(self) -> None:
        self.hang_up()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate("", PATIENCE)
        self.control.close()


class SmallFleet:
    """Some workers; what becomes of them is the test's."""

    def __init__(self, count: int) -> None:
        self.members = [Worker(number) for number in range(1, count + 1)]
        for each in self.members:
            each.wait_until_it_serves()
        self.asked: list[tuple[object, ...]] = []
        self.say: Callable[[Done], object] = lambda done: done(None)

    def workers(self) -> Sequence[WorkerSeen]:
        return list(self.members)

    def control_of(self, worker: WorkerSeen) -> socket.socket | None:
        return next(each.control for each in self.members if each.pid == worker.pid)

    def give_back(self, worker: WorkerSeen, control: socket.socket | None) -> None:
        raise NotImplementedError

    def when_recalled(self, act: Callable[[bool], object]) -> None:
        """Do nothing: there is no upgrade."""

    def adjust(self, values: Mapping[str, object]) -> None:
        """Do nothing: who asks tells those that come later."""

    def upgrade(self, done: Done) -> None:
        raise NotImplementedError

    def worker_of(self, place: int) -> WorkerSeen | None:
        number = place // PLACES_EACH
        return next((each for each in self.members if each.number == number), None)

    def generation(self) -> int:
        return max(each.generation for each in self.members)

    def reload(self, done: Done) -> None:
        self.asked.append(("reload",))
        self.say(done)

    def restart(self, number: int | None, done: Done) -> None:
        self.asked.append(("restart", number))
        self.say(done)

    def scale(self, count: int, done: Done) -> None:
        self.asked.append(("scale", count))
        self.say(done)

    def replace(self, number: int) -> Worker:
        """Start a worker in a slot whose worker has ended."""
        made = Worker(number, restarts=1)
        made.wait_until_it_serves()
        self.members = [made if each.number == number else each for each in self.members]
        return made


class Supervised:
    """A supervisor's control socket, and clients of that."""

    def __init__(self, fleet: SmallFleet, server: Server, place: str) -> None:
        self.fleet = fleet
        self.server = server
        self.place = place
        self.client = Client(place)

    def hang_up(self) -> None:
        """End all connections of clients, and wait for it."""
        for worker in self.fleet.members:
            worker.hang_up()
        wait_until(lambda: not self.client.call("connections.list")["total"])


@contextmanager
def supervised(folder: Path, count: int, name: str = "supervisor.sock") -> Iterator[Supervised]:
    """Have a supervisor's control socket with so many workers."""
    fleet = SmallFleet(count)
    server = Server(Member, "tcp://127.0.0.1:0", drain_timeout=1.0)
    place = str(folder / name)
    try:
        with server:
            leave = control_sockets.enter(server.controls, place, None, fleet)
            try:
                made = Supervised(fleet, server, place)
                with made.client:
                    yield made
            finally:
                leave()
    finally:
        for worker in fleet.members:
            worker.end()
