"""The registry of a server: it counts each connection once, with one reason, on every engine."""

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from manyhands import events, socketserver, testing
from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry, Totals
from manyhands.connections.traffic import TCP_TIME_WAIT, Traffic, traffic_of
from manyhands.engines import ENGINES
from manyhands.model.connection_states import TRANSITIONS, Reason, State, Step
from tests.support import call, everything, forked, reset, server_class, serving, wait_until
from tests.support.interrupts import interrupted
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Obedient(socketserver.StreamRequestHandler):
    """Does what each line says."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)
            if line == b"return\n":
                return
            if line == b"fail\n":
                raise ValueError("as told")
            if line == b"farewell\n":
                self.request.shutdown(socket.SHUT_WR)
            if line == b"keep\n":
                self.request.detach()
                return


class Quiet:
    """Keeps silent about a handler's failure."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def server_of(engine: str, handler: Any = Obedient) -> Any:
    kind = server_class(engine)
    return type(kind.__name__, (Quiet, kind), {})(HERE, handler)


def say(peer: socket.socket, word: str) -> bytes:
    peer.sendall(word.encode() + b"\n")
    return peer.makefile("rb").readline()


def close_peer(peer: socket.socket) -> None:
    """Say the last word, and wait for the server's. (A forked handler has a copy: to close would not do.)"""
    peer.shutdown(socket.SHUT_WR)
    everything(peer)


def wait_for(registry: Any, reason: Reason, count: int = 1) -> None:
    wait_until(lambda: registry.closed == {reason: count})
    accepted, still_open, closed = registry.balance
    assert (accepted, still_open, closed) == (count, 0, count)


@pytest.mark.parametrize(
    ("word", "reason"),
    [("return", Reason.HANDLER_RETURNED), ("fail", Reason.HANDLER_FAILED)],
)
def test_the_end_of_the_handler_is_the_reason(engine: str, word: str, reason: Reason) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer, word)
            assert everything(peer) == b""
        wait_for(registry, reason)


def test_a_peer_that_closes_is_the_reason(engine: str) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer, "hello")
            close_peer(peer)
        wait_for(registry, Reason.PEER_CLOSED)


class Asked(socket.socket):
    """Notes whether it was open when the kernel was asked about it."""

    answers: list[bool]

    def getsockopt(self, level: int, *which: int) -> Any:
        if which == (socket.TCP_INFO, *which[1:]):
            self.answers.append(self.fileno() >= 0)
        return super().getsockopt(level, *which)


def test_of_a_closed_connection_the_kernel_is_not_asked_again() -> None:
    answers: list[bool] = []

    class Server(socketserver.ThreadingTCPServer):
        def get_request(self) -> Any:
            connection, address = super().get_request()
            asked = Asked(fileno=connection.detach())
            asked.answers = answers
            return asked, address

    ends: list[Any] = []
    unsubscribe = events.hub.subscribe(ends.append, events.ConnectionClosed)
    try:
        with serving(Server(HERE, Obedient), 0.02) as server:
            server.connections.totals = Totals()
            with call(server.server_address) as peer:
                say(peer, "hello")
                close_peer(peer)
            wait_for(server.connections, Reason.PEER_CLOSED)
            wait_until(lambda: ends)
    finally:
        unsubscribe()
    assert answers == [True]
    assert server.connections.totals.sums().bytes_in == len("hello\n")


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])  # see `close_peer`
def test_a_peer_that_resets_after_the_server_has_closed_is_the_reason(engine: str) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        peer = call(server.server_address)
        say(peer, "farewell")
        reset(peer)
        wait_for(registry, Reason.PEER_RESET)


def test_what_a_handler_keeps_is_handed_off(engine: str) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer, "keep")
            wait_for(registry, Reason.HANDED_OFF)


def test_an_open_connection_tells_of_itself(engine: str) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            assert say(peer, "hello") == b"hello\n"
            wait_until(lambda: len(registry) == 1)
            [number] = registry
            connection = registry[number]
            assert connection.number == number
            assert connection.client_address == peer.getsockname()
            assert connection.local_address == server.server_address
            assert connection.server is server
            assert (connection.bytes_in, connection.bytes_out) == (6, 6)
            assert 0 <= connection.silent_for < PATIENCE
            assert 0 <= connection.age < PATIENCE
            assert connection.tls_version is connection.tls_cipher is None
            assert connection.client_certificate_subject is None
            close_peer(peer)
        wait_until(lambda: not registry)
        assert number not in registry
        # What was last known stays.
        assert (connection.state, connection.bytes_in) == (State.CLOSED, 6)


def test_a_connection_can_be_closed_by_its_number(engine: str) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer, "hello")
            wait_until(lambda: len(registry) == 1)
            [connection] = registry.values()
            assert connection.close()
            assert not connection.close(Reason.IDLE)
            assert everything(peer) == b""
        wait_for(registry, Reason.KICKED)


def test_the_registry_balances_in_a_crowd(engine: str) -> None:
    with serving(server_of(engine), 0.02) as server:
        registry = server.connections
        unbalanced = []
        is_over = threading.Event()

        def look() -> None:
            while not is_over.is_set():
                accepted, still_open, closed = registry.balance
                if accepted != still_open + closed:
                    unbalanced.append(registry.balance)

        def call_again_and_again() -> None:
            for number in range(25):
                with call(server.server_address) as peer:
                    word = ("return", "fail", "hello")[number % 3]
                    say(peer, word)
                    # The side that closes first is the reason.
                    (close_peer if word == "hello" else everything)(peer)

        looking = threading.Thread(target=look)
        callers = [threading.Thread(target=call_again_and_again) for _ in range(4)]
        for thread in (looking, *callers):
            thread.start()
        for caller in callers:
            caller.join()
        wait_until(lambda: not registry)
        is_over.set()
        looking.join()
        assert not unbalanced
        assert registry.accepted == 100
        assert registry.closed == {
            Reason.HANDLER_RETURNED: 36,
            Reason.HANDLER_FAILED: 32,
            Reason.PEER_CLOSED: 32,
        }


class Meanwhile(dict[Step, State]):
    """The steps from a state, of which one meets with a decision in another thread."""

    def __init__(self, steps: dict[Step, State], step: Step, decide: Callable[[], object]) -> None:
        super().__init__(steps)
        self._step = step
        self._decide = decide

    def get(self, step: Step, default: Any = None) -> Any:
        """Return the state that a step leads to, as of just before the decision."""
        following = super().get(step, default)
        if step is self._step:
            decision = threading.Thread(target=self._decide)
            decision.start()
            decision.join(PATIENCE)
        return following


def test_a_client_that_is_kicked_as_its_handler_begins_has_no_handler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kicked, handled = [], []
    with serving(socketserver.ThreadingTCPServer(HERE, lambda *_: handled.append(1))) as server:

        def kick() -> None:
            for connection in server.connections.values():
                kicked.append(connection)
                assert connection.close()

        steps = Meanwhile(TRANSITIONS[State.ACCEPTED], Step.HANDLER_BEGINS, kick)
        monkeypatch.setitem(TRANSITIONS, State.ACCEPTED, steps)
        with call(server.server_address) as peer:
            assert everything(peer) == b""
            wait_for(server.connections, Reason.KICKED)
    assert [connection.state for connection in kicked] == [State.CLOSED]
    assert not handled


def test_a_datagram_is_no_connection() -> None:
    class Shout(socketserver.DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.packet.upper())

    with serving(socketserver.ThreadingUDPServer(HERE, Shout)) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(PATIENCE)
            peer.sendto(b"hello", server.server_address)
            assert peer.recv(100) == b"HELLO"
        assert server.connections.balance == (0, 0, 0)


def test_a_worker_that_cannot_be_had_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("manyhands.engines.threads.ConnectionThread.start", refuse)
    with serving(server_of("threads")) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            everything(peer)
        wait_until(lambda: registry.closed.get(Reason.NO_WORKER))


def test_an_attribute_of_the_program_s_own_counts() -> None:
    class Program(socketserver.ThreadingTCPServer):
        def __init__(self) -> None:
            super().__init__(HERE, Obedient)
            self.connections = []

    with serving(Program()) as server, call(server.server_address) as peer:
        assert say(peer, "return") == b"return\n"
        assert server.connections == []


def test_a_forked_copy_begins_with_an_empty_registry() -> None:
    with serving(server_of("threads")) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer, "hello")
            wait_until(lambda: len(registry) == 1)
            with forked(lambda: os._exit(len(registry) + registry.accepted)) as wait:
                assert wait() == 0


def test_all_listeners_of_a_server_share_a_registry(engine: str) -> None:
    with testing.serving(
        Obedient, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", engine=engine
    ) as server:
        registry = server.server.connections
        for address in server.server.addresses:
            with call((address.host, address.port)) as peer:
                say(peer, "return")
                assert everything(peer) == b""
        wait_for(registry, Reason.HANDLER_RETURNED, 2)


def unserved() -> Connection:
    """Make a connection that has no server."""
    return Connection(None, None, None, lambda *_: True, ENGINES["sequential"](), Mock())


class HeldPlace:
    """A place, and how often it was left."""

    def __init__(self) -> None:
        self.left = 0

    def leave(self) -> None:
        """Count."""
        self.left += 1


def test_a_connection_that_has_ended_leaves_the_place_that_it_is_given_too_late() -> None:
    connection, place = unserved(), HeldPlace()
    connection.state = State.CLOSED
    connection.take_place(place)
    assert place.left == 1


def test_a_place_that_is_given_in_the_middle_of_an_end_is_left() -> None:
    """Limits that are set now count the connections that are under way, in the accept loop's thread."""
    connection, place = unserved(), HeldPlace()
    registry: Any = connection.core.registry
    registry.are_detailed = registry.is_draining = False
    registry.close.side_effect = lambda connection: connection.take_place(place)
    connection.is_registered = True
    connection.server = SimpleNamespace(shutdown_request=lambda _: None)
    connection.process_request_thread()
    assert place.left == 1


def test_a_connection_that_ends_while_the_registry_is_read_is_no_error() -> None:
    registry = Registry()
    first, second = (unserved() for _ in range(2))
    registry.open(first)
    registry.open(second)
    values, items = iter(registry.values()), iter(registry.items())
    assert next(values) is first
    assert next(items) == (first.number, first)
    registry.close(second)
    assert list(values) == [second]
    assert list(items) == [(second.number, second)]


def test_the_census_adds_up_in_the_middle_of_an_end() -> None:
    registry = Registry()
    connection = unserved()
    registry.open(connection)
    registry.refuse(Reason.REFUSED_FULL)
    assert registry.census() == (2, Counter({State.ACCEPTED: 1}), Counter({Reason.REFUSED_FULL: 1}))
    connection.take(Step.WORKER_ENDED)
    assert +registry.census()[1] == Counter({State.CLOSING: 1})


def test_ends_are_added_up_once_that_is_asked_for_and_anew_in_a_copy() -> None:
    registry = Registry()
    registry.totals = Totals()
    for reason in (Reason.PEER_CLOSED, Reason.HANDSHAKE_FAILED):
        connection = unserved()
        connection.reason = reason
        registry.open(connection)
        assert registry.close(connection)
        assert not registry.close(connection)
    assert sum(registry.totals.sums().by_duration) == 1  # the other one had no handler
    with forked(lambda: sum(registry.totals.sums().by_duration) == 0) as wait:
        assert wait() == 0


class Inquisitive:
    """Looks at its connections after the close_notify, as a program that reads the registry then does."""

    def close_request(self, request: Any) -> None:
        wait_until(lambda: (traffic_of(request) or OVER).state == TCP_TIME_WAIT)
        told = [connection.traffic.state for connection in self.connections.values()]
        assert TCP_TIME_WAIT not in told
        super().close_request(request)


OVER = Traffic(TCP_TIME_WAIT, 0, 0, 0, 0.0, 0.0, waits_for_peer=False)


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])  # a child has no registry
def test_a_look_after_close_notify_changes_no_reason(engine: str) -> None:
    kind = type("Server", (Inquisitive, server_class(engine)), {})
    with serving(kind(HERE, Obedient), 0.02) as server:
        registry = server.connections
        with call(server.server_address) as peer:
            say(peer, "hello")
            close_peer(peer)
        wait_for(registry, Reason.PEER_CLOSED)


def test_an_exception_of_a_signal_s_handler_leaves_the_registry_free_and_balanced() -> None:
    registry = Registry()
    connections: list[Any] = [
        SimpleNamespace(number=number, missed=0, conclude=lambda: Reason.HANDLER_RETURNED)
        for number in range(3)
    ]

    def come_and_go() -> None:
        for connection in connections:
            registry.open(connection)
        for connection in connections:
            registry.close(connection)

    for _ in interrupted(come_and_go, 150):
        balances: list[tuple[int, int, int]] = []

        def ask(answers: list[tuple[int, int, int]] = balances) -> None:
            answers.append(registry.balance)

        other = threading.Thread(target=ask, daemon=True)
        other.start()
        other.join(PATIENCE)
        ((accepted, still_open, closed),) = balances
        assert accepted == still_open + closed
        for connection in connections:
            registry.close(connection)


def test_the_last_ends_are_remembered_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.connections.registry.MOST_ENDED", 2)
    with serving(server_of("threads")) as server:

        def come_and_go() -> int:
            with call(server.server_address) as peer:
                assert say(peer, "hello")
                [number] = server.connections
                close_peer(peer)
            assert server.connections.wait_for(at_most=0, timeout=PATIENCE)
            return number

        unknown = come_and_go()
        server.connections.remember_ends()
        numbers = [come_and_go() for _ in range(3)]
        ends = [server.connections.end_of(number) for number in (unknown, *numbers)]
        assert [None if each is None else each.number for each in ends] == [
            None,
            None,
            *numbers[1:],
        ]
