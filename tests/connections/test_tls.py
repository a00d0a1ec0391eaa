"""A TLS listener: the handshake is the worker's, and has a deadline (row 6)."""

import contextlib
import socket
import socketserver as standard
import ssl
import threading
from types import ModuleType
from typing import Any

import pytest

from manyhands import events, socketserver
from tests.support import (
    Authority,
    Echo,
    ask_secretly,
    call,
    everything,
    is_closed_by_server,
    left_open,
    open_descriptors,
    reset,
    secured,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)
CONCURRENT = ["threads", "processes"]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Answer(socketserver.StreamRequestHandler):
    """Answers one line, and says what the program sees of the connection."""

    def handle(self) -> None:
        assert isinstance(self.request, ssl.SSLSocket)
        assert self.rfile.raw._sock is self.request
        assert self.request.gettimeout() is None
        self.wfile.write(self.rfile.readline())


def failures(seen: list[events.Event]) -> list[events.HandshakeFailed]:
    return [event for event in seen if isinstance(event, events.HandshakeFailed)]


def test_a_client_is_served(engine: str, authority: Authority, seen: list[events.Event]) -> None:
    before = open_descriptors()
    with serving(secured(server_class(engine)(HERE, Answer), authority)) as server:
        for _ in range(3):
            assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert not left_open(before)
    assert failures(seen) == []


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_silent_client_does_not_stop_the_others(engine: str, authority: Authority) -> None:
    with (
        serving(secured(server_class(engine)(HERE, Answer), authority)) as server,
        call(server.server_address) as silent,
    ):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
        silent.shutdown(socket.SHUT_WR)
        everything(silent)


def test_a_silent_client_stops_all_others_in_the_standard_library(authority: Authority) -> None:
    server = secured(standard.ThreadingTCPServer(HERE, Answer), authority)  # type: ignore[arg-type]  # ours
    with serving(server), call(server.server_address), call(server.server_address) as plain:
        plain.settimeout(0.5)
        with pytest.raises(TimeoutError):
            authority.client_context().wrap_socket(plain, server_hostname="localhost")


def test_a_stalled_handshake_frees_its_slot(authority: Authority, seen: list[events.Event]) -> None:
    class Server(socketserver.ThreadingTCPServer):
        max_threads = 1
        handshake_timeout = 0.1

    with serving(secured(Server(HERE, Answer), authority)) as server:
        with call(server.server_address) as silent:
            assert is_closed_by_server(silent)
            name = silent.getsockname()
        # That was for the silent client alone: on a busy machine another's handshake may take as long.
        server.handshake_timeout = None
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    (failure,) = failures(seen)
    assert failure.peer == name
    assert "timed out" in str(failure)


def test_a_client_that_drips_gains_no_time(authority: Authority, seen: list[events.Event]) -> None:
    class Server(socketserver.ThreadingTCPServer):
        handshake_timeout = 0.5

    with serving(secured(Server(HERE, Answer), authority)) as server:
        with call(server.server_address) as dripping, contextlib.suppress(OSError):
            for _ in range(200):
                # The beginning of a record of 512 bytes.
                dripping.sendall(b"\x16\x03\x01\x02\x00"[:1])
                if failures(seen):
                    break
                threading.Event().wait(0.05)
        wait_until(lambda: failures(seen))


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_client_that_speaks_no_tls_is_turned_away(
    engine: str, authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    before = open_descriptors()
    with serving(secured(server_class(engine)(HERE, Answer), authority)) as server:
        with call(server.server_address) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            everything(peer)
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert not left_open(before)
    assert "Traceback" not in capfd.readouterr().err
    if engine == "threads":
        (failure,) = failures(seen)
        assert "http request" in failure.error.lower()


def test_a_client_that_distrusts_the_certificate_is_an_event(
    authority: Authority, seen: list[events.Event]
) -> None:
    with serving(secured(socketserver.ThreadingTCPServer(HERE, Answer), authority)) as server:
        with call(server.server_address) as plain, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
        wait_until(lambda: failures(seen))


def test_a_client_that_resets_before_the_handshake_does_no_harm(authority: Authority) -> None:
    before = open_descriptors()
    server = secured(socketserver.ThreadingTCPServer(HERE, Answer), authority)
    reset(call(server.server_address))
    with serving(server):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert not left_open(before)


def test_the_server_closes_the_connection_through_its_hook(authority: Authority) -> None:
    shut: list[Any] = []

    class Server(socketserver.ThreadingTCPServer):
        def shutdown_request(self, request: Any) -> None:
            shut.append(request)
            super().shutdown_request(request)

    with serving(secured(Server(HERE, Answer), authority)) as server:
        with call(server.server_address) as peer:
            peer.sendall(b"no hello of TLS\n")
            everything(peer)
        wait_until(lambda: len(shut) == 1)


def test_a_program_that_said_no_does_the_handshake_itself(
    engine: str, authority: Authority
) -> None:
    class Own(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            assert self.request.version() is None
            self.request.do_handshake()
            super().setup()

        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    server = secured(server_class(engine)(HERE, Own), authority, do_handshake_on_connect=False)
    with serving(server):
        assert ask_secretly(server.server_address, authority) == b"hello\n"


def test_ragged_ends_are_suppressed_as_the_listener_says(authority: Authority) -> None:
    seen_by_handler: list[Any] = []

    class Ragged(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen_by_handler.append(self.request.suppress_ragged_eofs)

    server = secured(
        socketserver.ThreadingTCPServer(HERE, Ragged), authority, suppress_ragged_eofs=False
    )
    with serving(server), contextlib.suppress(OSError):
        ask_secretly(server.server_address, authority)
    assert seen_by_handler == [False]


def test_handle_request_serves_a_tls_client(module: ModuleType, authority: Authority) -> None:
    server = secured(module.TCPServer(HERE, Echo), authority)
    answers: list[bytes] = []
    thread = threading.Thread(
        target=lambda: answers.append(ask_secretly(server.server_address, authority))
    )
    thread.start()
    with server:
        server.handle_request()
        thread.join()
    assert answers == [b"hello\n"]
