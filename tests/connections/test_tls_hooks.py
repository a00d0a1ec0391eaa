"""Hooks that look at a TLS connection before its worker has it: the handshake is done then."""

import contextlib
import ssl
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from manyhands import events, socketserver
from tests.support import (
    Authority,
    ask_secretly,
    call,
    is_closed_by_server,
    left_open,
    open_descriptors,
    secured,
    server_class,
    serving,
    wait_until,
)

from .tls_kit import HERE, Answer, Never, failures, speak_no_tls

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


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
    assert not left_open(before)
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
            assert is_closed_by_server(silent)
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
def test_a_hook_that_ignores_a_failed_handshake_gets_no_handler(
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
