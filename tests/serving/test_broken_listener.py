"""A listener that breaks, closes or changes under the loop."""

import os
import resource
import socket
import socketserver as standard
import threading
import time
from typing import Any

import pytest

from manyhands import events, socketserver
from tests.support import (
    Echo,
    ask,
    call,
    is_closed_by_server,
    left_open,
    open_descriptors,
    reset,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def share_of_a_processor() -> float:
    """Measure how much of one this process takes for half a second."""
    started = cpu_seconds()
    time.sleep(0.5)
    return (cpu_seconds() - started) / 0.5


def reset_in_the_backlog(address: Any) -> None:
    """Connect, and reset the connection before the server can accept it."""
    reset(call(address))


def test_clients_that_reset_in_the_backlog_do_no_harm(engine: str) -> None:
    class Quiet(server_class(engine)):  # type: ignore[misc]  # a class of the engine
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    before = open_descriptors()
    server = Quiet(HERE, Echo)
    for _ in range(20):
        reset_in_the_backlog(server.server_address)
    with serving(server):
        assert ask(server.server_address) == b"hello\n"
    assert not left_open(before)


def test_a_listener_that_was_shut_down_costs_no_processor(seen: list[events.Event]) -> None:
    server = socketserver.TCPServer(HERE, Echo)
    with serving(server):
        assert ask(server.server_address) == b"hello\n"
        server.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: seen)
        assert share_of_a_processor() < 0.05
    (event,) = seen
    assert isinstance(event, events.AcceptPaused)
    assert "cannot accept: Invalid argument; trying again" in str(event)


def test_a_listener_of_the_standard_library_that_was_shut_down_costs_a_whole_processor() -> None:
    with serving(standard.TCPServer(HERE, Echo)) as server:  # type: ignore[arg-type]  # ours serves
        server.socket.shutdown(socket.SHUT_RDWR)
        # However little of a busy machine it gets.
        started = cpu_seconds()
        wait_until(lambda: cpu_seconds() - started > 0.2, timeout=5)


def test_a_broken_listener_that_listens_again_serves_again(seen: list[events.Event]) -> None:
    with serving(socketserver.TCPServer(HERE, Echo)) as server:
        server.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: seen)
        server.socket.listen()  # on another port, for the first was the kernel's choice
        assert ask(server.socket.getsockname()) == b"hello\n"
        wait_until(lambda: len(seen) == 2)
    assert [type(event) for event in seen] == [events.AcceptPaused, events.AcceptResumed]


def test_a_listener_that_stays_broken_is_tried_again_without_harm(
    monkeypatch: pytest.MonkeyPatch, seen: list[events.Event]
) -> None:
    # Beyond its patience the loop refuses waiting clients; here there are none, and no listener.
    monkeypatch.setattr("manyhands.model.accept_errors.REFUSE_AFTER", 0.05)
    with serving(socketserver.TCPServer(HERE, Echo)) as server:
        server.socket.shutdown(socket.SHUT_RDWR)
        time.sleep(0.3)
        server.socket.listen()  # on another port, for the first was the kernel's choice
        assert ask(server.socket.getsockname()) == b"hello\n"


def test_a_server_without_a_socket_survives_an_accept_that_stays_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.model.accept_errors.REFUSE_AFTER", 0.05)
    ours, theirs = socket.socketpair()

    class FromAFile(socketserver.BaseServer):
        tries = 0

        def fileno(self) -> int:
            return ours.fileno()

        def get_request(self) -> Any:
            type(self).tries += 1
            raise OSError(22, "Invalid argument")

    server = FromAFile("a pair", Echo)
    with ours, theirs:
        theirs.sendall(b"readable for good")
        thread = threading.Thread(target=server.serve_forever, args=(60,), daemon=True)
        thread.start()
        time.sleep(0.5)
        assert thread.is_alive()
        server.shutdown()
        thread.join(20)


def test_a_listener_closed_without_server_close_ends_the_loop_quietly() -> None:
    server = socketserver.TCPServer(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    assert ask(server.server_address) == b"hello\n"
    server.socket.close()
    thread.join(20)
    assert not thread.is_alive()
    server.server_close()


def test_a_listener_replaced_under_the_loop_is_served(engine: str) -> None:
    with serving(server_class(engine)(HERE, Echo), poll_interval=0.02) as server:
        assert ask(server.server_address) == b"hello\n"
        old, server.socket = server.socket, socket.create_server(HERE)
        old.close()
        server.server_address = server.socket.getsockname()
        assert ask(server.server_address) == b"hello\n"


def test_a_listener_replaced_on_the_same_descriptor_is_served() -> None:
    with serving(socketserver.TCPServer(HERE, Echo), poll_interval=0.02) as server:
        assert ask(server.server_address) == b"hello\n"
        with socket.create_server(HERE) as new:
            os.dup2(new.fileno(), server.socket.fileno())
            address = new.getsockname()
        assert ask(address) == b"hello\n"


def test_an_exhausted_accept_pauses_and_resumes(seen: list[events.Event]) -> None:
    class Short(socketserver.TCPServer):
        shortage = 3

        def get_request(self) -> Any:
            if self.shortage:
                self.shortage -= 1
                raise OSError(24, "Too many open files")
            return super().get_request()

    with serving(Short(HERE, Echo)) as server:
        assert ask(server.server_address) == b"hello\n"
    assert [type(event) for event in seen] == [events.AcceptPaused, events.AcceptResumed]
    paused, resumed = seen
    assert paused.errno == 24
    assert 0.03 <= resumed.paused < 10


def test_an_error_of_one_client_costs_the_others_no_rest(seen: list[events.Event]) -> None:
    class Unlucky(socketserver.TCPServer):
        losses = 3

        def get_request(self) -> Any:
            connection, client_address = super().get_request()
            if self.losses:
                self.losses -= 1
                connection.close()
                raise ConnectionAbortedError(103, "Software caused connection abort")
            return connection, client_address

    with serving(Unlucky(HERE, Echo)) as server:
        for _ in range(3):
            with call(server.server_address) as peer:
                assert is_closed_by_server(peer)
        assert ask(server.server_address) == b"hello\n"
    assert seen == []
