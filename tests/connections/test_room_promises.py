"""What the documentation promises of rooms: with many senders, and with members that come, and that stall."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

import pytest

from manyhands import Reason, StreamRequestHandler
from manyhands.testing import deaf, half_close, serving, wait_until
from tests.support import read_line
from tests.support.waiting import PATIENCE

ENGINES = ("threads", "fibers")
"""The engines whose handlers share a process."""


class Room(StreamRequestHandler):
    """Joins, says so, and tells the others each line."""

    def handle(self) -> None:
        # Else the kernel would hold megabytes, before anything comes to wait in an outbox.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.join("red")
        self.wfile.write(b"welcome\n")
        for line in self.rfile:
            self.server.tell("red", line, but=self)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextmanager
def threads(*functions: Callable[[], object]) -> Iterator[None]:
    """Run functions beside the test, which ends when they have returned."""
    running = [threading.Thread(target=function) for function in functions]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        for thread in running:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def welcomed(peer: socket.socket) -> socket.socket:
    peer.settimeout(PATIENCE)
    assert read_line(peer) == b"welcome\n"
    return peer


def numbered(sender: str, count: int) -> list[bytes]:
    """Return lines whose length is told by their number, so that a torn one shows."""
    return [f"{sender} {number} {'x' * (number * 37 % 3000)}\n".encode() for number in range(count)]


def test_in_order_for_each_sender_at_most_once_and_whole(engine: str) -> None:
    said = {sender: numbered(sender, 300) for sender in ("anna", "bob", "eve")}
    with serving(Room, engine=engine, outbox=16_000_000) as under_test:
        server = under_test.server
        listeners = [welcomed(deaf(under_test.address)) for _ in range(2)]
        slow = list(server.connections.values())
        senders = {sender: welcomed(under_test.connect()) for sender in said}
        heard: list[list[bytes]] = [[] for _ in listeners]

        def listen(number: int) -> None:
            # Not before its outbox is in use: what waits is to be in order, too.
            wait_until(lambda: slow[number].waiting)
            with closing(listeners[number]), listeners[number].makefile("rb") as lines:
                heard[number] = [lines.readline() for _ in range(300 * len(said))]

        with threads(
            *(partial(listen, number) for number in range(len(listeners))),
            *(partial(senders[sender].sendall, b"".join(said[sender])) for sender in said),
        ):
            pass
    for lines in heard:
        for sender, own in said.items():
            assert [line for line in lines if line.startswith(sender.encode())] == own


def test_nothing_from_before_join(engine: str) -> None:
    returned = -1

    class Joining(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%d\n" % returned)
            self.join("red")
            self.rfile.read()

    with serving(Joining, engine=engine, outbox=8_000_000) as under_test:
        server, is_over = under_test.server, threading.Event()

        def tell() -> None:
            nonlocal returned
            for number in itertools.count():
                server.tell("red", b"%d\n" % number)
                returned = number
                if is_over.is_set():
                    return

        with threads(tell):
            try:
                for _ in range(40):
                    lines = under_test.connect().makefile("rb")
                    before, first, second = (int(lines.readline()) for _ in range(3))
                    assert before < first == second - 1
            finally:
                is_over.set()


@pytest.mark.parametrize("when_behind", ["close", "drop_oldest", "drop_new"])
def test_closed_or_counted(engine: str, when_behind: str) -> None:
    said = numbered("anna", 600)
    with serving(Room, engine=engine, outbox=50_000, when_behind=when_behind) as under_test:
        server = under_test.server
        with closing(deaf(under_test.address)) as slow:
            wait_until(lambda: server.members("red"))
            (connection,) = server.connections.values()
            told = sum(server.tell("red", line) for line in said)
            assert connection.missed
            if when_behind == "close":
                assert told < len(said)
                wait_until(lambda: not server.connections)
                assert server.connections.closed == {Reason.DID_NOT_READ: 1}
                return
            slow.settimeout(PATIENCE)
            half_close(slow)
            with slow.makefile("rb") as lines:
                assert lines.readline() == b"welcome\n"
                heard = lines.readlines()
            assert heard == [line for line in said if line in set(heard)]
            assert len(heard) == len(said) - connection.missed
            wait_until(lambda: not server.connections)
            assert server.connections.missed == connection.missed


def test_one_stalled_member_changes_nothing_for_the_others(engine: str) -> None:
    with serving(Room, engine=engine, outbox=1_000_000) as under_test:
        server = under_test.server
        with closing(deaf(under_test.address)):
            wait_until(lambda: len(server.members("red")) == 1)
            (stalled,) = server.connections.values()
            anna, bob = (welcomed(under_test.connect()).makefile("rwb") for _ in range(2))
            line = b"x" * 9_999 + b"\n"
            while not stalled.waiting:
                server.tell("red", line)
                assert anna.readline() == bob.readline() == line
            # From here on it is stalled, and has room for a hundred such lines.
            for number in range(50):
                anna.write(b"%d\n" % number)
                anna.flush()
                assert bob.readline() == b"%d\n" % number
            assert len(server.members("red")) == 3
            assert stalled.waiting
