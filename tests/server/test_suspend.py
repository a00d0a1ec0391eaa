"""Suspended servers accept no client, and serve those they have; and waiting for a number of connections."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler
from manyhands.model.connection_states import Reason
from manyhands.model.usage_errors import Mistake
from tests.support import (
    ENGINES,
    Echo,
    ask,
    bound,
    call,
    everything,
    read_line,
    server_class,
    serving,
    wait_until,
)
from tests.support.waiting import PATIENCE

ANY_PORT = "tcp://127.0.0.1:0"
CONCURRENT = ["threads", "processes", "fibers"]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def say(peer: socket.socket, line: bytes = b"hello\n") -> bytes:
    peer.sendall(line)
    return read_line(peer)


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_suspended_server_keeps_its_connections_and_accepts_no_client(engine: str) -> None:
    with Server(Echo, ANY_PORT, engine=engine) as server, call(bound(server)) as early:
        assert say(early) == b"hello\n"
        server.suspend()
        with call(bound(server)) as late:
            late.sendall(b"late\n")
            for _ in range(20):
                assert say(early) == b"hello\n"
            assert server.connections.accepted == 1
            server.resume()
            assert read_line(late) == b"late\n"
            assert server.connections.accepted == 2


def test_servers_still_work_after_suspend_and_resume_again_and_again(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.server.served_sockets.POLL_INTERVAL", 3600)
    with Server(Echo, ANY_PORT, engine=engine) as server:
        for _ in range(3):
            server.suspend()
            with call(bound(server)) as peer:
                peer.sendall(b"hello\n")
                server.resume()
                assert read_line(peer) == b"hello\n"


@pytest.mark.parametrize("engine", CONCURRENT)
def test_the_accept_loop_sleeps_while_clients_wait_for_a_suspended_server(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.server.served_sockets.POLL_INTERVAL", 3600)
    with Server(Echo, ANY_PORT, engine=engine) as server, call(bound(server)) as early:
        assert say(early) == b"hello\n"
        [listener] = server.listeners
        turns: list[None] = []
        vars(listener)["service_actions"] = lambda: turns.append(None)
        server.suspend()
        with call(bound(server)) as late:
            wait_until(lambda: turns)
            for _ in range(100):
                assert say(early) == b"hello\n"
            # Each call would make one, if the loop were told of waiting clients.
            assert len(turns) <= 2
            server.resume()
            assert say(late) == b"hello\n"


def test_one_address_can_be_suspended_alone(engine: str) -> None:
    with Server(Echo, ANY_PORT, ANY_PORT, engine=engine) as server:
        first, _ = server.listeners
        first.suspend()
        with call(bound(server, 0)) as waiting:
            waiting.sendall(b"hello\n")
            assert ask(bound(server, 1)) == b"hello\n"
            wait_until(lambda: not server.connections)
            assert server.connections.accepted == 1
            first.resume()
            assert read_line(waiting) == b"hello\n"


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_a_handler_can_suspend_and_resume_its_server(engine: str) -> None:
    class Switch(StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                getattr(self.server, line.decode().strip())()
                self.wfile.write(b"done\n")

    with Server(Switch, ANY_PORT, engine=engine) as server, call(bound(server)) as peer:
        assert say(peer, b"suspend\n") == b"done\n"
        with call(bound(server)) as late:
            late.sendall(b"suspend\n")
            assert say(peer, b"suspend\n") == b"done\n"
            assert server.connections.accepted == 1
            assert say(peer, b"resume\n") == b"done\n"
            peer.close()
            assert read_line(late) == b"done\n"


def suspend(listener: Any) -> None:
    listener.suspend()


def resume(listener: Any) -> None:
    listener.resume()


def set_a_limit(listener: Any) -> None:
    listener.max_connections = 1


def set_a_limit_of_the_whole(listener: Any) -> None:
    listener.owner.options.change(deny="192.0.2.1")


@pytest.mark.parametrize(
    ("act", "deed"),
    [
        (suspend, "suspend the server"),
        (resume, "resume the server"),
        (set_a_limit, "set max_connections of the server"),
        (set_a_limit_of_the_whole, "set deny of the server"),
    ],
)
def test_a_handler_in_another_process_is_told_that_it_has_a_copy(act: Any, deed: str) -> None:
    class Acting(StreamRequestHandler):
        def handle(self) -> None:
            try:
                act(self.server)
            except RuntimeError as error:
                self.wfile.write(str(error).encode())

    with Server(Acting, ANY_PORT, engine="processes") as server, call(bound(server)) as peer:
        told = f"a handler in a process of its own cannot {deed}, for it has a copy of it"
        assert everything(peer).decode() == told
        assert server.max_connections == 10_000


def test_a_server_can_begin_suspended(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.suspend()
    with server, call(bound(server)) as peer:
        peer.sendall(b"hello\n")
        wait_until(lambda: server._sockets.current_run.thread is not None)
        assert server.connections.accepted == 0
        server.resume()
        assert read_line(peer) == b"hello\n"


def test_a_suspended_server_stops_at_once_and_serves_no_client_more(engine: str) -> None:
    server = Server(Echo, ANY_PORT, engine=engine)
    server.start()
    server.suspend()
    with call(bound(server)):
        assert server.close() == []
    assert server.connections.closed == {Reason.REFUSED_STOPPING: 1}


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_drop_in_server_is_suspended_and_resumed(engine: str) -> None:
    with (
        serving(server_class(engine)(("127.0.0.1", 0), Echo)) as server,
        call(server.server_address) as early,
    ):
        assert say(early) == b"hello\n"
        server.suspend()
        assert server.connections.accepted == 1
        with call(server.server_address) as late:
            late.sendall(b"late\n")
            for _ in range(20):
                assert say(early) == b"hello\n"
            assert server.connections.accepted == 1
            server.resume()
            assert read_line(late) == b"late\n"
            # A handler in a process of its own has a copy of each peer, which a close leaves open.
            for peer in (early, late):
                peer.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("name", ["suspend", "resume", "drain", "draining"])
def test_what_a_program_has_by_these_names_is_its_own(name: str, engine: str) -> None:
    kind = server_class(engine)
    own = type(kind.__name__, (kind,), {name: "its own"})
    with serving(own(("127.0.0.1", 0), Echo)) as server:
        assert getattr(server, name) == "its own"
        assert ask(server.server_address) == b"hello\n"
    with kind(("127.0.0.1", 0), Echo) as server:
        setattr(server, name, "its own")
        assert getattr(server, name) == "its own"


# Waiting for connections


@pytest.mark.parametrize("engine", CONCURRENT)
def test_connections_are_waited_for_rising_and_falling(
    engine: str, elsewhere: ThreadPoolExecutor
) -> None:
    with Server(Echo, ANY_PORT, engine=engine) as server:
        assert server.wait_for_connections(0)
        assert server.wait_for_connections(at_most=2)
        wait = partial(server.wait_for_connections, timeout=PATIENCE)
        rising = [elsewhere.submit(wait, 2), elsewhere.submit(wait, at_least=3)]
        # One that begins later finds three, and waits in vain.
        wait_until(lambda: len(server.connections._waits) == 2)
        peers = [call(bound(server)) for _ in range(3)]
        for peer in peers:
            assert say(peer) == b"hello\n"
        assert [each.result(PATIENCE) for each in rising] == [True, True]
        falling = [
            elsewhere.submit(wait, 2),
            elsewhere.submit(wait, at_most=1),
            elsewhere.submit(wait, at_least=1, at_most=2),
            elsewhere.submit(wait, 0),
        ]
        wait_until(lambda: len(server.connections._waits) == 4)
        for peer in peers:
            peer.shutdown(socket.SHUT_RDWR)
            peer.close()
        assert [each.result(PATIENCE) for each in falling] == [True] * 4


def test_waiting_for_connections_ends_with_its_time() -> None:
    with Server(Echo, ANY_PORT) as server:
        assert not server.wait_for_connections(1, 0)
        assert not server.wait_for_connections(at_least=1, timeout=0.01)
        assert not server.connections._waits


@pytest.mark.parametrize("bounds", [{}, {"n": 1, "at_most": 2}])
def test_waiting_for_an_unclear_number_is_one_sentence(bounds: dict[str, Any]) -> None:
    server = Server(Echo, ANY_PORT)
    with pytest.raises(Mistake, match=re.escape("wait_for_connections takes n, or at_least")):
        server.wait_for_connections(**bounds)


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_handler_waits_for_connections_while_others_go_on(engine: str) -> None:
    class Waiting(StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                if line == b"wait\n":
                    server.wait_for_connections(3)
                self.wfile.write(line)

    with Server(Waiting, ANY_PORT, engine=engine) as server, call(bound(server)) as patient:
        assert say(patient) == b"hello\n"
        patient.sendall(b"wait\n")
        with call(bound(server)) as other:
            for _ in range(10):
                assert say(other) == b"hello\n"
            with call(bound(server)):
                assert read_line(patient) == b"wait\n"


# A drop-in server's drain


@pytest.mark.parametrize("engine", ENGINES)
def test_a_drop_in_server_drains(engine: str, elsewhere: ThreadPoolExecutor) -> None:
    server = server_class(engine)(("127.0.0.1", 0), Polite)
    assert server.draining is False
    registry = server.connections
    serving_it = elsewhere.submit(server.serve_forever)
    with call(server.server_address) as peer:
        assert say(peer) == b"hello\n"
        assert server.drain(3600) == []
        # Nothing tells the processes of a drop-in, but for the end of what they read.
        assert everything(peer) == (b"" if engine == "processes" else b"goodbye\n")
        with pytest.raises(ConnectionRefusedError):
            call(server.server_address)
    serving_it.result(20)
    assert server.draining is True
    assert {reason.value: count for reason, count in registry.closed.items()} == {"drained": 1}
    server.server_close()


class Polite(StreamRequestHandler):
    """An echo that says goodbye."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)

    def goodbye(self) -> None:
        self.wfile.write(b"goodbye\n")


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_drop_in_server_cuts_off_a_connection_that_goes_on(
    engine: str, elsewhere: ThreadPoolExecutor
) -> None:
    class Deaf(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"begun\n")
            self.rfile.read(1)

    server = server_class(engine)(("127.0.0.1", 0), Deaf)
    serving_it = elsewhere.submit(server.serve_forever)
    with call(server.server_address) as peer:
        assert read_line(peer) == b"begun\n"
        [left] = server.drain(0)
        assert left.peer == f"127.0.0.1:{peer.getsockname()[1]}"
        assert everything(peer) == b""
    serving_it.result(20)
    server.server_close()


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_a_handler_that_drains_its_drop_in_server_is_told_to_shut_it_down(engine: str) -> None:
    class Draining(StreamRequestHandler):
        def handle(self) -> None:
            with pytest.raises(RuntimeError, match=r"shutdown\(\), for a handler is one of"):
                self.server.drain()
            self.wfile.write(b"told")

    with (
        serving(server_class(engine)(("127.0.0.1", 0), Draining)) as server,
        call(server.server_address) as peer,
    ):
        assert everything(peer) == b"told"
