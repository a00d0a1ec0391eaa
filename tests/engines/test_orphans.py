"""Handlers whose parent was killed: they keep their deadlines, and drain; the plain drop-in's go on."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import Program, call, read_line, wait_until
from tests.support.processes import has_ended, state_of

HANDLERS = """
    import contextlib, os, signal, socket, sys, time, warnings
    from manyhands import Server, StreamRequestHandler, socketserver
    warnings.simplefilter("ignore")
    AT_IT = b"at it\\n"

    class Handler(StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"%d\\n" % os.getpid())
            act = self.rfile.readline().strip().decode()
            self.wfile.write(AT_IT)
            if act == "sleep":
                time.sleep(3600)
            if act == "compute":
                while True:
                    pass
            if act == "ignore errors":
                while True:
                    with contextlib.suppress(Exception):
                        self.request.recv(1)
            if act == "answer":
                while not self.server.draining:
                    time.sleep(0.01)
                self.wfile.write(b"x" * 100_000 + b"\\n")
                return
            for line in self.rfile:
                self.wfile.write(line)

        def goodbye(self):
            self.wfile.write(b"bye\\n")

    def announce():
        print(server.addresses[0].port, flush=True)
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(3600)  # a process of the program's own, which has copies of all descriptors
"""

SERVER = (
    HANDLERS
    + """
    server = Server(Handler, "tcp://127.0.0.1:0", engine="processes", **eval(sys.argv[1]))
    server.run(announce)
"""
)

DROP_IN = (
    HANDLERS
    + """
    class Drop(socketserver.ForkingTCPServer):
        locals().update(eval(sys.argv[1]))
    with Drop(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
"""
)


@contextmanager
def orphaned(program: str, options: str, *acts: str) -> Iterator[list[tuple[socket.socket, int]]]:
    """Have handlers act, kill their parent, and give each one's peer and process id."""
    lines = "\n".join(line.removeprefix("    ") for line in program.splitlines())
    with Program(["-c", lines, options]) as parent:
        address = "127.0.0.1", int(parent.line())
        handlers = []
        for act in acts:
            peer = call(address)
            handlers.append((peer, int(peer.recv(20))))
            peer.sendall(f"{act}\n".encode())
            assert read_line(peer) == b"at it\n"
        for (_, pid), act in zip(handlers, acts, strict=True):
            # Python hears of a signal that comes in the instant before a wait of the system's only after it.
            wait_until(lambda pid=pid, act=act: act == "compute" or state_of(pid) == "S")  # type: ignore[misc]
        parent.send(signal.SIGKILL)
        parent.wait()
        try:
            yield handlers
        finally:
            for peer, pid in handlers:
                peer.close()
                if Path(f"/proc/{pid}").exists():
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("act", ["sleep", "compute", "ignore errors", "read"])
def test_an_orphan_has_no_longer_than_a_drain(act: str) -> None:
    with orphaned(SERVER, "{'drain_timeout': 0.3}", act) as [(_, pid)]:
        wait_until(lambda: has_ended(pid))


def test_an_orphan_keeps_the_deadlines_while_it_drains() -> None:
    with orphaned(SERVER, "{'drain_timeout': 600, 'max_age': 1}", "sleep", "read") as handlers:
        for _, pid in handlers:
            wait_until(lambda pid=pid: has_ended(pid))  # type: ignore[misc]  # bound for each


def test_an_orphan_says_goodbye_and_ends_an_idle_connection() -> None:
    with orphaned(SERVER, "{'drain_timeout': 600}", "read") as [(peer, pid)]:
        peer.sendall(b"line\n")
        heard = b""
        while chunk := peer.recv(100):
            heard += chunk
        assert sorted(heard.splitlines()) in ([b"bye"], [b"bye", b"line"])
        wait_until(lambda: has_ended(pid))


def test_an_orphan_that_is_at_work_gets_its_answer_out_whole() -> None:
    with orphaned(SERVER, "{'drain_timeout': 600}", "answer") as [(peer, pid)]:
        heard = b""
        while chunk := peer.recv(100_000):
            heard += chunk
        assert heard.replace(b"bye\n", b"") == b"x" * 100_000 + b"\n"
        wait_until(lambda: has_ended(pid))


def test_orphans_of_the_drop_in_keep_the_deadlines_that_it_has() -> None:
    with orphaned(DROP_IN, "{'idle_timeout': 0.3}", "sleep", "read", "compute") as handlers:
        for _, pid in handlers:
            wait_until(lambda pid=pid: has_ended(pid))  # type: ignore[misc]  # bound for each


def test_orphans_of_the_drop_in_without_options_go_on() -> None:
    with orphaned(DROP_IN, "{}", "read") as [(peer, pid)]:
        for _ in range(3):
            peer.sendall(b"line\n")
            assert peer.recv(10) == b"line\n"
        assert not has_ended(pid)


OWN_HANDLER = """
import os, signal
from manyhands import Server, StreamRequestHandler

heard = []
signal.signal(signal.SIGIO, lambda number, frame: heard.append(number))

class Handler(StreamRequestHandler):
    def handle(self):
        os.kill(os.getpid(), signal.SIGIO)
        self.wfile.write(b"%d\\n" % len(heard))

server = Server(Handler, "tcp://127.0.0.1:0", engine="processes")
server.run(lambda: print(server.addresses[0].port, flush=True))
"""


def test_a_handler_of_the_same_signal_that_the_program_has_is_called_in_a_handler_too() -> None:
    with Program(["-c", OWN_HANDLER]) as program:
        with call(("127.0.0.1", int(program.line()))) as peer:
            assert peer.recv(10) == b"1\n"
        program.send(signal.SIGTERM)
        assert program.wait() == 0
