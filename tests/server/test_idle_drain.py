"""A drain ends idle connections at once, waits for busy ones, notifies handlers, and reports those left."""

import os
import re
import signal
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from manyhands import BaseRequestHandler, Reason, Server, StreamRequestHandler, events
from manyhands.connections.connection import Connection
from tests.support import (
    ENGINES,
    Authority,
    Echo,
    bound,
    call,
    everything,
    is_closed_by_server,
    is_listening,
    left_open,
    open_descriptors,
    read_line,
    wait_until,
)

from .conftest import Gate

ANY_PORT = "tcp://127.0.0.1:0"
LONG = 3600.0
"""Seconds of a drain that must be over long before: what waits for its end hangs."""

CONCURRENT = ["threads", "processes", "fibers"]
IN_THIS_PROCESS = ["sequential", "threads", "fibers"]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def talking(server: Server, line: bytes = b"hello\n") -> socket.socket:
    """Call an echo, and have a first line answered."""
    peer = call(bound(server))
    peer.sendall(line)
    assert read_line(peer) == line
    return peer


def draining(server: Server, elsewhere: ThreadPoolExecutor) -> Any:
    """Begin to drain; return the future of what was cut off, once the listeners are closed."""
    port = bound(server)[1]
    future = elsewhere.submit(server.drain, LONG)
    wait_until(lambda: not is_listening(port))
    return future


# Idle ones


def test_an_idle_keep_alive_client_ends_the_drain_at_once(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine, drain_timeout=LONG)
    server.start()
    with talking(server) as peer:
        assert server.close() == []
        assert is_closed_by_server(peer)
    assert server.connections.closed == {Reason.DRAINED: 1}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_idle_tls_client_gets_close_notify(
    engine: str, version: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    server = Server(
        LastWords, "tls://127.0.0.1:0", engine=engine, drain_timeout=LONG,
        certfile=certfile, keyfile=keyfile,
    )  # fmt: skip
    server.start()
    context = authority.client_context()
    context.minimum_version = context.maximum_version = version
    plain = call(bound(server))
    with context.wrap_socket(
        plain, server_hostname="localhost", suppress_ragged_eofs=False
    ) as peer:
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        assert server.close() == []
        assert everything(peer) == b"last words"
    assert server.connections.closed == {Reason.DRAINED: 1}


class LastWords(StreamRequestHandler):
    """An echo that has something to say at the end of what it reads."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)
        self.wfile.write(b"last words")


def test_a_client_that_becomes_idle_during_the_drain_is_not_waited_for(
    engine: str, gate: Gate, elsewhere: ThreadPoolExecutor
) -> None:
    class Slow(StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                begun.open()
                gate.wait()
                self.wfile.write(line)

    begun = Gate()
    server = Server(Slow, ANY_PORT, engine=engine)
    server.start()
    with call(bound(server)) as peer:
        peer.sendall(b"hello\n")
        begun.wait()
        cut_off = draining(server, elsewhere)
        gate.open()
        assert everything(peer) == b"hello\n"
        assert cut_off.result(20) == []
    begun.close()


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_unix_client_that_is_idle_gets_five_seconds(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel counts nothing for these, so the drain cannot see that they are idle.
    monkeypatch.setattr("manyhands.serving.drain.SILENT_FOR", 0.0)
    server = Server(Echo, f"unix://{tmp_path}/echo.sock", engine=engine, drain_timeout=LONG)
    server.start()
    with talking(server) as peer:
        assert server.close() == []
        assert is_closed_by_server(peer)


# Members of rooms


class Member(StreamRequestHandler):
    """Joins a room, and tells the others there what its client says. Its client gets no answer."""

    def handle(self) -> None:
        self.join("red")
        for line in self.rfile:
            self.server.tell("red", line, but=self)


@pytest.fixture
def _others_are_never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyhands.model.timeouts.SILENT_FOR", LONG)


@pytest.fixture(params=["tcp", "unix"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ANY_PORT if request.param == "tcp" else f"unix://{tmp_path}/room.sock"


def members(server: Server) -> int:
    return len(server.members("red"))


@pytest.mark.usefixtures("_others_are_never_idle")
def test_a_member_of_a_room_that_only_listens_does_not_hold_up_the_drain(
    engine: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.model.timeouts.MEMBER_SILENT_FOR", 0.0)
    server = Server(Member, place, engine=engine, drain_timeout=LONG)
    server.start()
    with call(bound(server)) as listener:
        wait_until(lambda: members(server) == 1)
        assert server.close() == []
        assert is_closed_by_server(listener)
    assert server.connections.closed == {Reason.DRAINED: 1}


@pytest.mark.usefixtures("_others_are_never_idle")
@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_member_whose_words_the_others_were_told_does_not_hold_up_the_drain(
    engine: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.model.timeouts.MEMBER_SILENT_FOR", 0.0)
    server = Server(Member, place, engine=engine, drain_timeout=LONG)
    server.start()
    with call(bound(server)) as speaker, call(bound(server)) as listener:
        wait_until(lambda: members(server) == 2)
        speaker.sendall(b"hello\n")
        assert read_line(listener) == b"hello\n"
        assert server.close() == []
        assert is_closed_by_server(speaker)
        assert is_closed_by_server(listener)


@pytest.fixture
def half_closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the connections that the drain has half-closed, in its own order.

    A handler in a thread may read the end of the file later than what its client sends after that, which the
    kernel takes all the same: so what is told does not show whether it was half-closed.
    """
    numbers: list[int] = []
    end_input = Connection.end_input

    def noted(connection: Connection) -> None:
        numbers.append(connection.number)
        end_input(connection)

    monkeypatch.setattr(Connection, "end_input", noted)
    return numbers


@pytest.mark.parametrize("engine", CONCURRENT)
def test_what_a_member_has_begun_to_say_is_read_to_its_end(
    engine: str,
    place: str,
    half_closed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: ThreadPoolExecutor,
) -> None:
    monkeypatch.setattr("manyhands.model.timeouts.MEMBER_SILENT_FOR", 0.1)
    server = Server(Member, place, engine=engine)
    server.start()
    with call(bound(server)) as speaker, call(bound(server)) as listener:
        wait_until(lambda: members(server) == 2)
        speaker.sendall(b"hel")
        wait_until(lambda: [each.bytes_in for each in server.connections.values()] == [3, 0])
        first, second = server.connections
        cut_off = elsewhere.submit(server.drain, LONG)
        # The others are given up on by now, and this one is not.
        assert is_closed_by_server(listener)
        assert half_closed == [second]
        speaker.sendall(b"lo\n")
        assert cut_off.result(20) == []
        assert is_closed_by_server(speaker)
        assert half_closed == [second, first]


class MemberOrGuest(StreamRequestHandler):
    """Is told what the room is told, unless its client is a guest."""

    def handle(self) -> None:
        is_guest = self.rfile.readline() == b"guest\n"
        if not is_guest:
            self.join("red")
        self.wfile.write(b"welcome\n")
        for line in self.rfile:
            self.server.tell("red", line if line.endswith(b"\n") else b"cut\n", but=self)


@pytest.mark.parametrize("engine", CONCURRENT)
def test_what_others_say_meanwhile_is_no_answer_to_what_a_member_has_begun_to_say(
    engine: str,
    place: str,
    half_closed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: ThreadPoolExecutor,
) -> None:
    monkeypatch.setattr("manyhands.model.timeouts.MEMBER_SILENT_FOR", LONG)
    server = Server(MemberOrGuest, place, engine=engine)
    server.start()
    with (
        call(bound(server)) as speaker,
        call(bound(server)) as listener,
        call(bound(server)) as guest,
    ):
        for peer, line in ((speaker, b"\n"), (listener, b"\n"), (guest, b"guest\n")):
            peer.sendall(line)
            assert read_line(peer) == b"welcome\n"
        speaker.sendall(b"hel")
        wait_until(lambda: [each.bytes_in for each in server.connections.values()] == [4, 1, 6])
        assert server.tell("red", b"news\n") == 2
        assert read_line(speaker) == read_line(listener) == b"news\n"
        *_, last = server.connections
        cut_off = elsewhere.submit(server.drain, LONG)
        assert is_closed_by_server(guest)  # so the drain has looked at all of them
        assert half_closed == [last]
        speaker.sendall(b"lo\n")
        assert read_line(listener) == b"hello\n"
        server.hurry()
        cut_off.result(20)


@pytest.mark.usefixtures("_others_are_never_idle")
@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_member_that_has_only_just_come_may_still_speak(
    engine: str, place: str, monkeypatch: pytest.MonkeyPatch, elsewhere: ThreadPoolExecutor
) -> None:
    monkeypatch.setattr("manyhands.model.timeouts.MEMBER_SILENT_FOR", LONG)
    server = Server(Member, place, engine=engine)
    server.start()
    with call(bound(server)) as speaker, call(bound(server)) as listener:
        wait_until(lambda: members(server) == 2)
        cut_off = elsewhere.submit(server.drain, LONG)
        wait_until(lambda: server.info().is_draining)
        speaker.sendall(b"hello\n")
        assert read_line(listener) == b"hello\n"
        server.hurry()
        assert len(cut_off.result(20)) == 2


# Busy ones


class Way(NamedTuple):
    """In clear, or in TLS."""

    address: str
    options: dict[str, Any]
    call: Callable[[Any], socket.socket]


@pytest.fixture(params=["tcp", "tls"])
def way(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Way:
    if request.param == "tcp":
        return Way(ANY_PORT, {}, call)
    certfile, keyfile = authority.write(tmp_path, "localhost")
    context = authority.client_context()
    return Way(
        "tls://127.0.0.1:0",
        {"certfile": certfile, "keyfile": keyfile},
        lambda address: context.wrap_socket(call(address), server_hostname="localhost"),
    )


def test_a_busy_handler_finishes_its_answer_whole(
    engine: str, way: Way, gate: Gate, elsewhere: ThreadPoolExecutor
) -> None:
    answer = b"x" * 3_000_000

    class Slow(BaseRequestHandler):
        def handle(self) -> None:
            assert self.request.recv(10) == b"hello"
            begun.open()
            gate.wait()
            self.request.sendall(answer)

    begun = Gate()
    server = Server(Slow, way.address, engine=engine, **way.options)
    server.start()
    with way.call(bound(server)) as peer:
        peer.sendall(b"hello")
        begun.wait()
        cut_off = draining(server, elsewhere)
        gate.open()
        assert everything(peer) == answer
    assert cut_off.result(20) == []
    assert server.connections.closed.keys() <= {Reason.DRAINED, Reason.PEER_CLOSED}
    begun.close()


def test_a_request_that_is_not_answered_yet_is_read_to_its_end(
    engine: str, elsewhere: ThreadPoolExecutor
) -> None:
    class Whole(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.read(6))

    server = Server(Whole, ANY_PORT, engine=engine)
    server.start()
    with call(bound(server)) as peer:
        peer.sendall(b"hel")
        wait_until(lambda: [each.bytes_in for each in server.connections.values()] == [3])
        cut_off = draining(server, elsewhere)
        peer.sendall(b"lo\n")
        assert everything(peer) == b"hello\n"
        assert cut_off.result(20) == []


# What handlers are told


class Polite(StreamRequestHandler):
    """An echo that says goodbye."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)

    def goodbye(self) -> None:
        self.wfile.write(b"draining\n" if self.server.draining else b"serving\n")


def test_connections_are_given_a_chance_to_say_goodbye(engine: str) -> None:
    server = Server(Polite, ANY_PORT, engine=engine, drain_timeout=LONG)
    server.start()
    with talking(server) as peer:
        assert server.close() == []
        assert everything(peer) == b"draining\n"


def test_a_handler_that_looks_sees_that_its_server_drains(
    engine: str, gate: Gate, elsewhere: ThreadPoolExecutor
) -> None:
    class Watchful(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%r\n" % self.server.draining)
            gate.wait()
            self.wfile.write(b"%r\n" % self.server.draining)

    server = Server(Watchful, ANY_PORT, engine=engine)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"False\n"
        cut_off = draining(server, elsewhere)
        gate.open()
        assert everything(peer) == b"True\n"
        assert cut_off.result(20) == []
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer) == b"False\n"
        gate.open()
    server.close()


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_goodbye_that_waits_for_its_client_holds_up_no_other(
    engine: str, elsewhere: ThreadPoolExecutor
) -> None:
    class Verbose(StreamRequestHandler):
        def handle(self) -> None:
            self.line = self.rfile.readline()
            self.wfile.write(self.line)
            self.rfile.read()

        def goodbye(self) -> None:
            self.wfile.write(b"x" * int(self.line))

    server = Server(Verbose, ANY_PORT, engine=engine)
    server.start()
    # More than the kernel holds for a peer that does not read.
    with (
        talking(server, b"30000000\n"),
        talking(server, b"30000000\n"),
        talking(server, b"3\n") as reader,
    ):
        cut_off = draining(server, elsewhere)
        assert everything(reader) == b"xxx"
        server.hurry()
        assert len(cut_off.result(20)) == 2


@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_what_a_goodbye_raises_is_reported_and_the_drain_goes_on(
    engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    class Clumsy(Polite):
        def goodbye(self) -> None:
            raise ZeroDivisionError

    server = Server(Clumsy, ANY_PORT, engine=engine, drain_timeout=LONG)
    server.start()
    with talking(server) as peer:
        assert server.close() == []
        assert is_closed_by_server(peer)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_drain_leaves_nothing_open(engine: str) -> None:
    before = open_descriptors()
    server = Server(Polite, ANY_PORT, engine=engine, drain_timeout=LONG)
    server.start()
    with talking(server):
        server.close()
    assert not left_open(before)


# The connections that are left


class Stuck(StreamRequestHandler):
    """Waits for what does not come, whatever happens to the connection."""

    gate: Gate

    def handle(self) -> None:
        self.wfile.write(b"%d\n" % os.getpid())
        self.gate.wait()


@pytest.mark.usefixtures("_given_up_soon")
@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_the_report_names_the_handler_that_was_left_and_its_line(engine: str, gate: Gate) -> None:
    server = Server(partial(Stuck, gate=gate), ANY_PORT, engine=engine)
    server.start()
    with call(bound(server)) as peer:
        assert read_line(peer)
        port = peer.getsockname()[1]
        [left] = server.drain(0)
    line = Gate.wait.__code__.co_firstlineno + 1
    where = os.path.relpath(Gate.wait.__code__.co_filename)
    found = re.fullmatch(r"#\d+ 127\.0\.0\.1:(\d+), \d+\.\d s old: (.+)", str(left))
    assert found
    assert found.groups() == (str(port), f"Gate.wait, {where}:{line}")
    gate.open()  # a thread cannot be ended before it gets so far
    wait_until(lambda: server.connections.closed == {Reason.CUT_OFF: 1})


def test_of_a_handler_in_another_process_the_report_names_the_process(gate: Gate) -> None:
    server = Server(partial(Stuck, gate=gate), ANY_PORT, engine="processes")
    server.start()
    with call(bound(server)) as peer:
        pid = int(read_line(peer))
        [left] = server.drain(0)
    assert left.doing == f"Stuck, in process {pid}"
    assert server.connections.closed == {Reason.CUT_OFF: 1}


# The threads that may drain, and when


@pytest.mark.usefixtures("_given_up_soon")
def test_drain_ends_a_run_in_another_thread(
    engine: str, gate: Gate, elsewhere: ThreadPoolExecutor
) -> None:
    server = Server(partial(Stuck, gate=gate), ANY_PORT, engine=engine, drain_timeout=LONG)
    server.listen()
    running = elsewhere.submit(server.run)
    with call(bound(server)) as peer:
        assert read_line(peer)
        [left] = server.drain(0)
        assert left.peer == f"127.0.0.1:{peer.getsockname()[1]}"
    assert running.result(20) == [left]


def test_the_thread_that_runs_the_server_cannot_wait_for_its_own_end() -> None:
    server = Server(Echo, ANY_PORT)
    with pytest.raises(RuntimeError, match=r"^this thread runs the server: call stop\(\)"):
        server.run(server.drain)


@pytest.mark.parametrize("engine", IN_THIS_PROCESS)
def test_a_handler_that_drains_its_server_is_told_to_stop_it(engine: str) -> None:
    def handler(request: socket.socket, client_address: Any, listener: Any) -> None:
        with pytest.raises(RuntimeError, match=r"^the server is being served: call stop\(\)"):
            listener.drain()
        request.sendall(b"told")

    with Server(handler, ANY_PORT, engine=engine) as server, call(bound(server)) as peer:
        assert everything(peer) == b"told"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains(number: signal.Signals, engine: str, seen: list[events.Event]) -> None:
    server = Server(Echo, ANY_PORT, engine=engine, drain_timeout=LONG)
    server.listen()
    peers: list[socket.socket] = []

    def talk() -> None:
        peers.append(talking(server))
        os.kill(os.getpid(), number)

    client = threading.Thread(target=talk)
    assert server.run(client.start) == []
    client.join(20)
    with peers[0]:
        assert is_closed_by_server(peers[0])
    assert not any(isinstance(event, events.Draining) for event in seen)
