"""The hooks of a server behind a balancer, and programs that have workers of their own."""

import contextlib
import ssl
import threading
from typing import Any

import pytest

from manyhands import StreamRequestHandler, events, socketserver
from manyhands.connections.tls_handshake import is_tls
from manyhands.model.connection_states import Reason
from tests.support import (
    Authority,
    call,
    everything,
    is_closed_by_server,
    open_descriptors,
    secured,
    server_class,
    serving,
    wait_for_descriptors,
    wait_until,
)

from .proxy_kit import (
    CLIENT,
    HERE,
    V1,
    V2,
    Never,
    Tell,
    bad_headers,
    balanced,
    behind_a_balancer,
    say,
    wait_for,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def test_verify_request_is_asked_for_the_client_that_is_announced(engine: str) -> None:
    def only_the_client(self: Any, request: Any, client_address: Any) -> bool:
        return bool(client_address == CLIENT)

    with balanced(engine, verify_request=only_the_client) as server:
        assert say(server.server_address, V1 + b"hello\n") == repr(CLIENT).encode()
        wait_until(lambda: len(server.connections) == 0)
        assert say(server.server_address, b"PROXY UNKNOWN\r\nhello\n") == b""
        wait_until(lambda: Reason.REFUSED_BY_HOOK in server.connections.closed)
        assert server.connections.closed[Reason.REFUSED_BY_HOOK] == 1
        assert server.connections.balance == (2, 0, 2)


def test_verify_request_is_not_asked_before_the_header(engine: str) -> None:
    def never(self: Any, request: Any, client_address: Any) -> bool:
        raise AssertionError("verify_request was asked without a header")

    with balanced(engine, Never, verify_request=never) as server:
        assert say(server.server_address) == b""
        wait_for(server, Reason.PEER_CLOSED)


def test_a_verify_request_that_fails_refuses_and_is_handle_error_s(
    engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Any, request: Any, client_address: Any) -> bool:
        raise LookupError("who is that")

    with balanced(engine, Never, verify_request=fail) as server:
        assert say(server.server_address, V1) == b""
        wait_for(server, Reason.REFUSED_BY_HOOK)
    printed = capfd.readouterr().err
    assert "LookupError: who is that" in printed
    assert repr(CLIENT) in printed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_handle_error_that_fails_leaves_nothing_open(engine: str) -> None:
    def fail(self: Any, request: Any, client_address: Any) -> Any:
        raise LookupError("who is that")

    before = open_descriptors()
    with balanced(engine, Never, verify_request=fail, handle_error=fail) as server:
        assert say(server.server_address, V1) == b""
        wait_for(server, Reason.REFUSED_BY_HOOK)
    wait_for_descriptors(before)


def test_verify_request_sees_the_client_s_certificate(engine: str, authority: Authority) -> None:
    def has_a_certificate(self: Any, request: Any, client_address: Any) -> bool:
        return client_address == CLIENT and bool(request.getpeercert())

    server = behind_a_balancer(engine, verify_request=has_a_certificate)
    secured(server, authority, authority.asking_server_context())
    with serving(server, 0.02):
        known, unknown = authority.known_client_context(), authority.client_context()
        assert ask_announced(server.server_address, known) == repr(CLIENT).encode()
        with contextlib.suppress(OSError):
            assert ask_announced(server.server_address, unknown) == b""


def ask_announced(address: Any, context: ssl.SSLContext, header: bytes = V2) -> bytes:
    """Call as a balancer does for a client that speaks TLS, say a line, and return the answer."""
    with call(address) as plain:
        plain.sendall(header)
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            peer.sendall(b"hello\n")
            return everything(peer)


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_handshake_that_fails_in_verify_request_is_its_own_reason(
    engine: str, authority: Authority, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    def looks(self: Any, request: Any, client_address: Any) -> bool:
        return bool(request.version())

    server = secured(behind_a_balancer(engine, Never, verify_request=looks), authority)
    with serving(server, 0.02):
        say(server.server_address, V1 + b"GET / HTTP/1.1\r\n\r\n")
        wait_for(server, Reason.HANDSHAKE_FAILED)
    assert [event.peer for event in seen if isinstance(event, events.HandshakeFailed)] == [CLIENT]
    assert capfd.readouterr().err == ""


class OwnWorkers(socketserver.TCPServer):
    """Serves in threads of its own, which none of our engines knows."""

    proxy_protocol = True

    def process_request(self, request: Any, client_address: Any) -> None:
        def work() -> None:
            try:
                self.finish_request(request, client_address)
            finally:
                self.shutdown_request(request)

        threading.Thread(target=work).start()


def test_workers_of_the_program_s_own_get_the_client_that_is_announced(
    seen: list[events.Event],
) -> None:
    before = open_descriptors()
    with serving(OwnWorkers(HERE, Tell)) as server:
        assert say(server.server_address, V1 + b"hello\n") == repr(CLIENT).encode()
        assert say(server.server_address, b"?") == b""
    assert len(bad_headers(seen)) == 1
    wait_for_descriptors(before)


def test_workers_of_the_program_s_own_get_tls_after_the_header(authority: Authority) -> None:
    before = open_descriptors()
    server = secured(OwnWorkers(HERE, Tell), authority)
    with serving(server):
        answer = ask_announced(server.server_address, authority.client_context())
        assert answer == repr(CLIENT).encode()
    wait_for_descriptors(before)


def test_process_request_may_hand_on_to_process_request_thread() -> None:
    class Submits(socketserver.ThreadingTCPServer):
        proxy_protocol = True

        def process_request(self, request: Any, client_address: Any) -> None:
            arguments = (request, client_address)
            threading.Thread(target=self.process_request_thread, args=arguments).start()

    with serving(Submits(HERE, Tell)) as server:
        assert say(server.server_address, V1 + b"hello\n") == repr(CLIENT).encode()


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_hook_that_keeps_the_connection_holds_the_one_of_tls(
    engine: str, authority: Authority
) -> None:
    kept: list[Any] = []

    class Keeps(server_class(engine)):  # type: ignore[misc]  # a class that the test chooses
        proxy_protocol = True

        def process_request(self, request: Any, client_address: Any) -> None:
            kept.append(request)
            super().process_request(request, client_address)

    class Looks(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            assert is_tls(kept[0])
            assert kept[0].fileno() == self.request.fileno()
            self.wfile.write(b"so it is")

    with serving(secured(Keeps(HERE, Looks), authority)) as server:
        assert ask_announced(server.server_address, authority.client_context()) == b"so it is"
    assert kept[0].fileno() < 0


def test_a_connection_that_the_program_has_accepted_itself_is_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def accept(self: Any) -> Any:
        return self.socket.accept()

    with balanced("threads", Never, get_request=accept) as server:
        with call(server.server_address) as peer:
            assert is_closed_by_server(peer)
        assert Reason.HANDLER_FAILED not in server.connections.closed
    assert "its PROXY header would not be read" in capfd.readouterr().err
