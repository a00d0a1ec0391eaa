"""Whose doing it was: a handler's error is its client's where that broke the connection, and no other's."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import socketserver
from manyhands.model.connection_states import Reason
from tests.support import (
    ENGINES,
    Authority,
    call,
    reset,
    secured,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextmanager
def ended(engine: str, handler: Any, secure: Callable[[Any], Any]) -> Iterator[Any]:
    """Serve, and report no errors."""

    class Quiet:
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    base = server_class(engine)
    server = secure(type(base.__name__, (Quiet, base), {})(HERE, handler))
    with serving(server):
        yield server


def wait_for(server: Any, reason: Reason) -> None:
    wait_until(lambda: sum(server.connections.closed.values()) == 1)
    assert server.connections.closed == {reason: 1}


def plainly(server: Any) -> Any:
    return server


def receive(request: Any, client_address: Any, server: Any) -> None:
    while request.recv(100):
        pass


def send(request: Any, client_address: Any, server: Any) -> None:
    while True:
        request.sendall(b"x" * 10_000)


class ReadFile(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.rfile.read()


def send_garbage(peer: Any) -> None:
    """Send a record that was not encrypted with the session's keys."""
    plain = socket.socket(fileno=socket.dup(peer.fileno()))  # beneath TLS
    with plain:
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"?" * 32)


def alert(peer: Any) -> None:
    """Send a record that is no TLS at all, to which OpenSSL answers with an alert."""
    with socket.socket(fileno=socket.dup(peer.fileno())) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")


def end_without_close_notify(peer: Any) -> None:
    with socket.socket(fileno=socket.dup(peer.fileno())) as plain:
        plain.shutdown(socket.SHUT_WR)


def vanish(peer: Any) -> None:
    with socket.socket(fileno=socket.dup(peer.fileno())) as plain:
        peer.close()
        reset(plain)


BREAKS = {
    "a_bad_record": (send_garbage, receive),
    "a_bad_record_in_a_file": (send_garbage, ReadFile),
    "no_tls": (alert, receive),
    "a_ragged_end": (end_without_close_notify, receive),
    "a_reset_under_a_receive": (vanish, receive),
    "a_reset_under_a_send": (vanish, send),
}


# A forked handler has a copy of the test's peer, whose close is then no reset.
CASES = [
    (engine, breaks)
    for engine in ENGINES
    for breaks in BREAKS
    if engine != "processes" or BREAKS[breaks][0] is not vanish
]


@pytest.mark.parametrize(("engine", "breaks"), CASES)
def test_a_client_that_breaks_its_tls_session_is_peer_reset(
    engine: str, breaks: str, authority: Authority
) -> None:
    break_off, handler = BREAKS[breaks]
    context = authority.client_context()

    def secure(server: Any) -> Any:
        return secured(server, authority, suppress_ragged_eofs=False)

    with (
        ended(engine, handler, secure) as server,
        call(server.server_address) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        break_off(peer)
        wait_for(server, Reason.PEER_RESET)


def test_a_session_in_a_connection_that_the_handler_wraps_counts_too(
    engine: str, authority: Authority
) -> None:
    context = authority.server_context()

    def handler(request: Any, client_address: Any, server: Any) -> None:
        receive(context.wrap_socket(request, server_side=True), client_address, server)

    client = authority.client_context()
    with (
        ended(engine, handler, plainly) as server,
        call(server.server_address) as plain,
        client.wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        send_garbage(peer)
        wait_for(server, Reason.PEER_RESET)


def test_its_handshake_is_one_that_failed(engine: str, authority: Authority) -> None:
    context = authority.server_context()

    def handler(request: Any, client_address: Any, server: Any) -> None:
        context.wrap_socket(request, server_side=True)

    with ended(engine, handler, plainly) as server, call(server.server_address) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        wait_for(server, Reason.HANDSHAKE_FAILED)


@contextmanager
def backend(authority: Authority) -> Iterator[Any]:
    """Listen as a service that breaks each TLS session after its handshake."""
    context = authority.server_context()
    with socket.create_server(HERE) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            secret = context.wrap_socket(connection, server_side=True)
            send_garbage(secret)
            secret.detach()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


def test_what_breaks_another_connection_of_the_handler_is_the_handlers_failure(
    engine: str, authority: Authority
) -> None:
    client = authority.client_context()

    with backend(authority) as address:

        def handler(request: Any, client_address: Any, server: Any) -> None:
            with socket.create_connection(address) as plain:
                secret = client.wrap_socket(plain, server_hostname="localhost")
                receive(secret, None, None)

        def secure(server: Any) -> Any:
            return secured(server, authority)

        with (
            ended(engine, handler, secure) as server,
            call(server.server_address) as plain,
            client.wrap_socket(plain, server_hostname="localhost"),
        ):
            wait_for(server, Reason.HANDLER_FAILED)


def test_a_backend_that_refuses_is_no_reset_of_the_client(engine: str) -> None:
    with socket.create_server(HERE) as taken:
        nobody = taken.getsockname()

    def handler(request: Any, client_address: Any, server: Any) -> None:
        socket.create_connection(nobody)

    with ended(engine, handler, plainly) as server, call(server.server_address):
        wait_for(server, Reason.HANDLER_FAILED)


def test_a_handler_that_writes_after_the_end_of_its_session_has_failed(
    authority: Authority,
) -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.settimeout(0)
        with pytest.raises(ssl.SSLError):
            request.unwrap()
        request.send(b"too late")

    client = authority.client_context()
    with (
        ended("threads", handler, lambda server: secured(server, authority)) as server,
        call(server.server_address) as plain,
        client.wrap_socket(plain, server_hostname="localhost"),
    ):
        wait_for(server, Reason.HANDLER_FAILED)


@pytest.mark.parametrize("says", [b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_so_is_one_that_the_first_read_does_for_a_get_request_that_wraps_by_itself(
    engine: str, says: bytes, authority: Authority
) -> None:
    context = authority.server_context()

    def secure(server: Any) -> Any:
        accept = server.get_request

        def get_request() -> Any:
            plain, client_address = accept()
            secret = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            return secret, client_address

        server.get_request = get_request
        return server

    with ended(engine, receive, secure) as server, call(server.server_address) as peer:
        peer.sendall(says)
        wait_for(server, Reason.HANDSHAKE_FAILED)


def test_a_client_of_a_unix_socket_that_reads_no_more_has_ended_it(
    engine: str, tmp_path: Path
) -> None:
    class Quiet:
        address_family = socket.AF_UNIX

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    def answer(request: Any, client_address: Any, server: Any) -> None:
        request.recv(1)
        request.sendall(b"the answer")

    base = server_class(engine)
    kind = type(base.__name__, (Quiet, base), {})
    path = str(tmp_path / "socket")
    with serving(kind(path, answer)) as server, call(server.server_address) as peer:
        peer.shutdown(socket.SHUT_RD)
        peer.sendall(b"?")
        wait_for(server, Reason.PEER_RESET)


def test_a_write_of_its_own_after_the_end_is_a_failure_of_the_handler(engine: str) -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.shutdown(socket.SHUT_WR)
        request.sendall(b"too late")

    with ended(engine, handler, plainly) as server, call(server.server_address):
        wait_for(server, Reason.HANDLER_FAILED)
