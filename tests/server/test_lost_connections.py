"""A client that resets, or that is kicked, is no failure of the program; a backend that does is one."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from manyhands import (
    DatagramRequestHandler,
    Server,
    StreamRequestHandler,
    events,
    logs,
    socketserver,
)
from manyhands.model.connection_states import Reason
from manyhands.testing import call, reset, socket_address, wait_until
from tests.support import ENGINES, Authority, serving

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture(params=[engine for engine in ENGINES if engine != "processes"])
def engine(request: pytest.FixtureRequest) -> str:
    """Engines whose handlers hold no copy of the client's end, which is in this process too."""
    name: str = request.param
    return name


class Persists(StreamRequestHandler):
    """Writes to its client until that fails."""

    def handle(self) -> None:
        self.wfile.write(b"hello\n")
        while True:
            self.rfile.readline()
            self.wfile.write(b"x" * 100_000)


class HasBackend(StreamRequestHandler):
    """Asks a backend, which resets, and lets that be the client's misfortune."""

    def handle(self) -> None:
        self.wfile.write(b"hello\n")
        here, there = socket.socketpair()
        there.close()
        here.sendall(b"request")


@pytest.fixture
def lost(seen: list[events.Event]) -> "list[events.ConnectionLost]":
    """The connections that were lost, of handlers' processes too."""
    found: list[events.ConnectionLost] = []
    queue = logs.Queued(found.append)
    events.hub.subscribe(queue, events.ConnectionLost)
    return found


def closed(server: Server) -> dict[Reason, int]:
    return {reason: count for reason, count in server.connections.closed.items() if count}


def test_a_client_that_resets_is_no_error(
    engine: str, lost: "list[events.ConnectionLost]", capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(Persists, ANY_PORT, engine=engine) as server:
        with call(socket_address(server.addresses[0])) as peer:
            assert peer.recv(6) == b"hello\n"
            reset(peer)
        wait_until(lambda: server.connections.balance == (1, 0, 1))
        assert closed(server) == {Reason.PEER_RESET: 1}
        wait_until(lambda: len(lost) == 1)
    assert lost[0].peer[0] == "127.0.0.1"
    assert (lost[0].reason, lost[0].level) == ("peer_reset", "info")
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_resets_over_tls_is_no_error(
    engine: str,
    authority: Authority,
    tmp_path: Path,
    lost: "list[events.ConnectionLost]",
    capfd: pytest.CaptureFixture[str],
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    address = "tls://127.0.0.1:0"
    with Server(Persists, address, engine=engine, certfile=certfile, keyfile=keyfile) as server:
        plain = call(socket_address(server.addresses[0]))
        with authority.client_context().wrap_socket(plain, server_hostname="localhost") as peer:
            assert peer.recv(6) == b"hello\n"
            reset(peer)
        wait_until(lambda: server.connections.balance == (1, 0, 1))
        wait_until(lambda: len(lost) == 1)
    assert lost[0].reason == "peer_reset"
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_of_a_unix_socket_that_goes_is_no_error(
    engine: str,
    tmp_path: Path,
    lost: "list[events.ConnectionLost]",
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Server(Persists, f"unix://{tmp_path}/echo.sock", engine=engine) as server:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{tmp_path}/echo.sock")
            assert peer.recv(6) == b"hello\n"
        wait_until(lambda: server.connections.balance == (1, 0, 1))
        assert closed(server) == {Reason.PEER_RESET: 1}
        wait_until(lambda: len(lost) == 1)
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_is_kicked_is_no_error(
    engine: str, lost: "list[events.ConnectionLost]", capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(Persists, ANY_PORT, engine=engine) as server:
        with call(socket_address(server.addresses[0])) as peer:
            assert peer.recv(6) == b"hello\n"
            [connection] = server.connections.values()
            connection.close()
            wait_until(lambda: server.connections.balance == (1, 0, 1))
        assert closed(server) == {Reason.KICKED: 1}
        wait_until(lambda: len(lost) == 1)
    assert lost[0].reason == "kicked"
    assert "Traceback" not in capfd.readouterr().err


def test_a_backend_that_resets_is_a_failure_of_the_handler(
    engine: str, lost: "list[events.ConnectionLost]", capfd: pytest.CaptureFixture[str]
) -> None:
    with Server(HasBackend, ANY_PORT, engine=engine) as server:
        with call(socket_address(server.addresses[0])) as peer:
            assert peer.recv(6) == b"hello\n"
            wait_until(lambda: server.connections.balance == (1, 0, 1))
        assert closed(server) == {Reason.HANDLER_FAILED: 1}
    assert lost == []
    assert "BrokenPipeError" in capfd.readouterr().err


def test_a_sender_of_a_datagram_that_has_gone_is_no_error(
    tmp_path: Path, lost: "list[events.ConnectionLost]", capfd: pytest.CaptureFixture[str]
) -> None:
    class Echo(DatagramRequestHandler):
        def handle(self) -> None:
            Path(tmp_path, "client.sock").unlink()
            self.wfile.write(b"too late")

    with Server(Echo, f"unix-datagram://{tmp_path}/echo.sock") as server:
        del server
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.bind(f"{tmp_path}/client.sock")
            sender.sendto(b"hello", f"{tmp_path}/echo.sock")
            wait_until(lambda: len(lost) == 1)
    assert "Traceback" not in capfd.readouterr().err


def test_want_of_a_worker_is_told_by_its_event_alone(
    seen: list[events.Event],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.model.accept_errors.REFUSE_AFTER", 0.05)
    with Server(Persists, ANY_PORT) as server:
        threading.stack_size(1 << 47)  # which no address space holds
        try:
            with call(socket_address(server.addresses[0])) as peer:
                assert peer.recv(6) == b""
        finally:
            threading.stack_size(0)
        wait_until(lambda: server.connections.balance == (1, 0, 1))
    assert [type(event) for event in seen][:2] == [events.AcceptPaused, events.WorkerFailed]
    assert "Traceback" not in capfd.readouterr().err


def test_the_event_of_a_hook_that_fails_has_no_words_of_a_client(seen: list[events.Event]) -> None:
    class Careless(socketserver.TCPServer):
        def get_request(self) -> Any:
            raise ValueError("correct horse battery staple")

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    with serving(Careless(("127.0.0.1", 0), Persists)) as server, call(server.server_address):
        wait_until(lambda: seen)
    assert isinstance(seen[0], events.AcceptPaused)
    assert seen[0].error == "ValueError"
