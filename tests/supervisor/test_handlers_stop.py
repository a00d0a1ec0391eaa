"""A handler of a worker stops the server, or closes one of its addresses."""

import signal
import socket

import pytest

from manyhands import Server, StreamRequestHandler
from tests.supervisor.kit import ENGINES, Caller, is_balanced, kill, serving, wait_for_another
from tests.support.peers import is_listening
from tests.support.running import bound
from tests.support.waiting import PATIENCE, wait_until

ANY = "tcp://127.0.0.1:0"


class Obeys(StreamRequestHandler):
    """Does what it is told, and then says so."""

    def handle(self) -> None:
        match self.rfile.readline():
            case b"stop\n":
                self.server.shutdown()
            case b"close\n":
                self.server.server_close()
        self.wfile.write(b"so it is\n")


def tell(address: tuple[str, int], word: bytes) -> None:
    with Caller(address) as caller:
        caller.socket.sendall(word + b"\n")
        assert caller.end() == b"so it is\n"


@pytest.mark.parametrize("engine", [*ENGINES, "sequential"])
def test_a_handler_stops_the_whole_server(engine: str) -> None:
    with Server(Obeys, ANY, workers=2, engine=engine) as server:
        tell(bound(server), b"stop")
        wait_until(lambda: server.is_stopping)
    # It may have returned once the drain was under way.
    assert server.info().accepted == sum(server.info().closed.values()) == 1


def test_a_worker_that_gets_sigterm_is_replaced() -> None:
    with Server(Obeys, ANY, workers=2) as server:
        victim = serving(server)[0]
        kill(victim, signal.SIGTERM)
        wait_for_another(server, victim)
        assert not server.is_stopping


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_handler_closes_one_address_of_all_workers(engine: str) -> None:
    with Server(Obeys, ANY, ANY, workers=2, engine=engine) as server:
        first, second = bound(server), bound(server, 1)
        tell(first, b"close")
        wait_until(lambda: len(server.addresses) == 1)
        # Its descriptor has no number any more just before it is closed.
        wait_until(lambda: not is_listening(first[1]))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(first)
        victim = serving(server)[0]
        kill(victim)
        wait_for_another(server, victim)
        for _ in range(4):
            tell(second, b"go on")
        # With the last address the server comes to its end.
        tell(second, b"close")
        wait_until(lambda: server.is_stopping)
    assert server.info().accepted == sum(server.info().closed.values()) == 6


class Full(StreamRequestHandler):
    """Serves until it is told to close the address."""

    def handle(self) -> None:
        self.wfile.write(b"here\n")
        if self.rfile.readline() == b"close\n":
            self.server.server_close()


def test_what_waits_for_a_worker_that_closes_the_address_is_refused() -> None:
    with Server(Full, ANY, ANY, workers=1, max_threads=1) as server:
        with Caller(bound(server)) as caller:
            waiting = [Caller(bound(server)) for _ in range(5)]
            wait_until(lambda: server.info().accepted == 6)
            caller.socket.sendall(b"close\n")
            assert caller.end() == b"here\n"
        for each in waiting:
            assert each.end() == b""
            each.close()
        assert server.wait_for_connections(0, PATIENCE)
        assert server.info().closed == {"handler_returned": 1, "refused_stopping": 5}
        assert is_balanced(server)
