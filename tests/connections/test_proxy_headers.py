"""A server behind a balancer: its handlers have the client that a PROXY header announces, on every engine."""

import socket
from pathlib import Path
from typing import Any

import pytest

from manyhands import DatagramRequestHandler, Server, StreamRequestHandler, events, proxy
from manyhands.model.connection_states import Reason, State
from manyhands.model.usage_errors import Mistake
from manyhands.testing import dripping, half_close
from manyhands.testing import serving as serving_many
from tests.support import (
    bound,
    call,
    everything,
    is_closed_by_server,
    open_descriptors,
    reset,
    wait_for_descriptors,
    wait_until,
)

from .proxy_kit import (
    CLIENT,
    CLIENT_6,
    SERVICE,
    SERVICE_6,
    V1,
    V2,
    WITH_NAME,
    Never,
    Tell,
    bad_headers,
    balanced,
    behind_a_balancer,
    say,
    wait_for,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

HEADERS = {
    V1: CLIENT,
    V2: CLIENT,
    WITH_NAME: CLIENT,
    proxy.encode_v1(CLIENT_6, SERVICE_6): CLIENT_6,
    proxy.encode_v2(CLIENT_6, SERVICE_6): CLIENT_6,
    proxy.encode_v2("/run/client.sock", "/run/service.sock"): "/run/client.sock",
}


def test_the_handler_has_the_client_that_is_announced(engine: str) -> None:
    before = open_descriptors()
    with balanced(engine) as server:
        for header, client in HEADERS.items():
            assert say(server.server_address, header + b"hello\n") == repr(client).encode()
        wait_until(lambda: len(server.connections) == 0)
    wait_for_descriptors(before)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_header_may_be_cut_at_any_byte(engine: str, header: bytes) -> None:
    with balanced(engine) as server:
        # A process for each cut would take its time.
        for size in range(1, len(header), 9 if engine == "processes" else 1):
            pieces = (header[:size], header[size:], b"hello\n")
            assert say(server.server_address, *pieces) == repr(CLIENT).encode()
        one_by_one = [bytes([byte]) for byte in header + b"hello\n"]
        assert say(server.server_address, *one_by_one) == repr(CLIENT).encode()


@pytest.mark.parametrize(
    "header", [proxy.encode_v1(), proxy.encode_local()], ids=["UNKNOWN", "LOCAL"]
)
def test_where_no_client_is_announced_it_is_the_socket_s_own_peer(
    engine: str, header: bytes
) -> None:
    with balanced(engine) as server, call(server.server_address) as peer:
        peer.sendall(header + b"hello\n")
        assert everything(peer) == repr(peer.getsockname()).encode()


def test_the_registry_has_the_client_that_is_announced() -> None:
    with balanced("threads") as server, call(server.server_address) as peer:
        wait_until(lambda: len(server.connections) == 1)
        [connection] = server.connections.values()
        wait_until(lambda: connection.state is State.READING_PROXY_HEADER)
        assert connection.client_address == peer.getsockname()
        assert connection.proxy_header is None
        peer.sendall(WITH_NAME)
        wait_until(lambda: connection.state is State.OPEN)
        assert connection.client_address == CLIENT
        assert connection.proxy_header.destination == SERVICE
        assert connection.proxy_header.tlv(proxy.TlvType.AUTHORITY) == b"shop.example"


class Name(StreamRequestHandler):
    """Answers with the name that the client called, as the balancer has it."""

    def handle(self) -> None:
        self.wfile.write(self.proxy_header.tlv(proxy.TlvType.AUTHORITY))


def name(request: Any, client_address: Any, server: Any) -> None:
    """Do the same, as a function."""
    request.sendall(proxy.header_of(request).tlv(proxy.TlvType.AUTHORITY))


@pytest.mark.parametrize("handler", [Name, name])
def test_the_handler_has_all_that_the_header_says(engine: str, handler: Any) -> None:
    with balanced(engine, handler) as server:
        assert say(server.server_address, WITH_NAME) == b"shop.example"


def test_without_a_header_there_is_none() -> None:
    class Asks(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(repr(self.proxy_header).encode())

    with serving_many(Asks) as server, server.connect() as peer:
        assert everything(peer) == b"None"


def test_a_program_s_own_attribute_of_a_handler_counts() -> None:
    class Own(StreamRequestHandler):
        def setup(self) -> None:
            super().setup()
            self.proxy_header = "mine"

        def handle(self) -> None:
            self.wfile.write(self.proxy_header.encode())

    with balanced("threads", Own) as server:
        assert say(server.server_address, V1) == b"mine"


def test_a_peer_that_is_not_trusted_is_refused_before_it_gets_a_worker(
    engine: str, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    trusted = "192.0.2.0/24, 2001:db8::/32"
    with balanced(engine, Never, proxy_trusted=trusted, proxy_protocol=True) as server:
        assert say(server.server_address, V1 + b"hello\n") == b""
        wait_for(server, Reason.REFUSED_DENIED)
        server.__class__.proxy_trusted = ["192.0.2.0/24", "127.0.0.1"]
        server.RequestHandlerClass = Tell
        assert say(server.server_address, V1 + b"hello\n") == repr(CLIENT).encode()
    [event] = bad_headers(seen)
    assert "proxy_trusted" in str(event)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("trusted", [[], None, 5])
def test_what_is_not_meant_as_networks_trusts_no_peer(trusted: Any) -> None:
    with balanced("threads", Never, proxy_trusted=trusted) as server:
        assert say(server.server_address, V1) == b""
        wait_for(server, Reason.REFUSED_DENIED)


@pytest.mark.parametrize("trusted", ["localhost", ["127.0.0.1", 5], "127.0.0.1, ?"])
def test_a_slip_in_the_networks_is_refused_at_the_start(trusted: Any) -> None:
    with (
        pytest.raises(Mistake, match="proxy_trusted"),
        balanced("threads", Never, proxy_trusted=trusted),
    ):
        pass


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", V1[:-3] + b"x\r\n"])
def test_what_is_no_header_is_an_event_and_no_traceback(
    engine: str, sent: bytes, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    with balanced(engine, Never) as server:
        with call(server.server_address) as peer:
            peer.sendall(sent)
            assert is_closed_by_server(peer)
            address = peer.getsockname()
        wait_for(server, Reason.BAD_PROXY_HEADER)
    # Of a child's, only its own subscribers are told.
    if engine != "processes":
        [event] = bad_headers(seen)
        assert event.peer == address
    assert capfd.readouterr().err == ""


def test_a_header_that_is_cut_off_is_a_bad_one(engine: str) -> None:
    with balanced(engine, Never) as server:
        say(server.server_address, V1[:10])
        wait_for(server, Reason.BAD_PROXY_HEADER)


def test_a_health_check_that_says_nothing_makes_no_noise(
    engine: str, seen: list[events.Event], capfd: pytest.CaptureFixture[str]
) -> None:
    with balanced(engine, Never) as server:
        assert say(server.server_address) == b""
        wait_for(server, Reason.PEER_CLOSED)
    assert bad_headers(seen) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_health_check_that_resets_makes_no_noise(engine: str, seen: list[events.Event]) -> None:
    with balanced(engine, Never) as server:
        reset(call(server.server_address))
        wait_for(server, Reason.PEER_RESET)
    assert bad_headers(seen) == []


def test_a_peer_that_drips_is_ended_when_its_time_is_over(
    engine: str, seen: list[events.Event]
) -> None:
    with balanced(engine, Never, handshake_timeout=0.2) as server:
        with call(server.server_address) as peer, dripping(peer, V1 * 20, every=0.05):
            assert is_closed_by_server(peer)
        wait_for(server, Reason.HANDSHAKE_TOO_SLOW)
    if engine != "processes":
        [event] = bad_headers(seen)
        assert "within 0.2 s" in event.error


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_a_silent_peer_holds_no_client_up(engine: str) -> None:
    with balanced(engine) as server, call(server.server_address) as silent:
        wait_until(lambda: len(server.connections) == 1)
        assert say(server.server_address, V1 + b"hello\n") == repr(CLIENT).encode()
        # Not by a close: a forked handler has a copy.
        half_close(silent)


@pytest.mark.parametrize("engine", ["threads", "processes", "fibers"])
def test_a_connection_can_be_closed_while_its_header_is_awaited(
    engine: str, seen: list[events.Event]
) -> None:
    with balanced(engine, Never) as server, call(server.server_address) as peer:
        peer.sendall(V1[:10])
        wait_until(lambda: len(server.connections) == 1)
        [connection] = server.connections.values()
        wait_until(lambda: connection.state is State.READING_PROXY_HEADER or engine == "processes")
        connection.close()
        assert is_closed_by_server(peer)
        wait_for(server, Reason.KICKED)
    assert bad_headers(seen) == []


def test_a_peer_that_may_connect_to_a_unix_socket_is_trusted(engine: str, tmp_path: Path) -> None:
    path = f"unix://{tmp_path / 'service.sock'}"
    with Server(Tell, path, engine=engine, proxy_protocol=True) as server:
        assert say(bound(server), V2 + b"hello\n") == repr(CLIENT).encode()
        assert say(bound(server), b"PROXY UNKNOWN\r\nhello\n") == b"''"


class Repeat(DatagramRequestHandler):
    """Sends each datagram back."""

    def handle(self) -> None:
        assert self.proxy_header is None
        self.wfile.write(self.packet)


def test_datagrams_have_no_header() -> None:
    with serving_many(Repeat, "udp://127.0.0.1:0", proxy_protocol=True) as server:
        peer = server.connect()
        peer.sendall(b"hello")
        assert peer.recv(100) == b"hello"


def test_an_attribute_of_the_program_s_own_is_not_the_option() -> None:
    with (
        balanced("threads", proxy_protocol="HTTP/1.1") as server,
        call(server.server_address) as peer,
    ):
        peer.sendall(V1)
        assert everything(peer) == repr(peer.getsockname()).encode()


def test_a_default_timeout_of_the_program_holds_for_its_handlers() -> None:
    class Waits(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(str(self.request.gettimeout()).encode())

    socket.setdefaulttimeout(7.5)
    try:
        with balanced("threads", Waits) as server:
            assert say(server.server_address, V1) == b"7.5"
    finally:
        socket.setdefaulttimeout(None)


def test_the_descriptor_of_a_refused_connection_is_closed(engine: str) -> None:
    before = open_descriptors()
    with balanced(engine, Never) as server:
        for sent in (b"", b"?", V1[:5]):
            say(server.server_address, sent)
        wait_until(lambda: server.connections.balance == (3, 0, 3))
    wait_for_descriptors(before)


def test_a_connection_that_was_accepted_outside_the_fibers_is_one_of_theirs() -> None:
    kinds: list[str] = []

    class Look(StreamRequestHandler):
        def handle(self) -> None:
            kinds.append(type(self.request).__name__)

    with behind_a_balancer("fibers", Look) as server, call(server.server_address) as peer:
        peer.sendall(V1)
        # Without a loop, whose accept would be at their home.
        server.handle_request()
        assert everything(peer) == b""
    assert kinds == ["FiberSocket"]
