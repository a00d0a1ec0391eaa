"""What a program sets holds soon, whichever loop serves, and though nothing can be loaded any more."""

import contextlib
import socketserver as standard
import threading
from typing import Any

import pytest

from manyhands import Server, socketserver
from manyhands.model.connection_states import Reason
from tests.support import Echo, bound, call, everything, python, read_line, serving, wait_until
from tests.support.waiting import PATIENCE

from .admission_kit import Hold, calling, leave

HERE = ("127.0.0.1", 0)
ANY_PORT = "tcp://127.0.0.1:0"
SHORT = 0.1
"""Seconds: a deadline that passes within a test."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def is_served(address: Any) -> bool:
    """Call, and tell whether that is answered."""
    with calling(address) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(b"hello\n")
        return peer.recv(10) == b"hello\n"
    return False


# Programs that can load nothing any more: they have changed their root, or have no descriptor left

NOTHING_TO_LOAD = """
import socket, sys, threading
from manyhands import Server, socketserver

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"x")
        if self.server.fails:
            raise ValueError("a bug in the handler")

class TCPServer(socketserver.ThreadingTCPServer):
    fails = {fails}

class Nothing:
    def find_spec(self, name, path=None, target=None):
        raise ModuleNotFoundError(f"No module named {{name!r}}: there is another root", name=name)

server = {server}
addresses = getattr(server, "addresses", None)
where = (server.addresses[0].host, server.addresses[0].port) if addresses else server.server_address
"x".encode("idna")  # for the clients below
sys.meta_path[:] = [Nothing()]
sys.path_importer_cache.clear()
sys.modules.pop("traceback", None)
{deed}
loop = threading.Thread(target=getattr(server, "serve_forever", None) or server.run, daemon=True)
loop.start()
answers = []
for _ in range(2):
    with socket.create_connection(where) as client:
        client.settimeout(10)
        try:
            answers.append(client.recv(10))
        except ConnectionError:
            answers.append(b"")
print(answers, loop.is_alive())
server.shutdown() if hasattr(server, "shutdown") else server.stop()
loop.join(10)
server.server_close() if hasattr(server, "server_close") else server.close()
"""

SERVERS = {
    "drop-in": 'TCPServer(("127.0.0.1", 0), Handler)',
    "Server": '(lambda s: s.listen() or s)(Server(lambda r, a, s: r.sendall(b"x"), "tcp://127.0.0.1:0"))',
}


LIMITS = {
    'server.deny = ["127.0.0.0/8"]': "[b'', b'']",
    "server.max_rate_per_ip = 0.001; server.rate_burst_per_ip = 1": "[b'x', b'']",
}
"""What is set, and how two clients are answered then."""


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize(("deed", "answers"), LIMITS.items())
def test_a_limit_holds_in_a_program_that_can_load_nothing(
    server: str, deed: str, answers: str
) -> None:
    finished = python("-c", NOTHING_TO_LOAD.format(server=server, deed=deed, fails=False))
    assert finished.stdout == f"{answers} True\n", finished.stderr


def test_a_failing_handler_ends_no_service_that_can_load_nothing() -> None:
    program = NOTHING_TO_LOAD.format(server=SERVERS["drop-in"], deed="", fails=True)
    # In the thread of the loop itself.
    program = program.replace("socketserver.ThreadingTCPServer", "socketserver.TCPServer")
    finished = python("-c", program)
    assert finished.stdout == "[b'x', b'x'] True\n", finished.stderr
    assert "a bug in the handler" in finished.stderr


def test_limits_that_cannot_be_had_leave_those_that_were(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[str] = []

    class Told(socketserver.ThreadingTCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            failures.append(f"{request} {client_address}")

    def fail(source: Any) -> None:
        raise OSError(24, "Too many open files")

    with serving(Told(HERE, Echo)) as server:
        monkeypatch.setattr("manyhands.serving.admission_control.admission_terms_of", fail)
        server.max_connections = 0
        # Each client has the loop look.
        wait_until(lambda: is_served(server.server_address) and failures)
        assert failures[0] == "None None"
        monkeypatch.undo()
        server.max_connections, server.when_full = 1, "refuse"
        with calling(server.server_address) as peer:
            peer.sendall(b"hello\n")
            assert read_line(peer) == b"hello\n"
            wait_until(lambda: not is_served(server.server_address))


# Loops, and what is between them


def test_a_hook_that_takes_several_clients_at_once_takes_none_beyond_the_limit() -> None:
    class Greedy(socketserver.ThreadingTCPServer):
        max_connections = 1

        def _handle_request_noblock(self) -> None:
            for _ in range(4):
                super()._handle_request_noblock()

    greedy = Greedy(HERE, Hold)
    greedy.socket.setblocking(False)  # else it would wait for a client that does not come
    first = call(greedy.server_address)
    with calling(greedy.server_address) as second, serving(greedy) as server:
        assert read_line(first) == b"in\n"
        leave(first)
        assert read_line(second) == b"in\n"
        leave(second)
        assert Reason.REFUSED_FULL not in server.connections.closed


def test_the_next_loop_goes_by_what_was_set_since_the_last_one() -> None:
    server = socketserver.ThreadingTCPServer(HERE, Echo)
    serve_once(server)
    server.idle_timeout = SHORT
    loop = threading.Thread(target=server.serve_forever, args=(None,))
    loop.start()
    with server, calling(server.server_address) as peer:
        assert everything(peer) == b""
        server.shutdown()
        loop.join(PATIENCE)


def serve_once(server: Any) -> None:
    loop = threading.Thread(target=server.serve_forever)
    loop.start()
    with calling(server.server_address) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
    server.shutdown()
    loop.join(PATIENCE)


def test_each_handle_request_goes_by_what_was_set_before_it() -> None:
    with socketserver.ThreadingTCPServer(HERE, Echo) as server:
        with calling(server.server_address):
            server.handle_request()
        server.idle_timeout = SHORT
        with calling(server.server_address) as peer:
            server.handle_request()
            assert everything(peer) == b""


def test_a_list_that_is_changed_in_place_holds() -> None:
    with Server(Echo, ANY_PORT, deny=["192.0.2.1"]) as server:
        with calling(bound(server)) as peer:
            peer.sendall(b"hello\n")
            assert read_line(peer) == b"hello\n"
        server.deny.append("127.0.0.1")  # type: ignore[union-attr]  # the list that it was given
        wait_until(lambda: not is_served(bound(server)))


# Deadlines


def test_a_forked_handler_s_own_deadline_holds_where_there_are_limits() -> None:
    class Own(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.deadlines.idle_timeout = SHORT
            self.rfile.read()

    class Limited(socketserver.ForkingTCPServer):
        max_connections_per_ip = 5

    with serving(Limited(HERE, Own)) as server, calling(server.server_address) as peer:
        assert everything(peer) == b""


def test_a_reaper_for_which_there_was_no_thread_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, refused = threading.Thread.start, []

    def start(thread: threading.Thread) -> None:
        if thread.name == "manyhands-deadlines" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with Server(Echo, ANY_PORT, idle_timeout=SHORT) as server, call(bound(server)) as peer:
        assert everything(peer) == b""
    assert refused


def test_a_class_of_the_standard_library_s_keeps_its_own_timeouts() -> None:
    class Theirs(socketserver.ThreadingMixIn, standard.TCPServer):  # type: ignore[misc]
        idle_timeout = SHORT  # the program's own, which does what it pleases with it
        daemon_threads = True

    with serving(Theirs(HERE, Echo)) as server, calling(server.server_address) as peer:
        peer.settimeout(5 * SHORT)
        with contextlib.suppress(TimeoutError):
            assert peer.recv(10) != b""
        peer.settimeout(PATIENCE)
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
