"""A connection's states, as its server's process has them, on every engine."""

import socket
from pathlib import Path

import pytest

from manyhands import Server
from manyhands.model.connection_states import State
from tests.support import Authority, Echo, bound, call, read_line, wait_until

from .proxy_kit import V1

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def becomes(server: Server, state: State) -> bool:
    wait_until(lambda: [each.state for each in server.connections.values()] == [state])
    return server.info().open[state.value] == 1


def test_a_connection_with_nothing_due_before_its_handler_is_open_with_it(engine: str) -> None:
    with Server(Echo, "tcp://127.0.0.1:0", engine=engine) as server, call(bound(server)) as peer:
        assert becomes(server, State.OPEN)
        [connection] = server.connections.values()
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        peer.shutdown(socket.SHUT_WR)
        assert server.connections.wait_for(at_most=0, timeout=20)
        assert connection.state is State.CLOSED


def test_the_steps_of_an_opening_are_known_one_by_one(
    engine: str, authority: Authority, tmp_path: Path
) -> None:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    context = authority.client_context()
    with (
        Server(
            Echo, "tls://127.0.0.1:0", engine=engine, drain_timeout=0,
            certfile=certfile, keyfile=keyfile, proxy_protocol=True,
        ) as server,
        call(bound(server)) as plain,
    ):  # fmt: skip
        assert becomes(server, State.READING_PROXY_HEADER)
        plain.sendall(V1)
        assert becomes(server, State.HANDSHAKING)
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            assert becomes(server, State.OPEN)
            [connection] = server.connections.values()
            connection.close()
            assert server.connections.wait_for(at_most=0, timeout=20)
            assert connection.state is State.CLOSED
            assert peer.recv(1) == b""


def test_a_connection_that_ends_while_it_is_opened_is_closed(engine: str) -> None:
    with (
        Server(Echo, "tcp://127.0.0.1:0", engine=engine, proxy_protocol=True) as server,
        call(bound(server)) as peer,
    ):
        assert becomes(server, State.READING_PROXY_HEADER)
        [connection] = server.connections.values()
        peer.shutdown(socket.SHUT_WR)
        assert server.connections.wait_for(at_most=0, timeout=20)
        assert connection.state is State.CLOSED
