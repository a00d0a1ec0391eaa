"""A sequential drop-in without options serves in short turns: nothing that it promises is lost with them."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import TCPServer, UDPServer
from manyhands.connections.connection import Connection, current_connection
from manyhands.engines.sequential import SequentialEngine
from manyhands.runtime.caller import begin_serving, end_serving, this_caller
from manyhands.runtime.caller import serving as served_by_threads
from manyhands.serving import plain_turns
from manyhands.serving.core import core_of
from tests.support import Echo, ask, call, forked, serving, wait_until
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)
A_MINUTE = 60.0


class Datagrams:
    """Calls a function for each datagram, then answers with what came."""

    def __init__(self, function: Any = lambda server: None) -> None:
        self.function = function

    def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        self.function(server)
        data, answers = request
        answers.sendto(data, client_address)


def exchange(server: Any, count: int = 1) -> list[bytes]:
    """Send datagrams, each once the one before was answered; return the answers."""
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        answers = []
        for number in range(count):
            peer.sendto(b"%d" % number, server.server_address)
            answers.append(peer.recv(100))
        return answers


def sequential(server: Any) -> SequentialEngine:
    (engine,) = core_of(server).engines
    assert isinstance(engine, SequentialEngine)
    return engine


@contextmanager
def counted_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Count how often a loop goes over to plain turns: a test that never does would show nothing."""
    plain: list[object] = []
    before = plain_turns._serve_while_plain

    def counting(watch: Any, *rest: Any) -> None:
        plain.append(watch)
        before(watch, *rest)

    monkeypatch.setattr(plain_turns, "_serve_while_plain", counting)
    yield plain


@pytest.mark.parametrize("is_by_handle_request", [False, True])
def test_whichever_thread_asks_there_is_one_connection_for_a_datagram(
    is_by_handle_request: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def look(server: Any) -> None:
        tasks: list[Any] = []
        thread = threading.Thread(target=lambda: tasks.extend(sequential(server).tasks))
        thread.start()
        thread.join()
        seen.append((current_connection(), *tasks, current_connection()))
        assert sequential(server).running() == 1

    with counted_turns(monkeypatch) as plain:
        server = UDPServer(HERE, Datagrams(look))
        if is_by_handle_request:
            with server:
                threading.Thread(target=exchange, args=(server, 3)).start()
                for _ in range(3):
                    server.handle_request()
        else:
            with serving(server):
                assert exchange(server, 3) == [b"0", b"1", b"2"]
            assert plain
    assert len(seen) == 3
    for ours, theirs, again in seen:
        assert isinstance(ours, Connection)
        assert ours is theirs is again
        assert ours.server is server
        assert not ours.is_registered
    assert len({connection.number for connection, *_ in seen}) == 3
    assert sequential(server).running() == 0
    assert sequential(server).tasks == ()
    assert threading.get_ident() not in served_by_threads


def test_a_drain_waits_for_the_datagram_that_is_served() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def wait(server: Any) -> None:
        begun.set()
        assert goes_on.wait(PATIENCE)

    cut_off: list[Any] = []
    with serving(UDPServer(HERE, Datagrams(wait))) as server:
        goes_on.set()
        exchange(server, 2)
        goes_on.clear()
        begun.clear()
        client = threading.Thread(target=exchange, args=(server,))
        client.start()
        assert begun.wait(PATIENCE)
        drain = threading.Thread(target=lambda: cut_off.append(server.drain(PATIENCE)))
        drain.start()
        join = threading.Thread(target=sequential(server).join)
        join.start()
        wait_until(lambda: server.draining)
        assert not cut_off
        goes_on.set()
        join.join(PATIENCE)
        assert not join.is_alive()
        drain.join(PATIENCE)
        client.join(PATIENCE)
    assert cut_off == [[]]


def test_what_a_program_sets_holds_soon() -> None:
    with serving(TCPServer(HERE, Echo)) as server:
        assert [ask(server.server_address) for _ in range(3)] == [b"hello\n"] * 3
        server.deny = ["127.0.0.0/8"]
        wait_until(lambda: not is_answered(server))
        server.deny = []
        wait_until(lambda: is_answered(server))


def is_answered(server: Any) -> bool:
    try:
        return ask(server.server_address) == b"hello\n"
    except (ConnectionError, AssertionError):
        return False


def test_what_a_program_sets_between_two_requests_holds_at_once() -> None:
    with TCPServer(HERE, Echo) as server:
        for denied, answer in (([], b"hello\n"), (["127.0.0.0/8"], b""), ([], b"hello\n")):
            server.deny = denied
            with call(server.server_address) as peer:
                peer.sendall(b"hello\n")
                peer.shutdown(socket.SHUT_WR)
                server.handle_request()
                assert received(peer) == answer


def received(peer: socket.socket) -> bytes:
    try:
        return peer.recv(100)
    except ConnectionError:
        return b""


def test_the_loop_waits_for_no_room_in_another_engine_that_the_class_has_got() -> None:
    class Server(TCPServer):
        max_threads = 1

    with serving(Server(HERE, Echo)) as server:
        for _ in range(3):
            ask(server.server_address)
        Server.engine = "threads"
        with call(server.server_address) as first, call(server.server_address) as second:
            for peer in (first, second):
                peer.sendall(b"hello\n")
            assert first.recv(10) == b"hello\n"
            second.settimeout(0.1)
            with pytest.raises(TimeoutError):
                second.recv(10)
            stop = threading.Thread(target=server.shutdown)
            stop.start()
            stop.join(PATIENCE)
            assert not stop.is_alive()


def test_a_suspended_server_serves_no_client_until_it_is_resumed() -> None:
    with serving(TCPServer(HERE, Echo)) as server:
        ask(server.server_address)
        ask(server.server_address)
        server.suspend()
        with call(server.server_address) as peer:
            peer.sendall(b"hello\n")
            peer.settimeout(0.1)
            with pytest.raises(TimeoutError):
                peer.recv(10)
            server.resume()
            peer.settimeout(PATIENCE)
            assert peer.recv(10) == b"hello\n"


def test_a_second_loop_serves_while_the_first_is_held_up() -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def held(request: Any, client_address: Any, server: Any) -> None:
        if not begun.is_set():
            begun.set()
            assert goes_on.wait(PATIENCE)
        request.sendall(request.recv(100))

    with serving(TCPServer(HERE, held)) as server:
        begun.set()
        ask(server.server_address)
        ask(server.server_address)  # from the second client on the turns are plain
        begun.clear()
        with call(server.server_address) as first:
            first.sendall(b"hello\n")
            assert begun.wait(PATIENCE)
            second = threading.Thread(target=server.serve_forever, daemon=True)
            second.start()
            assert ask(server.server_address) == b"hello\n"
            goes_on.set()
            server.shutdown()
            second.join(PATIENCE)
            assert not second.is_alive()


def test_the_regular_work_is_done_after_each_client_and_while_there_is_none() -> None:
    done: list[int] = []

    class Working(TCPServer):
        def service_actions(self) -> None:
            done.append(answered)
            if failing:
                raise ValueError("a bug in the program")

        def handle_error(self, request: Any, client_address: Any) -> None:
            reported.append(request)

    answered, failing, reported = 0, False, []
    with serving(Working(HERE, Echo), poll_interval=0.01) as server:
        for answered in range(1, 4):
            ask(server.server_address)
            wait_until(lambda: answered in done)  # noqa: B023 - called here
        failing = True
        count = len(done)
        wait_until(lambda: len(done) > count + 3)
        assert reported[:2] == [None, None]


def test_a_listener_that_is_replaced_under_the_turns_is_served() -> None:
    server = TCPServer(HERE, Echo)
    with server.socket as before, serving(server, poll_interval=A_MINUTE):
        for _ in range(3):
            ask(server.server_address)
        server.socket = socket.create_server(HERE)
        # The loop still waits for the one before. To accept a client of the new one would hold up its end.
        with call(before.getsockname()):
            assert ask(server.socket.getsockname()) == b"hello\n"


def test_a_listener_that_a_handler_takes_away_ends_the_loop() -> None:
    taken: list[socket.socket] = []

    def take(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(request.recv(100))
        clients.append(client_address)
        if len(clients) == 3:
            taken.append(server.socket)
            del server.socket

    def serve() -> None:
        server.serve_forever()
        ended.append(True)

    clients: list[Any] = []
    ended: list[bool] = []
    server = TCPServer(HERE, take)
    loop = threading.Thread(target=serve)
    loop.start()
    for _ in range(3):
        assert ask(server.server_address) == b"hello\n"
    with call(server.server_address):
        loop.join(PATIENCE)
    assert ended == [True]
    taken[0].close()


def serve_until(begun: threading.Event, done: threading.Event) -> None:
    served = begin_serving("a task")
    begun.set()
    assert done.wait(PATIENCE)
    end_serving(served)


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_copy_that_a_handler_forks_knows_what_it_serves_and_no_other() -> None:
    seen: list[Any] = []

    def fork(server: Any) -> None:
        current = current_connection()

        def look() -> bool:
            others = set(served_by_threads) - {threading.get_ident(), this_caller()}
            return current_connection() is current and not others

        # What another thread of the original serves is nothing to the copy, where one may get its identity.
        begun = threading.Event()
        done = threading.Event()
        beside = threading.Thread(target=serve_until, args=(begun, done))
        beside.start()
        assert begun.wait(PATIENCE)
        with forked(look) as wait:
            seen.append(wait())
        done.set()
        beside.join()

    with serving(UDPServer(HERE, Datagrams(fork))) as server:
        exchange(server, 2)
    assert seen == [0, 0]


def serve_as(identity: int, server: Any) -> None:
    """Serve in a thread that has the identity of one that this copy of the process has not got."""

    def act() -> None:
        if threading.get_ident() == identity:
            server.serve_forever()
        threading.Event().wait()

    for _ in range(100):
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        if thread.ident == identity:
            return
    threading.Thread(
        target=server.serve_forever, daemon=True
    ).start()  # the system gives it no more


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_copy_has_nothing_of_the_turn_that_is_under_way_in_the_original() -> None:
    is_held_up, goes_on = threading.Event(), threading.Event()

    class Working(UDPServer):
        def service_actions(self) -> None:
            if here == os.getpid() and len(seen) == 3:
                is_held_up.set()
                goes_on.wait(PATIENCE)

    def tell(server: Any) -> None:
        seen.append((sequential(server).running(), current_connection(), threading.get_ident()))

    def serve_in_the_copy() -> bool:
        serve_as(loop, server)
        seen.clear()
        exchange(server, 3)
        return len(seen) == 3 and all(count == 1 and ours for count, ours, _ in seen)

    here = os.getpid()
    seen: list[Any] = []
    with serving(Working(HERE, Datagrams(tell))) as server:
        exchange(server, 3)
        assert is_held_up.wait(PATIENCE)
        loop = seen[0][-1]
        with forked(serve_in_the_copy) as wait:
            assert wait() == 0
        goes_on.set()


def test_a_thread_that_serves_in_turns_begins_no_others() -> None:
    engine = SequentialEngine()
    turn = engine.begin_turns()
    assert turn is not None
    assert engine.begin_turns() is None
    engine.end_turns(turn)
    assert engine.begin_turns() is turn
    engine.end_turns(turn)
    assert threading.get_ident() not in served_by_threads
