"""Rooms in a program that gevent or eventlet has patched, wholly or in part."""

from pathlib import Path

import pytest

from tests.support import Program, call, read_line
from tests.support.certificates import Authority

PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
exec(sys.argv[1])
from manyhands import socketserver
import ssl, threading

class Room(socketserver.StreamRequestHandler):
    def handle(self):
        self.join("red")
        self.wfile.write(b"welcome\\n")
        for line in self.rfile:
            for number in range(30):
                self.server.tell("red", line.strip() * 50_000 + b"\\n")
            self.send(b"told\\n")

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    outbox = 10_000_000

    def get_request(self):
        connection, address = super().get_request()
        return (context.wrap_socket(connection, server_side=True) if context else connection), address

context = None
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[2:])
with Server(("127.0.0.1", 0), Room) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "gevent, select alone": "from gevent import monkey; monkey.patch_select()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "eventlet, select alone": "import eventlet; eventlet.monkey_patch(select=True)",
}


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize("patch", PATCHES)
def test_members_that_read_late_hear_all(
    patch: str, kind: str, authority: Authority, tmp_path: Path
) -> None:
    files = map(str, authority.write(tmp_path, "localhost")) if kind == "tls" else ()
    with Program(["-W", "ignore", "-c", PROGRAM, PATCHES[patch], *files]) as program:
        address = "127.0.0.1", int(program.line())
        peers = [call(address) for _ in range(3)]
        if kind == "tls":
            context = authority.client_context()
            peers = [context.wrap_socket(each, server_hostname="localhost") for each in peers]
        assert [read_line(each) for each in peers] == [b"welcome\n"] * 3
        peers[0].sendall(b"hear\n")
        for peer in peers:
            with peer, peer.makefile("rb") as lines:
                for _ in range(30):
                    assert lines.readline() == b"hear" * 50_000 + b"\n"
                if peer is peers[0]:
                    assert lines.readline() == b"told\n"
