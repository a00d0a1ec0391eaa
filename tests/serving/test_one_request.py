"""A program that asks a sequential class for one request has it served when the call returns."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from manyhands import socketserver
from tests.launcher.launch import RUN, python, write
from tests.support import ENGINES, call, everything, server_class

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork", "ignore:forking a server process")


@pytest.fixture(autouse=True)
def forced(engine: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `manyhands run --engine` does to all servers of a program."""
    monkeypatch.setattr(socketserver.BaseServer, "engine", engine, raising=False)
    return engine


def keep(request: Any, client_address: Any, server: Any) -> None:
    server.kept.append((os.getpid(), threading.current_thread(), request.recv(100)))
    request.sendall(b"kept")


def test_what_the_handler_leaves_is_there_when_the_call_returns() -> None:
    with socketserver.TCPServer(HERE, keep) as server, call(server.server_address) as peer:
        server.kept = []  # type: ignore[attr-defined]  # the program's own
        late = threading.Timer(0.05, peer.sendall, [b"code"])
        late.start()
        server.handle_request()
        assert server.kept == [(os.getpid(), threading.current_thread(), b"code")]  # type: ignore[attr-defined]
        assert everything(peer) == b"kept"
        assert server.connections.balance == (1, 0, 1)


def test_a_loop_that_a_handler_stops_ends_with_that_request() -> None:
    class Server(socketserver.TCPServer):
        stop = False

        def serve_forever(self, poll_interval: float | None = 0.5) -> None:
            while not self.stop:
                self.handle_request()

    def handler(request: Any, client_address: Any, server: Any) -> None:
        server.stop = request.recv(100) == b"quit"

    with Server(HERE, handler) as server:
        loop = threading.Thread(target=server.serve_forever)
        loop.start()
        for word in (b"go on", b"quit"):
            with call(server.server_address) as peer:
                peer.sendall(word)
                assert everything(peer) == b""
        loop.join(20)
        assert not loop.is_alive()
        assert server.connections.balance == (2, 0, 2)


def test_a_datagram_is_answered_when_the_call_returns() -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        server.kept = request[0]

    with (
        socketserver.UDPServer(HERE, handler) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.sendto(b"datagram", server.server_address)
        server.handle_request()
        assert server.kept == b"datagram"  # type: ignore[attr-defined]  # the program's own


def test_what_the_handler_raises_is_reported_when_the_call_returns() -> None:
    class Server(socketserver.TCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            reported.append(threading.current_thread())

    def handler(*_: object) -> None:
        raise ZeroDivisionError

    reported: list[threading.Thread] = []
    with Server(HERE, handler) as server, call(server.server_address) as peer:
        server.handle_request()
        assert reported == [threading.current_thread()]
        assert everything(peer) == b""


def test_the_next_request_of_serve_forever_is_the_engine_s_again(forced: str) -> None:
    with socketserver.TCPServer(HERE, keep) as server:
        server.kept = []  # type: ignore[attr-defined]  # the program's own
        with call(server.server_address) as peer:
            peer.sendall(b"first")
            server.handle_request()
        loop = threading.Thread(target=server.serve_forever)
        loop.start()
        with call(server.server_address) as idle, call(server.server_address) as peer:
            if forced == "sequential":
                idle.sendall(b"not idle")
            peer.sendall(b"second")
            assert everything(peer) == b"kept"
            # A forked handler has a copy of this socket, so that its close would not be seen.
            idle.sendall(b"not idle any more")
        server.shutdown()
        loop.join(20)


MANY_AT_ONCE = [name for name in ENGINES if name != "sequential"]


@pytest.mark.parametrize("engine", MANY_AT_ONCE)
@pytest.mark.parametrize("mix_in", MANY_AT_ONCE)
def test_a_class_that_serves_many_at_once_returns_at_once(mix_in: str) -> None:
    kind = server_class(mix_in)
    with (
        kind(HERE, lambda request, *_: request.recv(1)) as server,
        call(server.server_address) as peer,
    ):
        server.handle_request()  # its handler waits for the client
        assert len(server.connections) == 1
        peer.sendall(b".")


@pytest.mark.parametrize("engine", MANY_AT_ONCE)
def test_a_program_s_own_choice_of_an_engine_is_its_class_s(engine: str) -> None:
    class Server(socketserver.TCPServer):
        pass

    Server.engine = engine
    with (
        Server(HERE, lambda request, *_: request.recv(1)) as server,
        call(server.server_address) as peer,
    ):
        server.handle_request()  # its handler waits for the client
        assert len(server.connections) == 1
        peer.sendall(b".")


ONE_SHOT = """
import http.client, threading
from http.server import HTTPServer, BaseHTTPRequestHandler

class Callback(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.code = self.path.partition("code=")[2]
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass

with HTTPServer(("127.0.0.1", 0), Callback) as server:
    server.code = None
    connected = threading.Event()
    def browser():
        client = http.client.HTTPConnection("127.0.0.1", server.server_port)
        client.connect()
        connected.set()
        client.request("GET", "/?code=4711")
        client.getresponse()
    thread = threading.Thread(target=browser)
    thread.start()
    server.handle_request()
    print(server.code, connected.is_set())
    thread.join()
"""


def test_a_one_shot_program_has_its_answer(forced: str, tmp_path: Path) -> None:
    write(tmp_path / "program.py", ONE_SHOT)
    ran = python(*RUN, "--engine", forced, "program.py", cwd=tmp_path)
    assert (ran.output, ran.status) == ("4711 True\n", 0), ran.errors
