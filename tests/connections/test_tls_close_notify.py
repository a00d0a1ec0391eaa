"""The end of a TLS connection: said in TLS, and never waited for."""

import contextlib
import socket
import ssl
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from manyhands import socketserver
from manyhands.connections.closing import send_close_notify
from tests.support import (
    Authority,
    call,
    everything,
    open_descriptors,
    secured,
    server_class,
    serving,
    wait_for_descriptors,
    wait_until,
)

HERE = ("127.0.0.1", 0)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Short(socketserver.StreamRequestHandler):
    """Says a word and goes."""

    def handle(self) -> None:
        self.wfile.write(b"word")


def strict(authority: Authority, plain: socket.socket, **versions: Any) -> ssl.SSLSocket:
    """Shake hands as a client that takes an end without close_notify for a cut."""
    context = authority.client_context()
    for name, version in versions.items():
        setattr(context, name, version)
    return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_strict_client_sees_the_end(
    engine: str, version: ssl.TLSVersion, authority: Authority
) -> None:
    with (
        serving(secured(server_class(engine)(HERE, Short), authority)) as server,
        call(server.server_address) as plain,
        strict(authority, plain, maximum_version=version) as peer,
    ):
        assert everything(peer) == b"word"


def test_the_standard_library_s_end_is_a_cut(module: ModuleType, authority: Authority) -> None:
    server = secured(module.ThreadingTCPServer(HERE, Short), authority)
    with (
        serving(server),
        call(server.server_address) as plain,
        strict(authority, plain) as peer,
        contextlib.nullcontext() if module is socketserver else pytest.raises(ssl.SSLEOFError),
    ):
        assert everything(peer) == b"word"


def test_a_client_that_has_sent_close_notify_itself_gets_its_answer(
    engine: str, authority: Authority
) -> None:
    class Last(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read()

    with (
        serving(secured(server_class(engine)(HERE, Last), authority)) as server,
        call(server.server_address) as plain,
        strict(authority, plain) as peer,
    ):
        peer.unwrap().close()


class Flood(socketserver.StreamRequestHandler):
    """Sends more than the kernel holds for a client that does not read."""

    timeout = 0.2

    def handle(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self.request.sendall(bytes(1_000_000))


@pytest.mark.parametrize("handler", [Flood, Short])
def test_a_client_that_reads_nothing_holds_no_other_up(
    engine: str, handler: Any, authority: Authority
) -> None:
    taken: list[float] = []

    class Server(server_class(engine)):  # type: ignore[misc]  # a class chosen by name
        def shutdown_request(self, request: Any) -> None:
            began = time.monotonic()
            super().shutdown_request(request)
            taken.append(time.monotonic() - began)

    before = open_descriptors()
    server = secured(Server(HERE, handler), authority)
    with call(server.server_address) as plain:
        with serving(server):
            peer = strict(authority, plain)
            if (
                engine != "processes"
            ):  # where a child does it, for whose end closing the server waits
                wait_until(lambda: taken)
        peer.close()
    assert all(seconds < 0.5 for seconds in taken)
    wait_for_descriptors(before)


@pytest.fixture
def pair(authority: Authority) -> Any:
    """The two ends of a TLS connection."""
    here, there = socket.socketpair()
    for end in (here, there):
        end.settimeout(20)
    context = authority.server_context()
    server = context.wrap_socket(here, server_side=True, do_handshake_on_connect=False)
    shaking = threading.Thread(target=server.do_handshake)
    shaking.start()
    client = strict(authority, there)
    shaking.join()
    with server, client:
        yield server, client


def test_close_notify_leaves_the_timeout_as_it_was(pair: Any) -> None:
    server, client = pair
    server.settimeout(7)
    send_close_notify(server)
    assert server.gettimeout() == 7
    assert client.recv(10) == b""


def test_unread_data_do_not_keep_back_close_notify(pair: Any) -> None:
    server, client = pair
    client.sendall(b"unread" * 1000)
    send_close_notify(server)
    assert client.recv(10) == b""


@pytest.mark.parametrize("timeout", [None, 20])
def test_a_thread_that_reads_does_not_hold_up_close_notify(
    pair: Any, timeout: float | None
) -> None:
    server, client = pair
    server.settimeout(timeout)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(server.recv(10)))
    reader.start()
    send_close_notify(server)
    assert client.recv(10) == b""
    server.shutdown(socket.SHUT_RDWR)
    reader.join(20)
    assert not reader.is_alive()


def test_nothing_is_said_to_what_cannot_be_told(pair: Any, authority: Authority) -> None:
    server, _ = pair
    server.shutdown(socket.SHUT_RDWR)
    send_close_notify(server)
    server.close()
    send_close_notify(server)
    for nothing in (None, (b"data", None)):
        send_close_notify(nothing)
    with (
        socket.socket() as plain,
        authority.server_context().wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        ) as unconnected,
    ):
        send_close_notify(plain)
        send_close_notify(unconnected)


def test_a_connection_whose_program_does_the_handshake_gets_none_before(
    authority: Authority,
) -> None:
    here, there = socket.socketpair()
    with (
        there,
        authority.server_context().wrap_socket(
            here, server_side=True, do_handshake_on_connect=False
        ) as server,
    ):
        send_close_notify(server)
        server.close()
        assert there.recv(10) == b""
