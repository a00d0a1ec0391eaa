"""What a stopping `manyhands.Server` still does for clients that connected before: answers and backlog."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, events
from manyhands.serving.drain import DRAIN_INTERVAL
from tests.support import (
    ENGINES,
    Echo,
    bound,
    call,
    everything,
    is_listening,
    server_class,
    wait_until,
)

from .conftest import Gate

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def answering_twice(gate: Gate) -> Any:
    """Return a handler that answers a datagram twice: at once, and when the gate is opened."""

    def handler(request: Any, client_address: Any, server: Any) -> None:
        _, listener = request
        listener.sendto(b"begun", client_address)
        gate.wait()
        listener.sendto(b"done", client_address)

    return handler


@pytest.fixture(params=["udp", "unix-datagram"])
def datagrams(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """An address for datagrams, and a peer's socket that can be answered."""
    is_unix = request.param == "unix-datagram"
    address = f"unix-datagram://{tmp_path}/server.sock" if is_unix else "udp://127.0.0.1:0"
    with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(str(tmp_path / "peer.sock") if is_unix else ("127.0.0.1", 0))
        peer.settimeout(20)
        yield address, peer


def closing(server: Server) -> threading.Thread:
    """Have a server close in a thread of its own."""
    thread = threading.Thread(target=server.close)
    thread.start()
    return thread


@pytest.mark.parametrize("engine", ENGINES)
def test_a_datagram_that_came_before_the_stop_is_still_answered(
    engine: str, gate: Gate, datagrams: tuple[str, Any]
) -> None:
    address, peer = datagrams
    server = Server(answering_twice(gate), address, ANY_PORT, engine=engine, drain_timeout=20)
    server.start()
    port = bound(server, 1)[1]
    peer.sendto(b"hello", bound(server))
    assert peer.recv(10) == b"begun"
    leaving = closing(server)
    wait_until(lambda: not is_listening(port))
    gate.open()
    assert peer.recv(10) == b"done"
    leaving.join(20)
    assert not leaving.is_alive()


def test_a_sender_to_a_unix_path_gets_an_error_during_the_drain(gate: Gate, tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")
    server = Server(answering_twice(gate), f"unix-datagram://{path}", drain_timeout=20)
    server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.bind(str(tmp_path / "peer.sock"))
        peer.sendto(b"hello", path)
        assert peer.recv(10) == b"begun"
        leaving = closing(server)
        wait_until(lambda: is_refused(peer, path))
        gate.open()
        assert peer.recv(10) == b"done"
    leaving.join(20)
    assert not leaving.is_alive()


def is_refused(peer: socket.socket, path: str) -> bool:
    try:
        peer.sendto(b"", path)
    except BrokenPipeError:
        return True
    return False


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_client_that_had_connected_before_the_stop_is_served(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.listen()
    waiting = [call(bound(server)) for _ in range(5)]
    for number, peer in enumerate(waiting):
        peer.sendall(b"hello %d\n" % number)
        peer.shutdown(socket.SHUT_WR)
    server.stop()
    assert server.run() == []
    assert [everything(peer) for peer in waiting] == [b"hello %d\n" % n for n in range(5)]
    for peer in waiting:
        peer.close()


def test_no_more_clients_than_the_engine_has_room_for_leave_the_backlog() -> None:
    def stuck(request: socket.socket, client_address: Any, server: Any) -> None:
        request.recv(1)

    server = Server(stuck, ANY_PORT, max_threads=1, drain_timeout=0.3)
    server.listen()
    peers = [call(bound(server)) for _ in range(2)]
    server.stop()
    (cut_off,) = server.run()
    assert cut_off.peer == f"127.0.0.1:{peers[0].getsockname()[1]}"
    assert [everything(peer) for peer in peers] == [b"", b""]
    assert reasons(server) == {"cut_off": 1, "refused_stopping": 1}
    for peer in peers:
        peer.close()


def reasons(server: Any) -> dict[str, int]:
    """Return how many connections ended for which reason; none is open."""
    accepted, still_open, closed = server.connections.balance
    assert (still_open, closed) == (0, accepted)
    return {reason.value: count for reason, count in server.connections.closed.items()}


@pytest.mark.parametrize("engine", ENGINES)
def test_who_is_not_served_any_more_is_closed_and_counted(
    engine: str, seen: list[events.Event]
) -> None:
    with Server(Echo, ANY_PORT, ANY_PORT, engine=engine, drain_timeout=20) as server:
        server.suspend()
        peers = [call(bound(server, number % 2)) for number in range(7)]
        assert server.drain(0) == []
        assert [everything(peer) for peer in peers] == [b""] * 7
        assert reasons(server) == {"refused_stopping": 7}
    told = [event for event in seen if isinstance(event, events.BacklogRefused)]
    assert [(event.count, event.error) for event in told] == [
        (4, "the server stops"),
        (3, "the server stops"),
    ]
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "sequential"])
def test_the_backlog_is_served_in_the_drain_s_own_time(engine: str) -> None:
    begun: list[Any] = []

    class Slow(server_class(engine)):  # type: ignore[misc]  # a class of the drop-in's
        def verify_request(self, request: Any, client_address: Any) -> bool:
            begun.append(client_address)
            time.sleep(0.05)
            return True

    with Slow(("127.0.0.1", 0), Echo) as server:
        peers = [call(server.server_address) for _ in range(40)]
        assert len(server.drain(0.4)) == len(begun)
        # To accept all of them takes two seconds.
        assert 0 < len(begun) < len(peers)
        assert reasons(server) == {"cut_off": len(begun)}
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_drain_that_takes_its_time_is_told_of_once(
    engine: str,
    gate: Gate,
    datagrams: tuple[str, Any],
    seen: list[events.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.serving.drain.REPORTED_AFTER", 0.1)
    address, peer = datagrams
    server = Server(answering_twice(gate), address, engine=engine, drain_timeout=20)
    server.start()
    peer.sendto(b"hello", bound(server))
    assert peer.recv(10) == b"begun"
    leaving = closing(server)
    wait_until(lambda: events.Draining(1, 20) in seen)
    threading.Event().wait(3 * DRAIN_INTERVAL)
    gate.open()
    assert peer.recv(10) == b"done"
    leaving.join(20)
    assert [type(event) for event in seen].count(events.Draining) == 1
