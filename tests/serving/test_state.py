"""Passing state to handlers: a callable works wherever a class does (row 19)."""

import functools
import socket
import socketserver as standard
from types import ModuleType
from typing import Any

import pytest

from manyhands import socketserver
from tests.support import ask, hear, server_class, serving

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Lookup(socketserver.StreamRequestHandler):
    """Looks lines up in what the program gave it."""

    database: dict[bytes, bytes]

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(self.database[line.strip()])


def test_keywords_of_a_partial_become_attributes(engine: str) -> None:
    handler = functools.partial(Lookup, database={b"hello": b"world"})
    with serving(server_class(engine)(HERE, handler)) as server:
        assert ask(server.server_address) == b"world"


def test_a_partial_of_the_standard_handler_fails() -> None:
    class Handler(standard.StreamRequestHandler):
        """Takes no state."""

    handler = functools.partial(Handler, database={})
    with pytest.raises(TypeError):
        handler(None, None, None)


def test_state_is_there_in_setup() -> None:
    class Greeter(socketserver.StreamRequestHandler):
        greeting: bytes

        def setup(self) -> None:
            super().setup()
            self.wfile.write(self.greeting)

    handler = functools.partial(Greeter, greeting=b"welcome")
    with serving(socketserver.ThreadingTCPServer(HERE, handler)) as server:
        assert hear(server.server_address) == b"welcome"


def test_a_datagram_handler_takes_state_too() -> None:
    class Reply(socketserver.DatagramRequestHandler):
        answer: bytes

        def handle(self) -> None:
            self.wfile.write(self.answer)

    handler = functools.partial(Reply, answer=b"42")
    with (
        serving(socketserver.UDPServer(HERE, handler)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.settimeout(20)
        peer.connect(server.server_address)
        peer.send(b"?")
        assert peer.recv(10) == b"42"


def test_a_function_is_a_handler(engine: str, module: ModuleType) -> None:
    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(str(server.server_address[1]).encode())

    with serving(server_class(engine, module)(HERE, handler)) as server:
        assert hear(server.server_address) == str(server.server_address[1]).encode()
