"""The first piece of a connection: what its handler and other threads write just then stays whole."""

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from manyhands import BaseRequestHandler, Server, StreamRequestHandler
from manyhands.connections.gated import outboxes
from manyhands.connections.gated_sockets import begin_transfer, is_in_transfer, make_outbox
from manyhands.connections.outboxes import Gate
from manyhands.dropin.stream_files import SocketWriter
from manyhands.runtime.locks import is_held_here
from manyhands.testing import call, read_line, serving, socket_address, wait_until
from tests.support import forked
from tests.support.certificates import Authority
from tests.support.peers import received
from tests.support.waiting import PATIENCE

MUCH = 8_000_000
"""Bytes: more than any kernel takes at once."""

handlers: list[StreamRequestHandler] = []


class Patient:
    """Terms by which very much may wait."""

    def outbox_terms(self) -> tuple[int, str]:
        return 100_000_000, "close"

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        raise AssertionError


class Busy(StreamRequestHandler):
    """Writes much, when it is told to, and then waits for its client."""

    def handle(self) -> None:
        handlers.append(self)
        self.wfile.write(b"welcome\n")
        if self.rfile.readline() == b"write\n":
            self.wfile.write(b"w" * MUCH)
            self.rfile.readline()


class Resting(StreamRequestHandler):
    """Makes no call on its connection until it is to read."""

    def handle(self) -> None:
        self.wfile.write(b"welcome\n")
        handlers.append(self)
        may_read.wait()
        for line in self.rfile:
            self.wfile.write(b"read " + line)


may_read = threading.Event()


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    handlers.clear()
    may_read.clear()
    yield
    may_read.set()


@contextmanager
def begun(target: Any, *arguments: Any) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    yield thread
    thread.join(PATIENCE)


@contextmanager
def secret(
    handler: Any, authority: Authority, tmp_path: Path
) -> Iterator[tuple[Server, ssl.SSLSocket]]:
    """Serve TLS on threads; yield the server, and a client whose handler has begun."""
    certfile, keyfile = authority.write(tmp_path, "localhost")
    with (
        serving(
            handler,
            "tls://127.0.0.1:0",
            engine="threads",
            certfile=certfile,
            keyfile=keyfile,
            drain_timeout=0.0,
        ) as under_test,
        call(socket_address(under_test.server.addresses[0])) as plain,
        authority.client_context().wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        peer.settimeout(PATIENCE)
        assert read_line(peer) == b"welcome\n"
        # The client has it before the handler is out of OpenSSL, which is for one thread at a time.
        wait_until(lambda: handlers)
        yield under_test.server, peer


@pytest.mark.parametrize("comes", ["before", "after"])
def test_a_second_writer_lets_no_piece_into_the_middle_of_the_first_one_s_write(comes: str) -> None:
    with serving(Busy, engine="threads") as under_test, under_test.connect() as peer:
        assert read_line(peer) == b"welcome\n"
        peer.sendall(b"write\n")
        assert peer.recv(1) == b"w"
        (handler,) = handlers
        if comes == "before":
            handler.wfile.write(b"")
        assert handler.send(b"piece.")
        if comes == "before":
            assert received(peer, MUCH + 5) == b"w" * (MUCH - 1) + b"piece."
        else:
            (connection,) = under_test.server.connections.values()
            with begun(handler.wfile.write, b"second"):
                wait_until(lambda: connection.outbox.is_waited_for)  # type: ignore[union-attr]
                got = received(peer, MUCH + 11)
            assert got == b"w" * (MUCH - 1) + b"piece.second"
        peer.sendall(b"\n")


def test_in_tls_a_piece_that_comes_during_another_thread_s_write_comes_with_the_next_call(
    authority: Authority, tmp_path: Path
) -> None:
    with secret(Resting, authority, tmp_path) as (_, peer):
        (handler,) = handlers
        with begun(handler.wfile.write, b"w" * MUCH):
            assert peer.recv(1) == b"w"
            assert handler.send(b"piece\n")
            assert received(peer, MUCH - 1) == b"w" * (MUCH - 1)
        may_read.set()
        assert read_line(peer) == b"piece\n"


def test_in_tls_another_thread_s_write_does_not_shut_the_gate_of_the_handler(
    authority: Authority, tmp_path: Path
) -> None:
    with secret(Resting, authority, tmp_path) as (server, peer):
        (handler,) = handlers
        assert server.connections.send_all(b"piece\n") == 1
        handler.wfile.write(b"goodbye\n")
        handler.request.sendall(b"twice\n")
        # Without the handler's thread, which could be inside of OpenSSL for all they know, no gate is shut.
        assert os.get_blocking(handler.request.fileno())
        assert [read_line(peer), read_line(peer)] == [b"goodbye\n", b"twice\n"]
        may_read.set()
        assert read_line(peer) == b"piece\n"
        peer.sendall(b"line\n")
        assert read_line(peer) == b"read line\n"
        assert not os.get_blocking(handler.request.fileno())


class Engine:
    """An engine that says by itself whether the handler is in a call on its connection."""

    wraps_sockets = False

    def __init__(self, *, is_between_calls: bool) -> None:
        self.is_between_calls = is_between_calls

    def between_calls(self, task: object, function: Any) -> bool:
        if self.is_between_calls:
            function()
        return self.is_between_calls


def test_in_tls_the_gate_waits_for_a_write_that_another_thread_has_begun_meanwhile(
    authority: Authority,
) -> None:
    ours, theirs = socket.socketpair()
    secrets: list[ssl.SSLSocket] = []

    def shake_hands() -> None:
        secrets.append(authority.server_context().wrap_socket(ours, server_side=True))

    with begun(shake_hands):
        peer = authority.client_context().wrap_socket(theirs, server_hostname="localhost")
    (request,) = secrets
    with request, peer:
        outbox = make_outbox(request, Patient(), is_held=True)
        engine = Engine(is_between_calls=False)
        connection: Any = SimpleNamespace(request=request, engine=engine, task=None, writer=None)
        gate = Gate(connection, outbox)
        outbox.put(b"piece.")
        gate.shut()
        with begun(request.sendall, b"w" * MUCH):
            assert peer.recv(1) == b"w"
            engine.is_between_calls = True
            gate.shut()
            assert received(peer, MUCH - 1) == b"w" * (MUCH - 1)
        gate.shut()
        assert received(peer, 6) == b"piece."
        outbox.end()


def test_a_connection_that_goes_over_to_tls_just_now_gets_no_outbox_in_clear() -> None:
    class Upgrading(StreamRequestHandler):
        def handle(self) -> None:
            transfer = begin_transfer(self.request)
            self.wfile.write(b"welcome\n")
            self.rfile.readline()
            transfer.fail()
            self.wfile.write(b"failed\n")
            self.rfile.readline()

    with serving(Upgrading, engine="threads") as under_test, under_test.connect() as peer:
        assert read_line(peer) == b"welcome\n"
        (connection,) = under_test.server.connections.values()
        assert not connection.send(b"in clear\n")
        assert connection.outbox is None
        peer.sendall(b"\n")
        assert read_line(peer) == b"failed\n"
        assert connection.send(b"piece\n")
        assert read_line(peer) == b"piece\n"


def test_a_way_over_to_tls_waits_for_a_write_that_knows_of_no_gate() -> None:
    class Upgrading(StreamRequestHandler):
        def handle(self) -> None:
            handlers.append(self)
            self.wfile.write(b"welcome\n")
            self.rfile.readline()
            transfer = begin_transfer(self.request)
            self.request.sendall(b"go ahead\n")
            transfer.fail()

    with serving(Upgrading, engine="threads") as under_test, under_test.connect() as peer:
        assert read_line(peer) == b"welcome\n"
        (handler,), (connection,) = handlers, under_test.server.connections.values()
        with begun(handler.wfile.write, b"w" * MUCH):
            assert peer.recv(1) == b"w"
            assert connection.send(b"piece\n")
            peer.sendall(b"\n")
            wait_until(lambda: connection.outbox.is_waited_for)  # type: ignore[union-attr]
            expected = b"w" * (MUCH - 1) + b"piece\ngo ahead\n"
            assert received(peer, len(expected)) == expected


def test_an_outbox_whose_connection_the_program_has_taken_away_meanwhile_sends_nothing() -> None:
    ours, peer = socket.socketpair()
    with peer:
        outbox = make_outbox(ours, Patient(), is_held=True)
        connection: Any = SimpleNamespace(
            request=ours, engine=Engine(is_between_calls=True), writer=None
        )
        gate = Gate(connection, outbox)
        outbox.put(b"piece")
        with socket.socket(fileno=ours.detach()) as other:
            gate.shut()
            other.sendall(b"other")
            assert outbox.is_over
            assert outbox.missed == 1
        assert peer.recv(100) == b"other"


@pytest.mark.parametrize("engine", ["threads", "fibers"])
@pytest.mark.parametrize("is_secret", [False, True])
def test_a_connection_that_its_handler_has_closed_gets_no_outbox(
    engine: str, is_secret: bool, authority: Authority, tmp_path: Path
) -> None:
    class Closing(BaseRequestHandler):
        def handle(self) -> None:
            self.request.close()
            answers.extend([self.send(b"piece"), self.join("red")])

    answers: list[bool] = []
    certfile, keyfile = authority.write(tmp_path, "localhost")
    options = {"certfile": certfile, "keyfile": keyfile} if is_secret else {}
    scheme = "tls" if is_secret else "tcp"
    with (
        serving(Closing, f"{scheme}://127.0.0.1:0", engine=engine, **options) as under_test,
        call(socket_address(under_test.server.addresses[0])) as plain,
        ExitStack() as stack,
    ):
        if is_secret:
            context = authority.client_context()
            stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
        wait_until(lambda: len(answers) == 2)
    assert answers == [False, False]


def test_a_gate_sends_what_has_waited_for_it_while_others_get_their_outboxes() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        outbox = make_outbox(ours, Patient(), is_held=True)
        was_held: list[bool] = []

        def send(data: bytes | memoryview, flags: int) -> int:
            was_held.append(is_held_here(outboxes.lock))
            return len(data)

        outbox.connect(send, ours.fileno(), keeps_attempts=False)
        outbox.put(b"piece")
        Gate(connection_of(ours), outbox).shut()
        assert was_held == [False]


def connection_of(sock: socket.socket, writer: SocketWriter | None = None) -> Any:
    return SimpleNamespace(
        request=sock, engine=Engine(is_between_calls=True), task=None, writer=writer
    )


def test_a_write_that_does_not_wait_beside_another_one_fails_as_the_system_says_it() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        outbox = make_outbox(ours, Patient(), is_held=True)
        writer = SocketWriter(ours)
        with begun(writer.write, b"w" * MUCH):
            assert peer.recv(1) == b"w"
            writer.gate = Gate(connection_of(ours, writer), outbox)
            # It shares the descriptor, which blocks on: the write that is under way waits.
            with ours.dup() as twin:
                twin.settimeout(0.0)
                os.set_blocking(ours.fileno(), True)
                with pytest.raises(BlockingIOError):
                    writer.gate.write(twin, b"second")
            assert received(peer, MUCH - 1) == b"w" * (MUCH - 1)


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_copy_knows_of_no_way_over_to_tls_that_another_thread_was_on() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        transfer = begin_transfer(ours)
        assert is_in_transfer(ours)
        with forked(lambda: not is_in_transfer(ours)) as wait:
            assert wait() == 0
        transfer.fail()
        assert not is_in_transfer(ours)
