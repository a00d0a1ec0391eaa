"""A program that is right: no type checker finds anything in it. It is never run."""

import http.server
import io
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_type

import manyhands
from manyhands import Server, metrics, socketserver
from manyhands.config.keywords import ServerOptions
from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry


class Echo(manyhands.StreamRequestHandler):
    def handle(self) -> None:
        assert_type(self.rfile, io.BufferedIOBase)
        assert_type(self.server, manyhands.BaseServer)
        for line in self.rfile:
            self.wfile.write(line)
        self.wfile.flush()
        self.server.idle_timeout = 5
        self.deadlines.max_age = None
        assert_type(self.server.draining, bool)
        host, port = self.client_address
        self.request.settimeout(1.5)
        self.connection.sendall(f"{host} {port}".encode())


class Stateful(Echo):
    database: dict[str, str]

    def setup(self) -> None:
        super().setup()
        self.database["seen"] = "yes"


class Datagram(socketserver.DatagramRequestHandler):
    automatic_reply = False

    def handle(self) -> None:
        assert_type(self.packet, bytes)
        assert_type(self.socket, socket.socket)
        self.wfile.write(self.rfile.read())


class Framed(manyhands.FramedRequestHandler):
    def handle(self) -> None:
        while (line := self.read_text_line(timeout=30)) is not None:
            assert_type(line, str)


def greet(request: socket.socket, client_address: tuple[str, int], server: object) -> None:
    request.sendall(b"hello\n")


# The production server.
server = Server(
    Echo,
    "tcp://127.0.0.1:0",
    ("127.0.0.1", 8008),
    engine="fibers",
    max_fibers=10_000,
    max_connections=None,
    max_rate=2.5,
    allow=["10.0.0.0/8", "192.0.2.1"],
    deny="192.0.2.0/24",
    when_full=greet,
    refusal=b"full\n",
    idle_timeout=60,
    certfile=[Path("a.pem"), "b.pem"],
    alpn=("h2", "http/1.1"),
    ssl_context=ssl.create_default_context(),
)
Server(partial(Stateful, database={}), "unix:///run/echo.sock")
Server(greet, ssl_context=None, when_full="refuse", keyfile="a.key")
Server(lambda request, client_address, server: None, "udp://[::1]:53")

server.max_connections = 10
server.max_connections = None
server.allow = ["10.0.0.0/8"]
server.handshake_timeout = 2.5
server.when_full = Echo
assert_type(server.idle_timeout, float | None)
assert_type(server.max_threads, int | None)
assert_type(server.ssl_context, ssl.SSLContext | None)
assert_type(server.connections, Registry)
assert_type(server.client_certificates, Literal["none", "optional", "required"])

options: ServerOptions = {"max_connections": 5}
options["engine"] = "threads"
options["workers"] = "auto"
with Server(Echo, "tcp://127.0.0.1:0", **options) as started:
    assert_type(started, Server)


def tune(**options: Any) -> Server:
    return Server(Echo, **options)


# The drop-in: everything that the standard library's own stubs allow.
class Reusing(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    max_threads = 200
    idle_timeout = 60.0
    engine = "fibers"
    when_full = "refuse"
    request_queue_size = 5

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        assert_type(connection, socket.socket)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return bool(client_address[0] == "127.0.0.1")

    def handle_error(self, request: Any, client_address: Any) -> None:
        print("error")


class Forking(socketserver.ForkingMixIn, socketserver.TCPServer):
    max_children = 100


class OnFibers(manyhands.FiberMixIn, socketserver.UDPServer):
    max_packet_size = 65_535
    hub_block_time = None


with Reusing(("127.0.0.1", 0), Echo, bind_and_activate=False) as reusing:
    assert_type(reusing, Reusing)
    reusing.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    reusing.server_bind()
    reusing.max_connections = None
    reusing.serve_forever(poll_interval=0.1)
    assert_type(reusing.fileno(), int)
    assert_type(reusing.connections, Registry)
    assert_type(reusing.connections[1], Connection)
    assert_type(reusing.draining, bool)

socketserver.TCPServer(("::1", 0, 0, 0), partial(Stateful, database={}))
socketserver.UDPServer(("127.0.0.1", 0), Datagram).handle_request()
socketserver.UnixStreamServer(os.fsdecode(b"/run/echo.sock"), Echo)
manyhands.FiberTCPServer(("127.0.0.1", 0), greet)
make: Callable[..., socketserver.BaseServer] = socketserver.ThreadingUDPServer


class Web(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A mix-in of ours on a class of the standard library's."""


metrics.collect(Web(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler))
