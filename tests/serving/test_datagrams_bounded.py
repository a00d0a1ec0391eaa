"""A flood of datagrams takes no more workers than it may, and nothing from connections and other senders."""

import socket
import socketserver as standard
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import poll_to_read
from tests.support import ask, bound, serving, wait_until

from .admission_kit import of_kind

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

UDP = "udp://127.0.0.1:0"
MOST = 3


class Gate:
    """Serves datagrams, and holds up those that ask for it until it is open."""

    def __init__(self) -> None:
        self.is_open = False
        self.most = self.served = self._here = 0
        self._lock = threading.Lock()

    def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        data, answers = request
        if data == b"hold":
            self._count(1)
            while not self.is_open:
                pause()
            self._count(-1)
        answers.sendto(b"served " + data, client_address)

    def _count(self, change: int) -> None:
        with self._lock:
            self._here += change
            self.most = max(self.most, self._here)
            self.served += change < 0


def pause() -> None:
    """Let other handlers run, which in a fiber is gevent's to do."""
    gevent = sys.modules.get("gevent")
    (gevent.sleep if gevent is not None else threading.Event().wait)(0.001)


@contextmanager
def sender(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind((host, 0))
        peer.settimeout(20)
        yield peer


AT_ONCE = pytest.mark.parametrize("engine", ["threads", "fibers"])


@AT_ONCE
def test_no_more_are_served_at_once_than_may_be_and_the_others_wait(
    engine: str, seen: list[events.Event]
) -> None:
    gate = Gate()
    with Server(gate, UDP, engine=engine, max_datagrams=MOST) as server, sender() as peer:
        for _ in range(10):
            peer.sendto(b"hold", bound(server))
        wait_until(lambda: of_kind(seen, events.DatagramsFull))
        assert server.engine.running() == MOST
        wait_until(lambda: gate.most == MOST)
        gate.is_open = True
        assert {peer.recv(100) for _ in range(10)} == {b"served hold"}
    assert (gate.most, gate.served) == (MOST, 10)
    (full,) = of_kind(seen, events.DatagramsFull)
    assert str(full).startswith(
        f"{full.listener} serves 3 datagrams, all that max_datagrams allows"
    )


def test_forked_handlers_count_until_they_have_ended() -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        data, answers = request
        answers.sendto(data, client_address)

    with Server(handler, UDP, engine="processes", max_datagrams=1) as server, sender() as peer:
        for number in range(5):
            peer.sendto(str(number).encode(), bound(server))
        assert {peer.recv(100) for _ in range(5)} == {b"0", b"1", b"2", b"3", b"4"}


def test_a_server_has_a_bound_by_itself() -> None:
    assert Server(Gate(), UDP).max_datagrams == 1_000
    assert not hasattr(socketserver.ThreadingUDPServer, "max_datagrams")


@AT_ONCE
def test_connections_are_accepted_meanwhile(engine: str) -> None:
    gate = Gate()

    def handler(request: Any, client_address: Any, server: Any) -> None:
        if isinstance(request, tuple):
            gate(request, client_address, server)
        else:
            request.sendall(b"a connection\n")

    addresses = (UDP, "tcp://127.0.0.1:0")
    with Server(handler, *addresses, engine=engine, max_datagrams=1) as server, sender() as peer:
        for _ in range(3):
            peer.sendto(b"hold", bound(server))
        wait_until(lambda: server.engine.running() == 1)
        for _ in range(3):
            assert ask(bound(server, 1)) == b"a connection\n"
        gate.is_open = True
        assert {peer.recv(100) for _ in range(3)} == {b"served hold"}


@AT_ONCE
def test_datagrams_are_served_while_max_connections_are_open(engine: str) -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        if isinstance(request, tuple):
            request[1].sendto(b"served", client_address)
        else:
            request.recv(1)

    addresses = (UDP, "tcp://127.0.0.1:0")
    with (
        Server(handler, *addresses, engine=engine, max_connections=1) as server,
        socket.create_connection(bound(server, 1)),
        sender() as peer,
    ):
        assert server.wait_for_connections(1, timeout=20)
        peer.sendto(b"hello", bound(server))
        assert peer.recv(100) == b"served"


@AT_ONCE
def test_a_sender_beyond_its_rate_takes_nothing_from_another_one(
    engine: str, seen: list[events.Event]
) -> None:
    options = {"max_rate_per_ip": 0.001, "rate_burst_per_ip": 2, "max_datagrams": MOST}
    gate = Gate()
    with (
        Server(gate, UDP, engine=engine, **options) as server,
        sender() as flooding,
        sender("127.0.0.2") as other,
    ):
        for _ in range(50):
            flooding.sendto(b"hold", bound(server))
        wait_until(lambda: server.connections.dropped == {Reason.REFUSED_TOO_FAST: 48})
        other.sendto(b"hello", bound(server))
        assert other.recv(100) == b"served hello"
        assert server.info().dropped == {"refused_too_fast": 48}
        # They are no connections, and the books of those know nothing of them.
        assert server.connections.balance == (0, 0, 0)
        gate.is_open = True
    assert of_kind(seen, events.ConnectionsRefused)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what it dropped")
def test_what_the_kernel_dropped_is_told() -> None:
    gate = Gate()
    with Server(gate, UDP, max_datagrams=1) as server, sender() as peer:
        (listener,) = server.listeners
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(500):
            peer.sendto(b"hold", bound(server))
        (info,) = server.info().listeners
        assert info.dropped is not None
        assert 400 < info.dropped < 500
        gate.is_open = True


def test_of_a_stream_listener_there_is_nothing_to_tell() -> None:
    with Server(Gate(), "tcp://127.0.0.1:0") as server:
        assert [info.dropped for info in server.info().listeners] == [None]


def test_a_drop_in_server_may_have_a_bound(seen: list[events.Event]) -> None:
    gate = Gate()
    kind = type("Program", (socketserver.ThreadingUDPServer,), {"max_datagrams": MOST})
    with serving(kind(("127.0.0.1", 0), gate)) as server, sender() as peer:
        for _ in range(10):
            peer.sendto(b"hold", server.server_address)
        # The last of them may have its place, and not have begun yet.
        wait_until(lambda: of_kind(seen, events.DatagramsFull) and gate.most == MOST)
        gate.is_open = True
        assert {peer.recv(100) for _ in range(10)} == {b"served hold"}
    assert gate.most == MOST


def test_handle_request_waits_for_a_place_too() -> None:
    gate = Gate()
    kind = type("Program", (socketserver.ThreadingUDPServer,), {"max_datagrams": 1})
    with kind(("127.0.0.1", 0), gate) as server, sender() as peer:
        server.timeout = 0.05
        for _ in range(2):
            peer.sendto(b"hold", server.server_address)
        server.handle_request()
        server.handle_request()
        assert gate.most <= 1
        gate.is_open = True
        assert peer.recv(100) == b"served hold"
        server.timeout = 20
        server.handle_request()
        assert peer.recv(100) == b"served hold"


@pytest.mark.parametrize("fails", ["handler", "worker"])
def test_a_failure_gives_the_place_back(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(socketserver.ThreadingUDPServer):
        max_datagrams = 1
        errors = 0

        def handle_error(self, request: Any, client_address: Any) -> None:
            self.errors += 1

    def handler(request: Any, client_address: Any, server: Any) -> None:
        if request[0] == b"fail":
            raise ValueError("as told")
        request[1].sendto(b"served", client_address)

    with serving(Quiet(("127.0.0.1", 0), handler)) as server, sender() as peer:
        with monkeypatch.context() as failing:
            if fails == "worker":
                failing.setattr("manyhands.engines.threads.ConnectionThread.start", _no_thread)
            for number in (1, 2):
                peer.sendto(b"fail", server.server_address)
                wait_until(lambda number=number: server.errors == number)
        peer.sendto(b"hello", server.server_address)
        assert peer.recv(100) == b"served"


def _no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_threads_that_each_ask_for_a_request_serve_no_more_than_may_be() -> None:
    class OneAtATime(socketserver.UDPServer):
        max_datagrams = 1

    gate = Gate()
    with OneAtATime(("127.0.0.1", 0), gate) as server, sender() as peer:
        threads = [threading.Thread(target=server.handle_request) for _ in range(2)]
        for thread in threads:
            peer.sendto(b"hold", server.server_address)
            thread.start()
            # One after the other: a thread whose place is taken in the last moment returns.
            wait_until(lambda: gate.most == 1)
        # The other one looks for room again and again: it would be served by now.
        threads[1].join(0.1)
        gate.is_open = True
        for thread in threads:
            thread.join(20)
        assert {peer.recv(100) for _ in threads} == {b"served hold"}
    assert (gate.most, gate.served) == (1, 2)


@pytest.mark.parametrize("mix_in", ["ThreadingMixIn", "ForkingMixIn", "FiberMixIn"])
def test_a_mix_in_drops_those_beyond_the_bound_that_the_standard_library_s_loop_receives(
    mix_in: str, seen: list[events.Event]
) -> None:
    def hold(request: Any, client_address: Any, server: Any) -> None:
        data, answers = request
        # A poll of its own: one object is for one thread at a time.
        while not poll_to_read(opened.fileno()).poll(0) and data == b"hold":
            pause()
        answers.sendto(b"served " + data, client_address)

    bases = (getattr(socketserver, mix_in), standard.UDPServer)
    kind = type("Program", bases, {"max_datagrams": MOST})
    opened, opens = socket.socketpair()
    with opened, opens, kind(("127.0.0.1", 0), hold) as server, sender() as peer:
        for _ in range(MOST + 2):
            peer.sendto(b"hold", server.server_address)
            server.handle_request()
        connections = server._server_core.registry
        assert connections.dropped == {Reason.REFUSED_FULL: 2}
        opens.send(b"!")
        assert {peer.recv(100) for _ in range(MOST)} == {b"served hold"}
        wait_until(
            lambda: (
                server._server_core.admission.has_room_for_datagram() or server.service_actions()
            )
        )
        peer.sendto(b"one more", server.server_address)
        server.handle_request()
        assert peer.recv(100) == b"served one more"
    (told,) = of_kind(seen, events.ConnectionsRefused)
    assert told.summary.what == "datagram"
