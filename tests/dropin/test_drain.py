"""The drain of a drop-in server lets go of its listening socket, and of no other."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import events, socketserver
from tests.support import (
    ENGINES,
    Authority,
    Echo,
    ask,
    call,
    forked,
    left_open,
    open_descriptors,
    secured,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextmanager
def served(server: Any) -> Iterator[threading.Thread]:
    """Serve until something else ends that."""
    thread = threading.Thread(target=server.serve_forever, args=(60,), daemon=True)
    thread.start()
    assert ask(server.server_address) == b"hello\n"
    yield thread
    thread.join(20)
    assert not thread.is_alive()


def drain(server: Any) -> None:
    with served(server):
        assert server.drain(20) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_servers_forked_before_serve_on_when_one_of_them_drains(engine: str) -> None:
    server = server_class(engine)(HERE, Echo)

    def serve_and_drain() -> bool:
        drain(server)
        server.server_close()
        return True

    with forked(serve_and_drain) as wait:
        assert wait() == 0
    with serving(server):
        assert ask(server.server_address) == b"hello\n"


def test_a_given_socket_goes_on_with_its_giver() -> None:
    with socket.create_server(HERE) as given:
        server = socketserver.ThreadingTCPServer(HERE, Echo, bind_and_activate=False)
        server.socket.close()
        server.socket = socket.socket(fileno=os.dup(given.fileno()))
        server.server_address = given.getsockname()
        drain(server)
        server.server_close()
        with call(given.getsockname()) as peer:
            connection, address = given.accept()
            with connection:
                assert address == peer.getsockname()


@pytest.mark.parametrize("engine", ENGINES)
def test_no_client_gets_through_any_more_and_nothing_is_left(engine: str) -> None:
    before = open_descriptors()
    server = server_class(engine)(HERE, Echo)
    listening = server.socket  # which only the drain may close
    drain(server)
    with pytest.raises(ConnectionRefusedError):
        call(server.server_address)
    assert listening.fileno() == -1
    # Whatever a program does at its end with the socket that it had.
    assert server.fileno() == server.socket.fileno() >= 0
    assert server.socket.getsockname()[1] == 0
    server.server_close()
    assert server.fileno() == -1
    assert not left_open(before)


def test_a_unix_socket_is_let_go_of_and_its_file_is_the_program_s_to_remove(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = socketserver.ThreadingUnixStreamServer(str(path), Echo)
    drain(server)
    with pytest.raises(ConnectionRefusedError):
        call(str(path))
    server.server_close()
    path.unlink()


def test_a_tls_listener_is_let_go_of(authority: Authority) -> None:
    server = secured(socketserver.ThreadingTCPServer(HERE, Echo), authority)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.drain(20)
    thread.join(20)
    with pytest.raises(ConnectionRefusedError):
        call(server.server_address)
    server.server_close()


@pytest.mark.parametrize("engine", ENGINES)
def test_serving_again_says_that_it_has_drained(engine: str, seen: list[events.Event]) -> None:
    with server_class(engine)(HERE, Echo) as server:
        drain(server)
        with pytest.raises(ValueError, match="the server has drained, and listens no more"):
            server.serve_forever()
    assert not [event for event in seen if isinstance(event, events.AcceptPaused)]


def test_a_server_that_is_given_another_socket_serves_again() -> None:
    with server_class("threads")(HERE, Echo) as server:
        drain(server)
        server.socket.close()
        server.socket = socket.create_server(HERE)
        server.server_address = server.socket.getsockname()
        with serving(server):
            assert ask(server.server_address) == b"hello\n"


def test_a_loop_of_the_program_s_own_does_not_spin_afterwards(seen: list[events.Event]) -> None:
    with server_class("threads")(HERE, Echo) as server:
        server.drain(20)
        server.timeout = 0.01
        server.handle_request()
        wait_until(lambda: [event for event in seen if isinstance(event, events.AcceptPaused)])


@pytest.mark.parametrize("engine", ENGINES)
def test_to_drain_once_more_does_no_harm(engine: str, seen: list[events.Event]) -> None:
    with server_class(engine)(HERE, Echo) as server:
        drain(server)
        assert server.drain(20) == []
    assert not [event for event in seen if isinstance(event, events.AcceptPaused)]


def test_a_socket_closed_before_is_no_error() -> None:
    server = server_class("threads")(HERE, Echo)
    server.server_close()
    assert server.drain(20) == []
    assert server.fileno() == -1
