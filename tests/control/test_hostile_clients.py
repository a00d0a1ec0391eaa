"""Clients of the control socket that mean harm, or know no better: all others go on as ever."""

import contextlib
import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from manyhands.control.client import Client, Refused
from manyhands.testing import read_line
from tests.support import bound, call, everything, run_python, wait_until
from tests.support.waiting import PATIENCE

from .conftest import Controlled, ControlledServer

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture(autouse=True)
def without_a_word(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """See that nothing that clients do is an error of the server's."""
    yield
    assert capfd.readouterr().err == ""


STACKS = b'{"jsonrpc":"2.0","id":1,"method":"stacks"}\n'


def stay_silent(peer: socket.socket) -> None:
    """Do nothing."""


def ask_and_never_read(peer: socket.socket) -> None:
    peer.sendall(STACKS)


def send_garbage(peer: socket.socket) -> None:
    peer.sendall(random.Random(7).randbytes(10_000))


def send_half_a_line(peer: socket.socket) -> None:
    peer.sendall(STACKS[:20])


def send_a_line_without_an_end(peer: socket.socket) -> None:
    peer.sendall(b"[" * 30_000)


def watch_and_never_read(peer: socket.socket) -> None:
    params = {"what": ["stats", "events"], "every": 0.1}
    request = {"jsonrpc": "2.0", "id": 1, "method": "watch", "params": params}
    peer.sendall(json.dumps(request).encode() + b"\n")


def watch_and_pipeline(peer: socket.socket) -> None:
    watch_and_never_read(peer)
    peer.sendall(STACKS * 300)


def half_close(peer: socket.socket) -> None:
    peer.sendall(STACKS)
    peer.shutdown(socket.SHUT_WR)


HABITS = (
    stay_silent,
    ask_and_never_read,
    send_garbage,
    send_half_a_line,
    send_a_line_without_an_end,
    watch_and_never_read,
    watch_and_pipeline,
    half_close,
)


@contextmanager
def again_and_again(
    server: ControlledServer, habit: Callable[[socket.socket], None]
) -> Iterator[None]:
    """Have three threads connect, do something bad as fast as they can, and go."""
    is_over = threading.Event()

    def misbehave() -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError), call(server.place) as peer:
                peer.setblocking(False)
                for _ in range(20):
                    habit(peer)

    threads = [threading.Thread(target=misbehave) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def echoes(server: ControlledServer, count: int) -> None:
    """See that a client of the server itself gets every answer."""
    with call(bound(server.server)) as peer:
        for number in range(count):
            line = f"line {number}\n".encode()
            peer.sendall(line)
            assert read_line(peer) == line


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.__name__)
def test_clients_and_operators_are_served_beside_it(
    controlled: Controlled, habit: Callable[[socket.socket], None]
) -> None:
    with controlled(engine="fibers") as server:
        client = server.client()
        with again_and_again(server, habit):
            for _ in range(5):
                echoes(server, 20)
                assert client.call("connections.list")["open"] >= 0
        assert client.call("status")["servers"][0]["closed"].keys() <= {"peer_closed"}


def test_a_thousand_clients_at_once_are_told_or_served(controlled: Controlled) -> None:
    with controlled() as server, ExitStack() as stack:
        client = server.client()
        peers = []
        for _ in range(1000):
            peer = socket.socket(socket.AF_UNIX)
            stack.enter_context(peer)
            # Without a timeout: for such a socket a full backlog is an error, and no wait (connect(2)).
            peer.connect(server.place)
            peer.settimeout(PATIENCE)
            peers.append(peer)
        # Those beyond the bound have their sentence, and are closed.
        told = [everything(peer) for peer in peers[100:]]
        assert all(b"64 clients are here" in each for each in told)
        assert client.call("status")["process"]["descriptors"] < 1300
        echoes(server, 20)
        for peer in peers:
            peer.close()
        wait_until(lambda: _hello(server.place))
        assert client.call("status")["books"]["open"] == 0


def _hello(place: str) -> bool:
    with call(place) as peer:
        return b'"hello"' in read_line(peer)


OUT_OF_DESCRIPTORS = """
    import os, sys
    from manyhands import Server
    from manyhands.control.client import Client
    from tests.support import Echo, bound, call, read_line
    from tests.support.descriptors import none_left
    from tests.support.waiting import wait_until

    place = f"@manyhands-test-{os.getpid()}"
    with Server(Echo, "tcp://127.0.0.1:0", engine=sys.argv[1], control=place) as server:
        with call(bound(server)) as peer, Client(place) as client, Client(place) as first:
            peer.sendall(b"hello\\n")
            read_line(peer)
            first.call("status")
            with none_left() as held:
                # One for the client's own end of one more connection.
                os.close(held.pop())
                with Client(place) as late:
                    status = late.call("status")
                    print(status["books"]["open"], status["process"]["rss"] > 0)
                    [row] = late.call("connections.list")["items"]
                    print(late.call("connections.get", id=row["id"])["state"])
                    print(late.call("stacks")["total"])
                print(client.call("status")["books"]["open"])
"""


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_operators_are_answered_when_no_descriptor_is_left(engine: str) -> None:
    assert run_python(OUT_OF_DESCRIPTORS, engine) == "1 True\nopen\n1\n1\n"


STRANGERS = """
    import os, socket, sys
    from manyhands import Server
    from manyhands.control.client import Client
    from tests.support import Echo, everything
    from tests.support.descriptors import none_left

    place = f"@manyhands-test-{os.getpid()}"
    with Server(Echo, "tcp://127.0.0.1:0", control=place), Client(place) as first:
        with none_left() as held:
            os.close(held.pop())
            # The descriptor in reserve for clients is its now.
            with Client(place) as second:
                for _ in range(5):
                    child = os.fork()
                    if child == 0:
                        for descriptor in held:
                            os.close(descriptor)
                        os.setuid(65534)
                        with socket.socket(socket.AF_UNIX) as peer:
                            peer.connect(f"\\0{place[1:]}")
                            os._exit(b"not for 65534" not in everything(peer))
                    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), end=" ")
                for client in (first, second):
                    print(client.call("status")["books"]["open"], end=" ")
                os.close(held.pop())
                # An operator has the place of another one.
                with Client(place) as third:
                    print(third.call("status")["process"]["descriptors"] > 0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_out_of_descriptors_no_operator_goes_for_a_stranger() -> None:
    assert run_python(STRANGERS) == "0 0 0 0 0 0 0 True\n"


def test_no_child_is_stuck_that_is_forked_while_operators_are_answered(
    controlled: Controlled,
) -> None:
    """It has a copy of each lock that the thread which answers held just then."""
    verbs = ("status", "connections.list", "stacks", "limits.get", "metrics", "nothing")
    is_over = threading.Event()

    def ask() -> None:
        with Client(server.place) as client:
            client.watch("stats", "events", every=0.1)
            while not is_over.is_set():
                for verb in verbs:
                    with contextlib.suppress(Refused):
                        client.call(verb)

    with controlled(engine="processes") as server:
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for number in range(60):
                with call(bound(server.server)) as peer:
                    line = f"line {number}\n".encode()
                    peer.sendall(line)
                    assert read_line(peer) == line
                    peer.shutdown(socket.SHUT_RDWR)
        finally:
            is_over.set()
            asking.join()
        wait_until(lambda: not server.server.connections)
