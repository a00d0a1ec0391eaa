"""The TLS connection itself, before its handshake, during it and after it."""

import socket
import socketserver as standard
import ssl
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from manyhands import events, socketserver
from manyhands.connections import tls_handshake
from tests.support import (
    Authority,
    ask_secretly,
    call,
    secured,
    serving,
    wait_until,
)

from .tls_kit import HERE, Answer, Never, failures, speak_no_tls

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture
def accepted(authority: Authority) -> Iterator[tuple[ssl.SSLSocket, socket.socket]]:
    """A connection accepted from a TLS listener, and its client, which has said nothing."""
    with (
        secured(socketserver.TCPServer(HERE, Answer), authority) as server,
        call(server.server_address) as client,
    ):
        connection, _ = server.get_request()
        with connection:
            yield connection, client


def test_an_accepted_connection_looks_like_any(
    accepted: tuple[ssl.SSLSocket, socket.socket], authority: Authority
) -> None:
    connection, client = accepted
    assert isinstance(connection, ssl.SSLSocket)
    assert type(connection).__name__ == "SSLSocket"
    assert repr(connection).startswith("<ssl.SSLSocket fd=")
    shaken: list[ssl.SSLSocket] = []
    thread = threading.Thread(
        target=lambda: shaken.append(
            authority.client_context().wrap_socket(client, server_hostname="localhost")
        )
    )
    plain = set(vars(connection))
    thread.start()
    tls_handshake.finish(connection)
    thread.join()
    assert type(connection) is ssl.SSLSocket
    assert vars(connection).keys() < plain
    shaken[0].close()


def test_a_connection_that_was_closed_says_so(
    accepted: tuple[ssl.SSLSocket, socket.socket], seen: list[events.Event]
) -> None:
    connection, _ = accepted
    connection.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        connection.recv(1)
    assert failures(seen) == []


def test_a_connection_that_was_shut_down_first_is_never_read_as_plain_text(
    accepted: tuple[ssl.SSLSocket, socket.socket], seen: list[events.Event]
) -> None:
    connection, client = accepted
    client.sendall(b"let me in\n")
    connection.shutdown(socket.SHUT_WR)
    assert not tls_handshake.is_finished(connection)
    with pytest.raises(ConnectionAbortedError, match="shut down before its handshake"):
        connection.recv(100)
    (failure,) = failures(seen)
    assert "shut down before its handshake" in failure.error


def test_a_connection_that_is_cut_off_in_its_handshake_fails_like_any(
    authority: Authority, seen: list[events.Event]
) -> None:
    class CutOff(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            self.shutdown(socket.SHUT_RDWR)  # what a drain does, in another thread
            super().do_handshake(block)

    context = authority.server_context()
    context.sslsocket_class = CutOff
    with serving(secured(socketserver.TCPServer(HERE, Never), authority, context)) as server:
        speak_no_tls(server.server_address)
        wait_until(lambda: failures(seen))
    assert "shut down before" in failures(seen)[0].error


def test_the_handshake_is_done_once_however_many_threads_want_it(
    accepted: tuple[ssl.SSLSocket, socket.socket], seen: list[events.Event]
) -> None:
    connection, client = accepted
    refused: list[str] = []

    def look() -> None:
        try:
            connection.version()
        except OSError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    for thread in threads:
        thread.join()
    assert len(refused) == 5
    assert len(failures(seen)) == 1


def test_a_class_of_the_program_s_own_and_a_callback_of_its_context_work(
    authority: Authority,
) -> None:
    names: list[object] = []

    class Own(ssl.SSLSocket):
        def whose(self) -> object:
            return self.cipher()

    def on_name(connection: Any, name: str, context: ssl.SSLContext) -> None:
        names.append((name, connection.version(), type(connection).__name__))

    class Server(socketserver.TCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            assert request.whose()
            return type(request) is Own

    class Reply(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    context = authority.server_context()
    context.sslsocket_class = Own
    context.sni_callback = on_name
    with serving(secured(Server(HERE, Reply), authority, context)) as server:
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert names == [("localhost", None, "Own")]


def test_a_listener_that_leaves_the_handshake_to_the_program_does_none(
    module: ModuleType, authority: Authority
) -> None:
    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def verify_request(self, request: Any, client_address: Any) -> bool:
            assert type(request) is ssl.SSLSocket
            return request.version() is None

    class Own(Answer):
        def setup(self) -> None:
            self.request.do_handshake()
            super().setup()

    server = secured(Server(HERE, Own), authority, do_handshake_on_connect=False)
    with serving(server):
        assert ask_secretly(server.server_address, authority) == b"hello\n"


def test_a_failed_handshake_is_dropped_in_silence_by_the_standard_library(
    authority: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    class Server(standard.TCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return bool(request.version())

    server = secured(Server(HERE, Never), authority)  # type: ignore[arg-type]  # ours serves there
    with serving(server):
        speak_no_tls(server.server_address)
    assert capfd.readouterr().err == ""
