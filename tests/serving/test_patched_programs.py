"""A program that gevent or eventlet has patched, wholly or in part, is served on the engine of its class."""

import signal

import pytest

from tests.support import Program, call, read_line

PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
patch, when = sys.argv[1:]
if when == "after the import":
    from manyhands import socketserver
exec(patch)
from manyhands import socketserver
import threading

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
            if line == b"quit\\n":
                threading.Thread(target=self.server.shutdown).start()

class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

with Server(("127.0.0.1", 0), Handler) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
print("ended", flush=True)
"""

# Of those parts with which the standard library serves.
PATCHES = {
    **{
        f"gevent, {part or 'all'}": f"from gevent import monkey; monkey.patch_all({part})"
        for part in ("", "select=False", "ssl=False", "os=False")
    },
    "gevent, select alone": "from gevent import monkey; monkey.patch_select()",
    **{
        f"eventlet, {part or 'all'}": f"import eventlet; eventlet.monkey_patch({part})"
        for part in ("", "thread=False", "select=False", "os=True", "select=True", "socket=True")
    },
}


@pytest.mark.parametrize("when", ["before the import", "after the import"])
@pytest.mark.parametrize("patch", PATCHES)
def test_a_patched_program_serves_several_at_once(patch: str, when: str) -> None:
    with Program(["-W", "ignore", "-c", PROGRAM, PATCHES[patch], when]) as program:
        address = "127.0.0.1", int(program.line())
        with call(address) as idle, call(address) as first, call(address) as second:
            for peer in (second, first, second):
                peer.sendall(b"hello\n")
                assert read_line(peer) == b"hello\n"
            idle.sendall(b"quit\n")
            assert read_line(idle) == b"quit\n"
        assert program.line() == "ended"


def test_a_program_that_eventlet_has_patched_is_served_one_request() -> None:
    one = PROGRAM.replace("server.serve_forever()", "server.handle_request()")
    with Program(
        ["-W", "ignore", "-c", one, PATCHES["eventlet, all"], "before the import"]
    ) as program:
        with call(("127.0.0.1", int(program.line()))) as peer:
            peer.sendall(b"hello\n")
        assert program.line() == "ended"


SERVER = """
import sys, warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
import manyhands, threading, time

class Handler(manyhands.socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

def tell():
    while not server.addresses:
        time.sleep(0.01)
    print(str(server.addresses[0]).rpartition(":")[2], flush=True)

server = manyhands.Server(Handler, "tcp://127.0.0.1:0", engine=sys.argv[1])
threading.Thread(target=tell).start()
server.run()
print("ended", flush=True)
"""


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_server_in_a_program_that_eventlet_has_patched_serves_until_a_signal(engine: str) -> None:
    with Program(["-W", "ignore", "-c", SERVER, engine]) as program:
        address = "127.0.0.1", int(program.line())
        with call(address) as first, call(address) as second:
            for peer in (second, first):
                peer.sendall(b"hello\n")
                assert read_line(peer) == b"hello\n"
        program.send(signal.SIGTERM)
        assert program.line() == "ended"
        assert program.wait() == 0
