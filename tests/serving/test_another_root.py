"""A server whose program gives up its root (chroot(2)) serves: when it is made, nothing is left to load."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import Program, call, everything

PROGRAM = """
import ctypes, os, sys
import manyhands
from manyhands import socketserver
kind, engine, folder = sys.argv[1:]

if os.geteuid() and ctypes.CDLL(None).unshare(0x10000000):  # CLONE_NEWUSER: whose capabilities one has
    sys.exit("this user may make no namespace")

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        if line == b"fail\\n":
            raise ValueError("asked for")
        self.wfile.write(line.upper() + self.client_address[0].encode())

def leave():
    os.chroot(folder)
    os.chdir("/")

if kind == "Server":
    server = manyhands.Server(Handler, "tcp://127.0.0.1:0", engine=engine, proxy_protocol=True)
    server.listen()
    print(server.addresses[0].port, flush=True)
    leave()
    server.run()
else:
    base = manyhands.FiberTCPServer if kind == "fiber mix-in" else socketserver.ThreadingTCPServer
    class Server(base):
        daemon_threads = True
        if kind == "drop-in":
            proxy_protocol = True
            proxy_trusted = "127.0.0.0/8"
            locals()["engine"] = engine
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    leave()
    server.serve_forever()
"""

HEADER = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n"


@contextmanager
def in_another_root(kind: str, engine: str, folder: Path) -> Iterator[tuple[str, int]]:
    arguments = ["-W", "ignore", "-c", PROGRAM, kind, engine, str(folder)]
    with Program(arguments) as program:
        yield "127.0.0.1", int(program.line())
        program.send(signal.SIGTERM)


def said(address: tuple[str, int], words: bytes) -> bytes:
    with call(address) as peer:
        peer.sendall(words)
        # Without a header the server may have closed the connection by now.
        with suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
        return everything(peer)


@pytest.mark.parametrize("kind", ["drop-in", "Server"])
def test_a_server_in_another_root_serves(kind: str, engine: str, tmp_path: Path) -> None:
    with in_another_root(kind, engine, tmp_path) as address:
        assert said(address, HEADER + b"first\n") == b"FIRST\n192.0.2.1"
        assert said(address, HEADER + b"fail\n") == b""
        assert said(address, b"no header") == b""
        assert said(address, HEADER + b"last\n") == b"LAST\n192.0.2.1"


def test_the_fibers_of_a_mix_in_serve_in_another_root(tmp_path: Path) -> None:
    with in_another_root("fiber mix-in", "fibers", tmp_path) as address:
        assert said(address, b"first\n") == b"FIRST\n127.0.0.1"
        assert said(address, b"fail\n") == b""
        assert said(address, b"last\n") == b"LAST\n127.0.0.1"
