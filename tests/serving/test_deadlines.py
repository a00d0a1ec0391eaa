"""Deadlines on real connections: which are ended, for which reason, and which are not, on every engine."""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from manyhands import socketserver, testing
from manyhands.model.connection_states import Reason
from manyhands.serving.core import core_of
from manyhands.serving.reaper import Expiry
from manyhands.testing import call, deaf, drip, everything, running, wait_until
from tests.support import ENGINES, Echo, server_class
from tests.support.waiting import PATIENCE

SHORT = 0.2
"""Seconds: a deadline that passes within a test."""

LONG = 3600.0


def after_a_word(engine: str) -> float:
    """Return a deadline that passes within a test, but not before the client has had an answer."""
    return 1.0 if engine == "processes" else 0.5  # a process has to begin first, on a busy machine


HERE = ("127.0.0.1", 0)

REAPER = "manyhands-deadlines"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

WORKERS = [engine for engine in ENGINES if engine != "sequential"]


class Quiet:
    """Keeps silent about a handler's failure."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def drop_in(engine: str, handler: Any, **attributes: Any) -> Any:
    kind = server_class(engine)
    return type(kind.__name__, (Quiet, kind), attributes)(HERE, handler)


def wait_for(registry: Any, reason: Reason, count: int = 1) -> None:
    wait_until(lambda: not registry)
    assert registry.closed == {reason: count}
    assert registry.balance == (count, 0, count)


def say(peer: Any, line: bytes = b"hello\n") -> bytes:
    peer.sendall(line)
    return peer.makefile("rb").readline()


STRETCH = 1.5
"""How much longer than a deadline a connection is watched that must outlive it. A look at it is due when the
deadline passes, and the next a quarter of the deadline later."""


def close_peer(peer: socket.socket) -> None:
    """Say the last word, and wait for the server's. (A forked handler has a copy: to close would not do.)"""
    testing.half_close(peer)
    everything(peer)


def leave(peer: socket.socket) -> None:
    """End a connection on which the handler still sends, though a forked one has a copy of the peer."""
    peer.shutdown(socket.SHUT_RDWR)


class Talkative(socketserver.StreamRequestHandler):
    """Sends a byte now and then, until that fails; hears nothing."""

    def handle(self) -> None:
        self.request.settimeout(0.02)
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b".")
                with contextlib.suppress(TimeoutError):
                    self.request.recv(1)


class Sender(socketserver.StreamRequestHandler):
    """Sends far more than the buffers of both sides hold."""

    def handle(self) -> None:
        self.wfile.write(bytes(50_000_000))


def test_an_idle_peer_is_closed(engine: str) -> None:
    with testing.serving(Echo, engine=engine, idle_timeout=after_a_word(engine)) as server:
        with server.connect() as peer:
            assert say(peer) == b"hello\n"
            assert everything(peer) == b""
        wait_for(server.server.connections, Reason.IDLE)


def test_an_idle_peer_of_a_drop_in_server_is_closed(engine: str) -> None:
    with running(drop_in(engine, Echo, idle_timeout=SHORT)) as server:
        with call(server.server_address) as peer:
            assert everything(peer) == b""
        wait_for(server.connections, Reason.IDLE)


def test_a_peer_that_only_receives_is_idle(engine: str) -> None:
    with testing.serving(Talkative, engine=engine, idle_timeout=after_a_word(engine)) as server:
        with server.connect() as peer:
            assert set(everything(peer)) == {ord(".")}
        wait_for(server.server.connections, Reason.IDLE)


def test_the_thread_that_looks_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []

    def in_slices(items: list[Any], sleep: Any) -> Iterator[list[Any]]:
        # The system's pauses: those of gevent would make a hub in this thread.
        assert sleep is None
        for each in items:
            taken.append(each.number)
            yield [each]

    monkeypatch.setattr("manyhands.serving.reaper.slices", in_slices)
    with testing.serving(Echo, engine="threads", idle_timeout=SHORT) as server:
        with server.connect() as peer:
            assert everything(peer) == b""
        assert taken


def test_a_dripping_peer_is_not_idle(engine: str) -> None:
    idle_timeout = 0.4
    with testing.serving(Echo, engine=engine, idle_timeout=idle_timeout) as server:
        registry = server.server.connections
        with server.connect() as peer:
            wait_until(lambda: registry)
            [connection] = registry.snapshot()
            for _ in drip(peer, b"x" * 10_000):
                if connection.age > STRETCH * idle_timeout:
                    break
                threading.Event().wait(0.01)
            assert connection.reason is None
            assert say(peer, b"\n").startswith(b"xx")
            close_peer(peer)
        wait_for(registry, Reason.PEER_CLOSED)


class Stuck(socketserver.StreamRequestHandler):
    """Sends more than fits, and says through a pipe how that ended."""

    says: int

    def handle(self) -> None:
        try:
            self.wfile.write(bytes(50_000_000))
        except OSError as error:
            os.write(self.says, type(error).__name__.encode())


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def told(reading: int, registry: Any) -> bytes:
    """Wait for what a handler says through the pipe; where it says nothing, tell how its connection is."""
    ready, _, _ = select.select([reading], [], [], PATIENCE)
    now = [(each.state, each.reason) for each in registry.snapshot()]
    assert ready, f"accepted, open, closed: {registry.balance}; {now}; {registry.closed}"
    return os.read(reading, 100)


def while_it_lasts(peer: socket.socket) -> None:
    while peer.recv(65536):
        pass


def test_a_peer_that_never_reads_is_reset_and_its_sender_gets_an_error(engine: str) -> None:
    with pipe() as (reading, writing):
        handler = type("Stuck", (Stuck,), {"says": writing})
        with testing.serving(handler, engine=engine, write_timeout=SHORT) as server:
            peer = deaf(server.address)
            registry = server.server.connections
            assert told(reading, registry) in {b"BrokenPipeError", b"ConnectionResetError"}
            wait_for(registry, Reason.WRITE_STALLED)
            with peer, pytest.raises(ConnectionResetError):
                while_it_lasts(peer)


def test_a_peer_that_reads_slowly_is_not_stalled(engine: str) -> None:
    write_timeout = 0.4
    with testing.serving(Sender, engine=engine, write_timeout=write_timeout) as server:
        registry = server.server.connections
        with deaf(server.address) as peer:
            wait_until(lambda: registry)
            [connection] = registry.snapshot()
            while connection.age < STRETCH * write_timeout:
                assert peer.recv(4096)
                threading.Event().wait(0.005)
            assert connection.reason is None
            leave(peer)


def test_a_peer_that_takes_what_it_is_sent_and_says_nothing_is_not_stalled(engine: str) -> None:
    with testing.serving(Talkative, engine=engine, write_timeout=SHORT) as server:
        registry = server.server.connections
        with server.connect() as peer:
            wait_until(lambda: registry)
            [connection] = registry.snapshot()
            while connection.age < 2 * SHORT:
                assert peer.recv(100)
            assert connection.reason is None
            leave(peer)


def test_an_old_connection_is_closed_however_busy(engine: str) -> None:
    with testing.serving(Echo, engine=engine, max_age=SHORT) as server:
        with server.connect() as peer, contextlib.suppress(OSError):
            while say(peer):
                pass
        wait_for(server.server.connections, Reason.TOO_OLD)


class Patient(socketserver.StreamRequestHandler):
    """Lets its client be silent when that asks for it, and echoes."""

    def handle(self) -> None:
        for line in self.rfile:
            if line == b"none\n":
                self.deadlines.idle_timeout = None
            elif line == b"long\n":
                self.deadlines.idle_timeout = LONG
            elif line == b"short\n":
                self.deadlines.idle_timeout = SHORT
            elif line == b"old\n":
                self.deadlines.max_age = SHORT
            self.wfile.write(line)


@pytest.mark.parametrize("word", [b"none\n", b"long\n"])
@pytest.mark.parametrize("engine", WORKERS)
def test_a_handler_may_let_its_own_client_be_silent(engine: str, word: bytes) -> None:
    with (
        testing.serving(Patient, engine=engine, idle_timeout=2 * SHORT) as server,
        server.connect() as patient,
        server.connect() as usual,
    ):
        registry = server.server.connections
        assert say(patient, word) == word
        assert everything(usual) == b""
        wait_until(lambda: len(registry) == 1)
        [left] = registry.snapshot()
        wait_until(lambda: left.silent_for > 3 * SHORT)
        assert say(patient) == b"hello\n"


@pytest.mark.parametrize(
    ("word", "reason"), [(b"short\n", Reason.IDLE), (b"old\n", Reason.TOO_OLD)]
)
def test_a_handler_may_have_deadlines_where_the_server_has_none(
    engine: str, word: bytes, reason: Reason
) -> None:
    with running(drop_in(engine, Patient)) as server:
        registry = core_of(server).registry  # `connections` would have the server keep more of them
        with call(server.server_address) as peer:
            assert say(peer, word) == word
            assert everything(peer) == b""
        wait_for(registry, reason)


def test_a_handler_s_shorter_deadline_holds_at_once(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reaper would not look again within the test if nothing woke it.
    monkeypatch.setattr("manyhands.model.timeouts.LONGEST_INTERVAL", 60.0)
    with testing.serving(Patient, engine=engine, idle_timeout=LONG) as server:
        with server.connect() as peer:
            assert say(peer, b"short\n") == b"short\n"
            assert everything(peer) == b""
        wait_for(server.server.connections, Reason.IDLE)


def test_an_operator_may_change_the_deadlines_of_a_connection(engine: str) -> None:
    with testing.serving(Echo, engine=engine, idle_timeout=None, write_timeout=None) as server:
        registry = server.server.connections
        with server.connect() as peer:
            say(peer)
            wait_until(lambda: registry)
            [connection] = registry.snapshot()
            connection.deadlines.idle_timeout = SHORT
            assert everything(peer) == b""
        wait_for(registry, Reason.IDLE)


@pytest.mark.parametrize("engine", WORKERS)  # a sequential server's loop is busy with its client
def test_deadlines_of_a_drop_in_server_can_be_changed_while_it_runs(engine: str) -> None:
    with running(drop_in(engine, Echo), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer)
            server.idle_timeout = SHORT
            assert everything(peer) == b""
        wait_until(lambda: Reason.IDLE in registry.closed)


class Stubborn(socketserver.StreamRequestHandler):
    """Takes no notice of the end of its connection, until the test is over."""

    is_over: threading.Event

    def handle(self) -> None:
        self.wfile.write(b"here\n")
        pause = self._pause()
        while not self.is_over.is_set():
            with contextlib.suppress(BaseException):
                pause(0.01)
                self.request.recv(1)

    def _pause(self) -> Any:
        if core_of(self.server).engines.of(self.server).name != "fibers":
            return threading.Event().wait
        gevent: Any = pytest.importorskip("gevent")
        return gevent.sleep


@pytest.fixture
def stubborn() -> Iterator[Any]:
    is_over = threading.Event()
    yield type("Stubborn", (Stubborn,), {"is_over": is_over})
    is_over.set()


LIMITS = {"threads": "max_threads", "processes": "max_children", "fibers": "max_fibers"}


@pytest.mark.usefixtures("_given_up_soon")
@pytest.mark.parametrize("engine", WORKERS)
def test_the_slot_is_freed_though_the_handler_goes_on(engine: str, stubborn: Any) -> None:
    options = {"engine": engine, "idle_timeout": SHORT, LIMITS[engine]: 1}
    with testing.serving(stubborn, **options) as server:
        registry = server.server.connections
        with server.connect() as first, server.connect() as second:
            assert testing.read_line(first) == b"here\n"
            [connection] = registry.snapshot()
            # The second is served while the first one's handler still runs, since there is one slot.
            assert testing.read_line(second) == b"here\n"
            assert connection.reason is Reason.IDLE
            assert connection.age < SHORT + 2.0
            assert server.server.engine.running() <= 1
        wait_until(lambda: registry.closed == {Reason.IDLE: 2})
        stubborn.is_over.set()
        wait_until(lambda: server.server.engine.running() == 0)
        assert registry.balance == (2, 0, 2)


@pytest.mark.usefixtures("_given_up_soon")
def test_the_connection_counts_as_closed_though_a_sequential_handler_goes_on(stubborn: Any) -> None:
    with testing.serving(stubborn, engine="sequential", idle_timeout=SHORT) as server:
        with server.connect() as peer:
            assert testing.read_line(peer) == b"here\n"
            wait_for(server.server.connections, Reason.IDLE)
        stubborn.is_over.set()


@pytest.mark.usefixtures("_given_up_soon")
def test_a_forked_handler_that_goes_on_ends_itself_where_no_other_can(stubborn: Any) -> None:
    class Own(stubborn):
        def setup(self) -> None:
            super().setup()
            self.deadlines.idle_timeout = SHORT

    with running(drop_in("processes", Own)) as server, call(server.server_address) as peer:
        assert testing.read_line(peer) == b"here\n"
        wait_for(core_of(server).registry, Reason.IDLE)


def reapers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == REAPER]


def test_no_reaper_runs_without_deadlines(engine: str) -> None:
    with (
        testing.serving(Echo, engine=engine, idle_timeout=None, write_timeout=None) as server,
        server.connect() as peer,
    ):
        say(peer)
        assert not reapers()
        assert not server.server._sockets.group.core.reaper.is_on


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "processes"])
def test_the_reaper_ends_with_the_last_connection(engine: str) -> None:
    with running(drop_in(engine, Echo, idle_timeout=1.0)) as server:
        for _ in range(2):
            with call(server.server_address) as peer:
                say(peer)
                assert reapers() == [REAPER]
            wait_until(lambda: not reapers())


def test_no_reaper_is_left_when_a_server_is_closed(engine: str) -> None:
    with running(drop_in(engine, Echo, idle_timeout=LONG)) as server:
        with call(server.server_address) as peer:
            say(peer)
            close_peer(peer)
        wait_until(lambda: not server.connections)
    assert not reapers()


def test_a_server_that_forks_has_no_thread_for_its_deadlines() -> None:
    with (
        running(drop_in("processes", Echo, idle_timeout=LONG)) as server,
        call(server.server_address) as peer,
    ):
        say(peer)
        assert not reapers()
        close_peer(peer)


def test_a_datagram_s_handler_has_no_deadlines() -> None:
    failures = []

    class Datagram(socketserver.DatagramRequestHandler):
        def handle(self) -> None:
            try:
                _ = self.deadlines
            except AttributeError as error:
                failures.append(str(error))

    with (
        testing.serving(Datagram, "udp://127.0.0.1:0", engine="threads") as server,
        server.connect() as peer,
    ):
        peer.send(b"hello")
        assert peer.recv(100) == b""
    assert failures == ["this Datagram has no deadlines: it serves no connection of a server"]


def test_an_attribute_of_the_program_s_own_counts() -> None:
    class Program(socketserver.StreamRequestHandler):
        deadlines: Any = ()

        def handle(self) -> None:
            self.deadlines = ["tomorrow"]
            self.wfile.write(self.deadlines[0].encode())

    with testing.serving(Program) as server, server.connect() as peer:
        assert everything(peer) == b"tomorrow"


def test_a_thread_of_the_handler_s_may_set_its_deadlines() -> None:
    class Helped(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            helper = threading.Thread(target=self._help)
            helper.start()
            helper.join()
            self.rfile.read()

        def _help(self) -> None:
            self.deadlines.idle_timeout = SHORT

    with testing.serving(Helped) as server:
        with server.connect() as peer:
            assert everything(peer) == b""
        wait_for(server.server.connections, Reason.IDLE)


@pytest.fixture
def unix(tmp_path: Any) -> str:
    return f"unix://{tmp_path}/socket"


def test_an_idle_peer_on_a_unix_socket_is_closed(engine: str, unix: str) -> None:
    with testing.serving(Echo, unix, engine=engine, idle_timeout=after_a_word(engine)) as server:
        with server.connect() as peer:
            assert say(peer) == b"hello\n"
            assert everything(peer) == b""
        wait_until(lambda: server.server.connections.closed == {Reason.IDLE: 1})


def test_a_peer_on_a_unix_socket_that_speaks_now_and_then_is_not_idle(
    engine: str, unix: str
) -> None:
    idle_timeout = 0.4
    with testing.serving(Echo, unix, engine=engine, idle_timeout=idle_timeout) as server:
        registry = server.server.connections
        with server.connect() as peer:
            assert say(peer) == b"hello\n"
            [connection] = registry.snapshot()
            while connection.age < STRETCH * idle_timeout:
                assert say(peer) == b"hello\n"
                threading.Event().wait(0.01)
            assert connection.reason is None
            assert connection.silent_for < idle_timeout
            assert connection.bytes_in == connection.bytes_out > 6


def test_a_peer_on_a_unix_socket_that_never_reads_is_stalled(engine: str, unix: str) -> None:
    with (
        testing.serving(Sender, unix, engine=engine, write_timeout=SHORT) as server,
        server.connect(),
    ):
        wait_until(lambda: server.server.connections.closed == {Reason.WRITE_STALLED: 1})


def test_a_peer_on_a_unix_socket_that_reads_slowly_is_not_stalled(engine: str, unix: str) -> None:
    write_timeout = 0.4
    with testing.serving(Sender, unix, engine=engine, write_timeout=write_timeout) as server:
        registry = server.server.connections
        with server.connect() as peer:
            wait_until(lambda: registry)
            [connection] = registry.snapshot()
            while connection.age < STRETCH * write_timeout:
                assert peer.recv(4096)
                threading.Event().wait(0.005)
            assert connection.reason is None
            leave(peer)


@pytest.mark.parametrize("engine", ["threads", "processes"])  # a plain socket would hold up fibers
def test_what_a_handler_detaches_on_a_unix_socket_is_not_taken_for_idle(
    engine: str, unix: str
) -> None:
    class Detaching(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(fileno=self.request.detach()) as own:
                own.settimeout(20)
                while data := own.recv(100):
                    own.sendall(data)

    with (
        testing.serving(
            Detaching, unix, engine=engine, idle_timeout=after_a_word(engine)
        ) as server,
        server.connect() as peer,
    ):
        assert say(peer) == b"hello\n"
        [connection] = server.server.connections.snapshot()
        wait_until(lambda: connection.age > STRETCH * after_a_word(engine))
        assert say(peer) == b"hello\n"
        close_peer(peer)


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_a_program_that_handles_one_request_has_its_deadlines_too(engine: str) -> None:
    with drop_in(engine, Echo, idle_timeout=SHORT) as server:
        with call(server.server_address) as peer:
            server.handle_request()
            assert everything(peer) == b""
        wait_for(server.connections, Reason.IDLE)


def test_a_reaper_that_failed_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    looks = Expiry.look

    def fail_first(*arguments: Any) -> float | None:
        if not reported:
            raise RuntimeError("as told")
        return looks(*arguments)

    monkeypatch.setattr(threading, "excepthook", reported.append)
    monkeypatch.setattr(Expiry, "look", fail_first)
    with testing.serving(Echo, idle_timeout=SHORT) as server:
        with server.connect() as first:
            say(first)
            wait_until(lambda: reported)
            with server.connect() as second:
                assert everything(second) == b""
            assert everything(first) == b""
        wait_for(server.server.connections, Reason.IDLE, 2)
