"""Hooks and programs that look at a TLS connection before its worker has it: the handshake is done then."""

import contextlib
import queue
import socket
import socketserver as standard
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest

from manyhands import events, socketserver
from manyhands.connections import handshake
from tests.support import (
    Authority,
    ask_secretly,
    call,
    everything,
    is_hung_up,
    open_descriptors,
    secured,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Answer(socketserver.StreamRequestHandler):
    """Answers one line."""

    def handle(self) -> None:
        assert type(self.request) is ssl.SSLSocket
        assert self.request.gettimeout() is None
        self.wfile.write(self.rfile.readline())


class Never(socketserver.BaseRequestHandler):
    """Fails the test when it gets to run."""

    def setup(self) -> None:
        raise AssertionError("a handler ran without a handshake")


def failures(seen: list[events.Event]) -> list[events.HandshakeFailed]:
    return [event for event in seen if isinstance(event, events.HandshakeFailed)]


def speak_no_tls(address: Any) -> bytes:
    with call(address) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return everything(peer)


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


# verify_request


@pytest.mark.parametrize("name", ["sequential", "threads", "processes"])
def test_verify_request_sees_the_client_s_certificate(
    module: ModuleType, name: str, authority: Authority
) -> None:
    class Server(server_class(name, module)):  # type: ignore[misc]  # a class of either module
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return bool(request.getpeercert())

    server = secured(Server(HERE, Answer), authority, authority.asking_server_context())
    with serving(server):
        known = authority.known_client_context()
        assert ask_secretly(server.server_address, authority, context=known) == b"hello\n"
        with contextlib.suppress(OSError):
            assert ask_secretly(server.server_address, authority) == b""
        assert ask_secretly(server.server_address, authority, context=known) == b"hello\n"


LOOKS: list[Callable[[ssl.SSLSocket], object]] = [
    lambda request: request.version(),
    lambda request: request.cipher(),
    lambda request: request.shared_ciphers(),
    lambda request: request.getpeercert(binary_form=True),
    lambda request: request.selected_alpn_protocol(),
    lambda request: request.get_channel_binding("tls-unique"),
    lambda request: request.session,
    lambda request: request.session_reused is False,
]


@pytest.mark.parametrize("number", range(len(LOOKS)))
def test_verify_request_sees_all_that_the_handshake_tells(
    module: ModuleType, number: int, authority: Authority
) -> None:
    told: list[object] = []

    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def verify_request(self, request: Any, client_address: Any) -> bool:
            told.append(LOOKS[number](request))
            return True

    context = authority.asking_server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # which alone has that channel binding
    context.set_alpn_protocols(["echo"])
    client = authority.known_client_context()
    client.set_alpn_protocols(["echo"])
    with serving(secured(Server(HERE, Answer), authority, context)) as server:
        assert ask_secretly(server.server_address, authority, context=client) == b"hello\n"
    assert told[0]


def test_verify_request_may_read_before_the_handler(
    module: ModuleType, authority: Authority
) -> None:
    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return bool(request.recv(1) == b"!")

    with serving(secured(Server(HERE, Answer), authority)) as server:
        assert ask_secretly(server.server_address, authority, b"!hello\n") == b"hello\n"


@pytest.mark.parametrize("name", ["sequential", "threads", "processes"])
def test_a_failed_handshake_in_verify_request_is_an_event_and_no_traceback(
    name: str,
    authority: Authority,
    seen: list[events.Event],
    capfd: pytest.CaptureFixture[str],
) -> None:
    shut: list[Any] = []

    class Server(server_class(name)):  # type: ignore[misc]  # see above
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return bool(request.version())

        def shutdown_request(self, request: Any) -> None:
            shut.append(request)
            super().shutdown_request(request)

    before = open_descriptors()
    with serving(secured(Server(HERE, Never), authority)) as server:
        speak_no_tls(server.server_address)
        wait_until(lambda: shut)
    (failure,) = failures(seen)
    assert "http request" in failure.error.lower()
    assert len(shut) == 1
    assert open_descriptors() <= before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["sequential", "threads", "processes"])
def test_a_silent_client_holds_verify_request_up_no_longer_than_a_handshake_may_take(
    name: str, authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    class Server(server_class(name)):  # type: ignore[misc]  # see above
        handshake_timeout = 0.1

        def verify_request(self, request: Any, client_address: Any) -> bool:
            return request.cipher() is not None

    with serving(secured(Server(HERE, Answer), authority)) as server:
        with call(server.server_address) as silent:
            assert is_hung_up(silent)
            peer = silent.getsockname()
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    (failure,) = failures(seen)
    assert failure.peer == peer
    assert "timed out" in str(failure)
    assert capfd.readouterr().err == ""


def test_an_error_of_the_program_s_own_is_still_handle_error_s(
    authority: Authority, seen: list[events.Event]
) -> None:
    handled: list[Any] = []

    class Server(socketserver.TCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            try:
                return bool(request.version())
            except OSError as error:
                raise LookupError("who is that") from error

        def handle_error(self, request: Any, client_address: Any) -> None:
            handled.append(request)

    with serving(secured(Server(HERE, Never), authority)) as server:
        speak_no_tls(server.server_address)
        wait_until(lambda: handled)
    assert len(failures(seen)) == 1


@pytest.mark.parametrize("name", ["sequential", "threads", "processes"])
def test_whoever_passes_over_a_failed_handshake_gets_no_handler(
    name: str,
    authority: Authority,
    seen: list[events.Event],
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Server(server_class(name)):  # type: ignore[misc]  # see above
        def verify_request(self, request: Any, client_address: Any) -> bool:
            with contextlib.suppress(OSError):
                request.version()
            with contextlib.suppress(OSError):
                request.recv(1)
            return True

    with serving(secured(Server(HERE, Never), authority)) as server:
        speak_no_tls(server.server_address)
    assert len(failures(seen)) == 1
    assert capfd.readouterr().err == ""


# get_request


def test_get_request_of_a_subclass_sees_the_certificate(
    module: ModuleType, authority: Authority
) -> None:
    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        def get_request(self) -> Any:
            request, client_address = super().get_request()
            return request, (*client_address, request.getpeercert()["subject"])

    server = secured(Server(HERE, Answer), authority, authority.asking_server_context())
    with serving(server):
        known = authority.known_client_context()
        assert ask_secretly(server.server_address, authority, context=known) == b"hello\n"


def test_a_failed_handshake_in_get_request_closes_the_connection(
    authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    held: list[Any] = []

    class Server(socketserver.TCPServer):
        def get_request(self) -> Any:
            request, client_address = super().get_request()
            held.append(request)  # so that nothing but a close can close it
            request.version()
            return request, client_address

    with serving(secured(Server(HERE, Answer), authority)) as server:
        speak_no_tls(server.server_address)
        assert ask_secretly(server.server_address, authority) == b"hello\n"
    assert len(failures(seen)) == 1
    assert capfd.readouterr().err == ""


# process_request


class Pooled:
    """Has a pool of its own serve requests, as programs do that found threads too many."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pool = ThreadPoolExecutor(2)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self.work, request, client_address)

    def work(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)  # type: ignore[attr-defined]  # the server's
        except Exception:  # noqa: BLE001 - as the standard library has it
            self.handle_error(request, client_address)  # type: ignore[attr-defined]  # the server's
        finally:
            self.shutdown_request(request)  # type: ignore[attr-defined]  # the server's

    def server_close(self) -> None:
        super().server_close()  # type: ignore[misc]  # the server's
        self.pool.shutdown()


class Queued:
    """Has one thread take requests out of a queue, and look at them before anything else."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.requests: queue.Queue[Any] = queue.Queue()
        self.worker = threading.Thread(target=self.work)
        self.worker.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.requests.put((request, client_address))

    def work(self) -> None:
        while item := self.requests.get():
            request, client_address = item
            try:
                assert request.cipher()
                self.finish_request(request, client_address)  # type: ignore[attr-defined]  # see above
            except OSError:
                pass
            finally:
                self.shutdown_request(request)  # type: ignore[attr-defined]  # see above

    def server_close(self) -> None:
        super().server_close()  # type: ignore[misc]  # see above
        self.requests.put(None)
        self.worker.join()


@pytest.mark.parametrize("own", [Pooled, Queued])
def test_workers_of_the_program_s_own_are_served_as_by_the_standard_library(
    module: ModuleType, own: Any, authority: Authority
) -> None:
    kind = type("Server", (own, module.TCPServer), {})
    with serving(secured(kind(HERE, Answer), authority)) as server:
        for _ in range(3):
            assert ask_secretly(server.server_address, authority) == b"hello\n"


@pytest.mark.parametrize("own", [Pooled, Queued])
def test_workers_of_the_program_s_own_run_no_handler_without_a_handshake(
    own: Any, authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    kind = type("Server", (own, socketserver.TCPServer), {"handshake_timeout": 0.1})
    before = open_descriptors()
    with serving(secured(kind(HERE, Never), authority)) as server:
        with call(server.server_address) as silent:
            assert is_hung_up(silent)
        speak_no_tls(server.server_address)
        wait_until(lambda: len(failures(seen)) == 2)
    assert open_descriptors() <= before
    assert capfd.readouterr().err == ""


def test_a_silent_client_stops_no_pool_of_the_program_s_own(authority: Authority) -> None:
    kind = type("Server", (Pooled, socketserver.TCPServer), {})
    with (
        serving(secured(kind(HERE, Answer), authority)) as server,
        call(server.server_address) as silent,
    ):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
        silent.shutdown(socket.SHUT_WR)
        everything(silent)


# The connection itself


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
    handshake.finish(connection)
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
    assert not handshake.complete(connection)
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
