"""The public kit does to servers what it says, on every engine."""

import errno
import os
import socket
import socketserver as standard
import threading
from pathlib import Path
from typing import Any

import pytest

from manyhands import FramedRequestHandler, StreamRequestHandler, events, socketserver
from manyhands.testing import (
    FakeClock,
    FlakyListener,
    ask,
    call,
    deaf,
    drip,
    dripping,
    everything,
    half_close,
    peers,
    read_line,
    reset,
    running,
    serving,
    stalled,
    wait_until,
)
from tests.support import Authority, Echo, left_open, open_descriptors, run_python, server_class

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


# Servers


def test_a_handler_is_served_on_a_free_port_and_all_of_it_is_gone_afterwards(engine: str) -> None:
    before = open_descriptors()
    with serving(Echo, engine=engine) as server:
        peer = server.connect()
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        address = server.address
    assert server.cut_off == []
    assert peer.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        call(address)
    assert not left_open(before)


@pytest.mark.parametrize("address", ["tcp://[::1]:0", "unix://{}/s.sock", "unix://@manyhands-{}"])
def test_it_serves_on_whatever_address_is_given(address: str, tmp_path: Path) -> None:
    name = str(os.getpid()) if "@" in address else str(tmp_path)
    with serving(Echo, address.format(name)) as server:
        assert ask(server.address) == b"hello\n"


def test_a_datagram_server_is_called_too() -> None:
    class Shout(socketserver.DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.packet.upper())

    with serving(Shout, "udp://127.0.0.1:0") as server:
        peer = server.connect()
        peer.send(b"hello")
        assert peer.recv(100) == b"HELLO"


def test_a_connection_that_does_not_end_is_reported() -> None:
    class Stubborn(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"here\n")
            may_end.wait(20)

    may_end = threading.Event()
    with serving(Stubborn, drain_timeout=0.01) as server:
        assert read_line(server.connect()) == b"here\n"
    assert len(server.cut_off) == 1
    may_end.set()


def test_what_the_test_raises_is_raised_and_the_server_has_ended() -> None:
    addresses = []

    def fail() -> None:
        with serving(Echo) as server:
            addresses.append(server.address)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(ConnectionRefusedError):
        call(addresses[0])


@pytest.mark.parametrize("module", [standard, socketserver], ids=["stdlib", "manyhands"])
def test_any_server_of_the_family_can_run(module: Any) -> None:
    with running(module.ThreadingTCPServer(HERE, Echo)) as server:
        assert ask(server.server_address) == b"hello\n"
    assert server.socket.fileno() == -1


# Peers


class Told(StreamRequestHandler):
    """Tells the test how its read came out."""

    outcomes: list[object]

    def handle(self) -> None:
        self.wfile.write(b"go\n")
        try:
            self.outcomes.append(self.rfile.read())
        except OSError as error:
            self.outcomes.append(error.errno)


@pytest.fixture
def outcomes() -> list[object]:
    return []


IN_PROCESS = pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])


def telling(outcomes: list[object]) -> type:
    return type("Telling", (Told,), {"outcomes": outcomes})


@IN_PROCESS
def test_a_peer_that_resets_is_a_reset_to_the_server(engine: str, outcomes: list[object]) -> None:
    with serving(telling(outcomes), engine=engine) as server:
        peer = server.connect()
        read_line(peer)
        peer.sendall(b"never read")
        reset(peer)
        wait_until(lambda: outcomes)
    assert outcomes == [errno.ECONNRESET]


@IN_PROCESS
def test_a_peer_that_half_closes_still_hears(engine: str, outcomes: list[object]) -> None:
    with serving(telling(outcomes), engine=engine) as server, server.connect() as peer:
        peer.sendall(b"all of it")
        half_close(peer)
        assert everything(peer) == b"go\n"
        wait_until(lambda: outcomes)
    assert outcomes == [b"all of it"]


@IN_PROCESS
def test_a_peer_that_stalls_says_its_beginning_and_no_more(engine: str) -> None:
    class Impatient(StreamRequestHandler):
        timeout = 0.05

        def handle(self) -> None:
            try:
                self.rfile.read(100)
            except TimeoutError:
                self.wfile.write(b"too slow\n")

    with serving(Impatient, engine=engine) as server, stalled(server.address, b"GET ") as peer:
        assert read_line(peer) == b"too slow\n"


@IN_PROCESS
def test_a_peer_that_never_reads_holds_up_the_sender(engine: str) -> None:
    class Flood(StreamRequestHandler):
        timeout = 0.1

        def setup(self) -> None:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            super().setup()

        def handle(self) -> None:
            self.rfile.readline()
            try:
                self.wfile.write(bytes(60_000))
            except TimeoutError:
                stuck.set()

    stuck = threading.Event()
    with serving(Flood, engine=engine) as server, deaf(server.address, b"all\n"):
        wait_until(stuck.is_set)


def test_a_peer_drips_when_the_test_says_so(engine: str) -> None:
    class Lengths(StreamRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(100):
                self.wfile.write(b"%s\n" % data)

    with serving(Lengths, engine=engine) as server:
        peer = server.connect()
        for drop in drip(peer, b"abcde", 2):
            assert read_line(peer) == drop + b"\n"
    assert [*drip_nowhere(b"abcde", 2)] == [b"ab", b"cd", b"e"]


def drip_nowhere(data: bytes, size: int) -> list[bytes]:
    near, far = socket.socketpair()
    with near, far:
        return list(drip(near, data, size))


def test_a_peer_drips_by_itself_until_it_is_done(engine: str) -> None:
    class Whole(FramedRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%s\n" % self.read_line())

    with serving(Whole, engine=engine) as server:
        peer = server.connect()
        with dripping(peer, b"drop by drop\n", every=0.001) as ended:
            assert read_line(peer) == b"drop by drop\n"
            wait_until(ended.is_set)


def test_a_dripping_peer_stops_with_the_server_and_with_the_context() -> None:
    near, far = socket.socketpair()
    with near, far, dripping(near, bytes(10**6), every=0.001) as ended:
        far.close()
        wait_until(ended.is_set)
    near, far = socket.socketpair()
    with near, far:
        with dripping(near, b"ab", every=3600) as ended:
            assert far.recv(10) == b"a"
            assert not ended.is_set()
        assert ended.is_set()


def test_a_server_that_hangs_up_in_mid_line_is_told() -> None:
    near, far = socket.socketpair()
    with near:
        far.sendall(b"half")
        far.close()
        with pytest.raises(AssertionError, match="hung up after b'half'"):
            read_line(near)


def test_peers_may_speak_tls(authority: Authority) -> None:
    # Over TCP: where a Unix socket is closed without a word, newer versions of OpenSSL fail with EPIPE.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    received: list[bytes] = []

    def serve() -> None:
        with authority.server_context().wrap_socket(far, server_side=True) as served:
            received.append(read_line(served))

    thread = threading.Thread(target=serve)
    thread.start()
    with authority.client_context().wrap_socket(near, server_hostname="localhost") as peer:
        assert b"".join(drip(peer, b"secret\n", 3)) == b"secret\n"
        thread.join()
        assert everything(peer) == b""
    assert received == [b"secret\n"]


# Listeners, clocks, conditions


def test_a_listener_fails_as_it_is_told_and_then_accepts(engine: str) -> None:
    errors = [errno.EMFILE, None, errno.ECONNABORTED, errno.ENOBUFS]
    with serving(Echo, engine=engine, accept_errors=errors) as server:
        for _ in range(3):
            with server.connect() as peer:
                peer.sendall(b"hello\n")
                assert read_line(peer) == b"hello\n"
    paused = [event.errno for event in server.events if isinstance(event, events.AcceptPaused)]
    assert paused == [errno.EMFILE, errno.ENOBUFS]


def test_events_are_those_until_the_servers_end(engine: str) -> None:
    with serving(Echo, engine=engine) as server:
        events.hub.emit(events.AcceptResumed("a listener", 1.0))
    [event] = server.events
    assert isinstance(event, events.AcceptResumed)
    events.hub.emit(event)
    assert server.events == [event]


def test_a_flaky_listener_takes_the_place_of_a_servers_socket(engine: str) -> None:
    server = server_class(engine)(HERE, Echo)
    server.socket = flaky = FlakyListener(server.socket, [errno.EMFILE, errno.EMFILE])
    assert flaky.errors_left == 2
    with running(server):
        assert ask(server.server_address) == b"hello\n"
    assert flaky.errors_left == 0
    assert flaky.fileno() == -1


def test_a_flaky_listener_keeps_the_timeout_and_takes_the_descriptor() -> None:
    listener = socket.create_server(HERE)
    listener.settimeout(5)
    with FlakyListener(listener, [errno.EPERM]) as flaky:
        assert listener.fileno() == -1
        assert flaky.gettimeout() == 5
        with pytest.raises(PermissionError, match="Operation not permitted"):
            flaky.accept()


def test_a_fake_clock_goes_on_when_it_is_told() -> None:
    clock = FakeClock(100)
    assert clock() == clock() == 100
    clock.advance(2.5)
    assert clock() == 102.5
    with pytest.raises(ValueError, match="does not go back, not even 1 s"):
        clock.advance(-1)


def test_what_never_comes_about_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r"it never came about in 0\.01 s"):
        wait_until(lambda: False, timeout=0.01)
    wait_until(lambda: True, timeout=0)


def test_the_kit_needs_no_framework_for_tests() -> None:
    program = """
        import sys
        from manyhands import StreamRequestHandler
        from manyhands.testing import serving
        with serving(StreamRequestHandler) as server:
            server.connect()
        print([name for name in ("pytest", "unittest", "gevent") if name in sys.modules])
    """
    assert run_python(program) == "[]\n"


def test_an_answer_that_came_before_the_end_of_the_question_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_late(peer: socket.socket) -> None:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(peers, "half_close", too_late)
    with serving(lambda request, *_: request.sendall(b"no\n")) as server:
        assert ask(server.address) == b"no\n"
