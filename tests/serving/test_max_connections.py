"""`max_connections`: N means N, on every engine; what becomes of clients at the cap."""

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from manyhands.admission.refusal_log import RefusalLog, RefusalNotices
from manyhands.model.connection_states import Reason
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake
from manyhands.serving import accept_loop, admission_control
from manyhands.serving.core import core_of, share_core
from tests.support import bound, call, everything, forked, read_line, serving, wait_until

from .admission_kit import (
    AT_ONCE,
    HERE,
    REFUSAL,
    Hold,
    Storm,
    calling,
    enter,
    inside,
    is_refused,
    leave,
    of_kind,
    server_of,
    wait_for_balance,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

several_at_once = pytest.mark.parametrize("engine", AT_ONCE)


@several_at_once
def test_a_client_at_the_cap_waits_and_is_served_later(
    engine: str, seen: list[events.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A client that leaves must wake the loop; it may not find out by looking from time to time.
    monkeypatch.setattr(accept_loop, "OPTIONS_INTERVAL", 60.0)
    with (
        serving(server_of(engine, max_connections=2)) as server,
        contextlib.ExitStack() as stack,
    ):
        registry = server.connections
        peers = [enter(server.server_address) for _ in range(2)]
        peers += [stack.enter_context(calling(server.server_address)) for _ in range(3)]
        wait_until(lambda: of_kind(seen, events.ServerFull))
        for number, peer in enumerate(peers):
            if number >= 2:
                assert read_line(peer) == b"in\n"
            assert len(registry) <= 2
            leave(peer)
        wait_for_balance(registry, handler_returned=5)
    described = f"127.0.0.1:{server.server_address[1]}"
    # One crowd, one event; no client was refused.
    assert of_kind(seen, events.ServerFull)[:1] == [events.ServerFull(described, 2)]
    assert not of_kind(seen, events.ConnectionsRefused)


def test_one_crowd_is_one_event(seen: list[events.Event]) -> None:
    with (
        serving(server_of("threads", max_connections=1)) as server,
        contextlib.ExitStack() as stack,
    ):
        peers = [stack.enter_context(enter(server.server_address))]
        peers += [stack.enter_context(calling(server.server_address)) for _ in range(3)]
        wait_until(lambda: of_kind(seen, events.ServerFull))
        for peer in peers[1:]:
            leave(peers[0])
            peers[0] = peer
            assert read_line(peer) == b"in\n"
        assert len(of_kind(seen, events.ServerFull)) == 1
        leave(peers[0])


def test_a_sequential_server_is_never_full(seen: list[events.Event]) -> None:
    with serving(server_of("sequential", max_connections=1, when_full="refuse")) as server:
        with enter(server.server_address) as peer, calling(server.server_address) as waiting:
            leave(peer)
            assert read_line(waiting) == b"in\n"
            leave(waiting)
        wait_for_balance(server.connections, handler_returned=2)
    assert seen == []


@several_at_once
def test_a_server_that_refuses_says_so_and_closes(engine: str) -> None:
    kind = server_of(engine, max_connections=2, when_full="refuse", refusal=REFUSAL)
    with serving(kind) as server:
        registry = server.connections
        with inside(server.server_address, 2) as peers:
            assert is_refused(server.server_address, REFUSAL)
            assert registry.closed == {Reason.REFUSED_FULL: 1}
            leave(peers.pop())
            wait_until(lambda: len(registry) == 1)
            peers.append(enter(server.server_address))
            for peer in peers:
                leave(peer)
        wait_for_balance(registry, handler_returned=3, refused_full=1)


def test_what_a_client_said_already_makes_no_reset_of_a_refusal() -> None:
    with (
        server_of("threads", deny="127.0.0.1", refusal=REFUSAL) as server,
        calling(server.server_address) as eager,
    ):
        eager.sendall(b"hello\n" * 100)
        server.handle_request()
        assert everything(eager) == REFUSAL
        # Linux lets a client read what came before a reset; other systems throw it away.
        assert eager.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@several_at_once
@pytest.mark.parametrize("when_full", ["wait", "refuse"])
def test_the_cap_holds_in_a_storm_on_two_listeners(engine: str, when_full: str) -> None:
    options: dict[str, Any] = {"engine": engine, "max_connections": 3, "when_full": when_full}
    with Server(Hold, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", **options) as server:
        storm = Storm([bound(server, 0), bound(server, 1)], callers=40)
        storm.run()
        assert 1 <= storm.most <= 3
        assert storm.served + storm.refused == 40
        if when_full == "wait":
            assert storm.refused == 0
        closed = {"refused_full": storm.refused} if storm.refused else {}
        wait_for_balance(server.connections, handler_returned=storm.served, **closed)


@pytest.mark.parametrize("when_full", ["wait", "refuse"])
def test_the_cap_holds_where_several_threads_accept(when_full: str) -> None:
    server = server_of("threads", max_connections=2, when_full=when_full)
    loops = [threading.Thread(target=server.serve_forever, args=(60,)) for _ in range(3)]
    for loop in loops:
        loop.start()
    storm = Storm([server.server_address], callers=40)
    storm.run()
    server.shutdown()
    for loop in loops:
        loop.join()
    assert 1 <= storm.most <= 2
    assert storm.served + storm.refused == 40
    if when_full == "wait":
        assert storm.refused == 0
    server.server_close()
    assert server.connections.balance == (40, 0, 40)


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_handle_request_waits_for_a_place(engine: str) -> None:
    with server_of(engine, max_connections=1) as server:
        server.timeout = None
        with calling(server.server_address) as first, calling(server.server_address) as second:
            server.handle_request()
            assert read_line(first) == b"in\n"
            threading.Timer(0.05, first.sendall, (b"bye\n",)).start()
            server.handle_request()
            assert everything(first) == b"out\n"
            assert read_line(second) == b"in\n"
            leave(second)


def test_handle_request_waits_no_longer_than_its_timeout() -> None:
    with server_of("threads", max_connections=1, timeout=0.05) as server:
        server.handle_timeout = lambda: "in vain"
        with calling(server.server_address) as first, calling(server.server_address):
            server.handle_request()
            assert read_line(first) == b"in\n"
            assert server.handle_request() == "in vain"
            leave(first)


@several_at_once
def test_a_handler_for_the_overflow_serves_clients_beyond_the_cap(engine: str) -> None:
    def regret(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"sorry, %d\n" % server.number)

    with serving(
        server_of(engine, max_connections=1, number=7, when_full=staticmethod(regret))
    ) as server:
        registry = server.connections
        with inside(server.server_address, 1) as peers:
            for _ in range(3):
                assert is_refused(server.server_address, b"sorry, 7\n")
            wait_until(lambda: len(registry) == 1)
            leave(peers[0])
            wait_until(lambda: len(registry) == 0)
            leave(enter(server.server_address))
        wait_for_balance(registry, handler_returned=2, refused_full=3)


def test_the_overflow_has_a_bound_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_control, "MOST_OVERFLOW", 2)
    release = threading.Event()

    def dawdle(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"wait\n")
        release.wait()

    options: dict[str, Any] = {"max_connections": 2, "when_full": dawdle, "refusal": REFUSAL}
    with Server(Hold, "tcp://127.0.0.1:0", **options) as server, inside(bound(server), 2) as peers:
        with calling(bound(server)) as third, calling(bound(server)) as fourth:
            assert read_line(third) == read_line(fourth) == b"wait\n"
            assert is_refused(bound(server), REFUSAL)
            # The overflow takes no place of the clients that may be in.
            leave(peers.pop())
            wait_until(lambda: len(server.connections) == 3)
            peers.append(enter(bound(server)))
            release.set()
            assert everything(third) == everything(fourth) == b""
        wait_until(lambda: len(server.connections) == 2)
        wait_until(lambda: server.connections.closed.get(Reason.REFUSED_FULL) == 3)


def test_an_overflow_handler_that_fails_is_reported_as_any() -> None:
    failures = []

    class Reporting:
        def handle_error(self, request: Any, client_address: Any) -> None:
            failures.append(client_address)

    def fail(request: Any, client_address: Any, server: Any) -> None:
        raise ValueError("as told")

    with serving(
        server_of("threads", Hold, Reporting, max_connections=1, when_full=staticmethod(fail))
    ) as server:
        registry = server.connections
        with inside(server.server_address, 1):
            assert is_refused(server.server_address)
            wait_until(lambda: len(failures) == 1)
        wait_for_balance(registry, peer_closed=1, refused_full=1)


def test_refusals_are_told_at_once_and_then_together(seen: list[events.Event]) -> None:
    with serving(server_of("threads", max_connections=1, when_full="refuse")) as server:
        described = f"127.0.0.1:{server.server_address[1]}"
        with inside(server.server_address, 1):
            assert is_refused(server.server_address)
            [told] = of_kind(seen, events.ConnectionsRefused)
            [peer] = told.summary.peers
            assert told.summary.since == pytest.approx(time.time(), abs=60)
            assert str(told) == (
                f"{described} refused 1 connection from {format_address(peer)}: "
                "the server had max_connections (or max_datagrams) already"
            )
            for _ in range(5):
                assert is_refused(server.server_address)
            assert len(of_kind(seen, events.ConnectionsRefused)) == 1
    # What was not told by then is told at the end.
    _, rest = of_kind(seen, events.ConnectionsRefused)
    assert rest.summary.counts == {Reason.REFUSED_FULL: 5}


def test_a_flood_that_has_ended_is_told_of_when_it_is_time(seen: list[events.Event]) -> None:
    now = 100.0
    server = server_of("threads", deny="127.0.0.1")
    core_of(server).unserved.refusals = RefusalNotices(RefusalLog(lambda: now))
    with serving(server, 0.02):
        for _ in range(3):
            assert is_refused(server.server_address)
        assert len(of_kind(seen, events.ConnectionsRefused)) == 1
        now += 10.0
        # No client comes any more: the loop sees to it by itself.
        wait_until(lambda: len(of_kind(seen, events.ConnectionsRefused)) == 2)
    assert of_kind(seen, events.ConnectionsRefused)[1].summary.total == 2


@several_at_once
def test_a_cap_can_be_set_raised_and_taken_away_while_serving(engine: str) -> None:
    with Server(Hold, "tcp://127.0.0.1:0", engine=engine, when_full="refuse") as server:
        assert server.max_connections == 10_000
        with inside(bound(server), 3) as peers:
            server.max_connections = 2
            assert is_refused(bound(server))
            server.max_connections = 4
            peers.append(enter(bound(server)))
            assert is_refused(bound(server))
            server.max_connections = None
            peers.append(enter(bound(server)))
            server.max_connections = 5
            server.when_full = "wait"
            with calling(bound(server)) as waiting:
                server.max_connections = 6
                assert read_line(waiting) == b"in\n"


def test_a_waiting_client_comes_in_when_the_cap_of_a_drop_in_server_is_raised(
    seen: list[events.Event],
) -> None:
    with (
        serving(server_of("threads", max_connections=1)) as server,
        inside(server.server_address, 1),
        calling(server.server_address) as waiting,
    ):
        wait_until(lambda: of_kind(seen, events.ServerFull))
        server.max_connections = 2
        assert read_line(waiting) == b"in\n"


def test_a_handler_changes_the_limits_of_the_whole_server() -> None:
    def limit(request: socket.socket, client_address: Any, listener: Any) -> None:
        request.sendall(b"%d" % listener.max_connections)
        listener.max_connections = 7

    with Server(limit, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0") as server:
        for number, most in enumerate([b"10000", b"7"]):
            with calling(bound(server, number)) as peer:
                assert everything(peer) == most
        assert server.max_connections == 7


def test_a_limit_that_does_not_fit_is_a_mistake() -> None:
    server = Server(Hold, "tcp://127.0.0.1:0")
    with pytest.raises(Mistake, match="max_connections must be a whole number of at least 1"):
        server.max_connections = 0
    with pytest.raises(Mistake, match="when_full must be wait, refuse or a handler"):
        Server(Hold, "tcp://127.0.0.1:0", when_full="panic")
    assert server.max_connections == 10_000


def test_attributes_of_a_program_that_are_no_limits_are_left_alone() -> None:
    class Program:
        max_connections = "many"

        def allow(self) -> bool:
            return False

        deny = object()
        refusal = 5
        when_full = 3

    with serving(server_of("threads", Hold, Program)) as server, inside(server.server_address, 3):
        pass


def test_a_copy_of_the_process_has_places_of_its_own() -> None:
    server = server_of("threads", max_connections=1, when_full="refuse")
    with serving(server), inside(server.server_address, 1):

        def serves_one_itself() -> bool:
            with socketserver.ThreadingTCPServer(HERE, Hold) as own:
                share_core(own, core_of(server))
                own.max_connections = 1
                with calling(own.server_address) as peer:
                    own.handle_request()
                    return read_line(peer) == b"in\n"

        with forked(serves_one_itself) as wait:
            assert wait() == 0


def test_a_burst_while_a_server_is_full_is_served_whole_when_it_ends() -> None:
    with Server(Hold, "tcp://127.0.0.1:0", max_connections=5) as server:
        with inside(bound(server), 5):
            waiting = [call(bound(server)) for _ in range(50)]
        for peer in waiting:
            assert read_line(peer) == b"in\n"
            leave(peer)
        wait_for_balance(server.connections, handler_returned=50, peer_closed=5)
