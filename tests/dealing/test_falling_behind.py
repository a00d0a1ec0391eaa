"""What becomes, between processes, of what is told faster than it is taken; and of what holds for that."""

import gc
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import Reason, events, socketserver
from manyhands.connections.connection import Connection
from manyhands.dealing import dealer
from manyhands.testing import deaf, running, serving, wait_until
from tests.dealing.kit import Client, Speaker, clients, entries, hang_up
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextmanager
def listening_for_lags() -> Iterator[list[events.ClientFellBehind]]:
    heard: list[Any] = []
    unsubscribe = events.hub.subscribe(heard.append, events.ClientFellBehind)
    try:
        yield heard
    finally:
        unsubscribe()


def test_a_burst_to_a_handler_that_was_only_just_notified_arrives() -> None:
    with (
        serving(Speaker, engine="processes", outbox=50_000) as under_test,
        clients(under_test.address, 1) as (anna,),
    ):
        connection = under_test.server.connections[anna.number]
        for number in range(40):
            assert connection.send(b"%04d" % number + b"x" * 4995 + b"\n")
        assert [int(anna.hear()[:4]) for _ in range(40)] == list(range(40))
        assert connection.missed == 0
        assert anna.ask("join red") == "True"
        assert under_test.server.tell("red", b"later\n") == 1
        assert anna.hear() == "later"


def test_a_burst_that_is_too_much_before_a_handler_attaches_is_counted_and_closes_nothing() -> None:
    with (
        listening_for_lags() as lags,
        serving(Speaker, engine="processes", outbox=50_000) as under_test,
        clients(under_test.address, 1) as (anna,),
    ):
        anna.stop()
        connection = under_test.server.connections[anna.number]
        sent = sum(connection.send(b"%04d" % n + b"x" * 4995 + b"\n") for n in range(400))
        assert 0 < sent < 400
        assert connection.missed == 400 - sent
        anna.go_on()
        assert [int(anna.hear()[:4]) for _ in range(sent)] == list(range(sent))
        wait_until(lambda: connection.send(b"later\n"))
        assert anna.hear() == "later"
        assert connection.missed == 400 - sent
        wait_until(lambda: lags)
        assert [lag.is_closed for lag in lags] == [False]


def test_every_question_of_a_handler_is_answered_while_its_room_is_flooded() -> None:
    class Curious(Speaker):
        def do_ask(self, _: str, __: str) -> str:
            asked = {
                (len(self.server.members("red")), self.server.tell("blue", b"")) for _ in range(300)
            }
            return f"ANSWERS {asked}"

    options: dict[str, Any] = {"outbox": 20_000, "when_behind": "drop_oldest"}
    with (
        serving(Curious, engine="processes", **options) as under_test,
        clients(under_test.address, 1) as (anna,),
    ):
        server, is_over = under_test.server, threading.Event()
        assert [anna.ask("join red"), anna.ask("join blue")] == ["True", "True"]

        def flood() -> None:
            while not is_over.is_set():
                server.tell("red", b"x" * 15_000 + b"\n")

        flooding = threading.Thread(target=flood)
        flooding.start()
        try:
            anna.say("ask")
            line = ""
            while "ANSWERS" not in line:
                line = anna.hear()
        finally:
            is_over.set()
            flooding.join(PATIENCE)
        assert line.endswith("ANSWERS {(1, 1)}")


@pytest.mark.parametrize("kind", ["drop-in", "Server"])
def test_what_holds_for_outboxes_holds_for_handlers_at_work_once_it_is_changed(kind: str) -> None:
    class Terse(Speaker):
        def do_try(self, room: str, size: str) -> int:
            return self.server.tell(room, b"x" * int(size), but=self)

        def do_send_long(self, size: str, _: str) -> bool:
            return self.send(b"x" * (int(size) - 1) + b"\n")

    with on_processes(kind, Terse) as (server, address), clients(address, 2) as (anna, bob):
        assert [anna.ask("join red"), bob.ask("join red")] == ["True", "True"]
        assert anna.ask("try red 200000") == "1"
        assert bob.lines.read(200_000) == b"x" * 200_000
        server.outbox = 5000
        wait_until(lambda: anna.ask("try nobody 6000").startswith("Mistake: a piece of 6000 bytes"))
        assert anna.ask("try red 200000").startswith(
            "Mistake: a piece of 200000 bytes fits into no"
        )
        assert anna.ask("send-long 6000").startswith("Mistake")
        # All are where they were.
        assert len(server.members("red")) == 2
        server.outbox = 400_000
        wait_until(lambda: anna.ask("try nobody 300000") == "0")
        assert anna.ask("try red 300000") == "1"
        assert bob.lines.read(300_000) == b"x" * 300_000
        anna.say("send-long 300000")
        assert [anna.hear(), anna.hear()] == ["x" * 299_999, "True"]


@contextmanager
def on_processes(kind: str, handler: Any, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A server on processes, be it the drop-in or a `Server`, and its address."""
    if kind == "Server":
        with serving(handler, engine="processes", **options) as under_test:
            yield under_test.server, under_test.address
        return
    made = type("OwnServer", (socketserver.ForkingTCPServer,), options)
    with running(made(("127.0.0.1", 0), handler)) as server:
        yield server, server.server_address


def test_the_thread_that_deals_reads_no_property_of_the_program_s() -> None:
    readers: set[str] = set()

    class Own(socketserver.ForkingTCPServer):
        @property
        def outbox(self) -> int:
            readers.add(threading.current_thread().name)
            return 10_000

    with (
        running(Own(("127.0.0.1", 0), Speaker)) as server,
        clients(server.server_address, 2) as (anna, bob),
    ):
        assert [anna.ask("join red"), bob.ask("join red")] == ["True", "True"]
        assert anna.ask("tell-much red 10000").startswith("Mistake")
        for _ in range(20):
            anna.say("tell-much red 9000")
            assert bob.hear() == "x" * 9000
        assert len(readers) == 1  # of the accept loop


class Hoarding(Speaker):
    """Joins, and may talk to its client, for which the kernel holds little."""

    def handle(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.join("red")
        self.rfile.readline()


class Talkative(Hoarding):
    """Has no channel to its parent until its client falls behind."""

    def handle(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        for _ in range(1000):
            self.send(b"x" * 10_000)
        self.rfile.readline()


@pytest.mark.parametrize("handler", [Hoarding, Talkative])
@pytest.mark.parametrize("when_behind", ["close", "drop_new", "drop_oldest"])
def test_a_client_that_falls_behind_is_told_of_once_in_the_server_s_process(
    handler: Any, when_behind: str
) -> None:
    options: dict[str, Any] = {"outbox": 20_000, "when_behind": when_behind}
    with (
        listening_for_lags() as lags,
        serving(handler, engine="processes", **options) as under_test,
        deaf(under_test.address) as peer,
    ):
        server = under_test.server
        wait_until(lambda: server.members("red") or handler is Talkative)
        deadline = time.monotonic() + PATIENCE
        while not lags and time.monotonic() < deadline:
            server.tell("red", b"x" * 10_000)
        if when_behind == "close":
            wait_until(lambda: server.connections.closed == {Reason.DID_NOT_READ: 1})
        elif handler is Hoarding:
            (connection,) = server.connections.values()
            missed = connection.missed
            for _ in range(50):
                server.tell("red", b"x" * 10_000)
            wait_until(lambda: connection.missed >= missed + 50 - 20)
        assert [lag.is_closed for lag in lags] == [when_behind == "close"]
        peer.close()
        for connection in server.connections.values():
            connection.close()


def test_a_lag_is_told_of_be_the_process_gone_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Connection.close

    def close_and_be_forgotten(connection: Any, *reason: Reason) -> bool:
        is_closed = close(connection, *reason)
        wait_until(lambda: connection.outbox.connection is None)
        return is_closed

    monkeypatch.setattr(Connection, "close", close_and_be_forgotten)
    with (
        listening_for_lags() as lags,
        serving(Speaker, engine="processes", outbox=5000) as under_test,
        clients(under_test.address, 1) as (anna,),
    ):
        assert anna.ask("join red") == "True"
        anna.stop()
        connection = under_test.server.connections[anna.number]
        wait_until(lambda: all(connection.send(b"x" * 4000) for _ in range(10)) is False)
        wait_until(lambda: lags)
        assert [lag.is_closed for lag in lags] == [True]


@pytest.mark.usefixtures("_no_collector")
def test_connections_that_were_told_something_are_freed_at_their_end_without_the_collector() -> (
    None
):
    numbers: set[int] = set()

    def are_freed() -> bool:
        return not any(
            type(each) is Connection and each.number in numbers for each in gc.get_objects()
        )

    with serving(Speaker, engine="processes") as under_test:
        server = under_test.server
        for does_join in (True, False, True):
            peer = Client(under_test.address)
            numbers.add(peer.number)
            if does_join:
                assert peer.ask("join red") == "True"
            wait_until(lambda peer=peer: server.connections[peer.number].send(b"piece\n"))
            assert peer.hear() == "piece"
            peer.lines.close()
            hang_up(peer.socket)
            wait_until(lambda: not server.connections)
        wait_until(are_freed)


def test_a_server_that_does_not_wait_for_its_handlers_leaves_nothing_once_they_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The thread ends since it is told to, and not because there was nothing to deal for a while.
    monkeypatch.setattr(dealer, "IDLE", 1000.0)

    class Own(socketserver.ForkingTCPServer):
        block_on_close = False

    def things() -> tuple[int, int]:
        gc.collect()
        return entries("/proc/self/task"), entries("/proc/self/fd")

    def serve() -> None:
        with running(Own(("127.0.0.1", 0), Speaker)) as server:
            with clients(server.server_address, 1) as (anna,):
                assert anna.ask("join red") == "True"
            wait_until(lambda: not server.connections)

    serve()
    before = things()
    for _ in range(3):
        serve()
        wait_until(lambda: all(now <= then for now, then in zip(things(), before, strict=True)))
