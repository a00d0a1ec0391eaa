"""A connection that is lost between accept and engine is counted once, and the rules are asked about it."""

import ssl
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from manyhands.model.connection_states import Reason
from tests.support import (
    Authority,
    ask,
    ask_secretly,
    bound,
    call,
    left_open,
    open_descriptors,
    reset,
    secured,
    serving,
    wait_until,
)

from .admission_kit import of_kind, server_of, wait_for_balance

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

LOST = 10
HERE = ("127.0.0.1", 0)
THE_BEGINNING_OF_A_HELLO = b"\x16\x03\x01\x02\x00"


class Answer(socketserver.StreamRequestHandler):
    """Answers one line. (It waits for no end: a forked handler has a copy of the test's own peer.)"""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


def lose_some(address: Any, said: bytes = b"", count: int = LOST) -> None:
    """Have clients call, speak and reset while nothing accepts, so that each is gone when it is accepted."""
    for _ in range(count):
        peer = call(address)
        peer.sendall(said)
        reset(peer)


def wait_for_lost(registry: Any, served: int, **lost: int) -> None:
    """Wait until so many were lost for each reason, and all others, who were served, have ended."""
    expected = {Reason(reason): count for reason, count in lost.items()}
    total = served + sum(lost.values())
    try:
        wait_until(lambda: registry.balance == (total, 0, total))
    finally:
        assert {reason: registry.closed.get(reason) for reason in expected} == expected


@pytest.mark.parametrize("said", [b"", THE_BEGINNING_OF_A_HELLO], ids=["silent", "speaking"])
def test_clients_that_are_reset_before_tls_are_counted(
    engine: str, said: bytes, authority: Authority, seen: list[events.Event]
) -> None:
    before = open_descriptors()
    server = secured(server_of(engine, Answer), authority)
    registry = server.connections
    lose_some(server.server_address, said)
    with serving(server):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
        wait_for_lost(registry, 1, handshake_failed=LOST)
    assert not of_kind(seen, events.AcceptPaused)
    if engine != "processes":
        assert len(of_kind(seen, events.HandshakeFailed)) == LOST
    assert not left_open(before)


def test_a_server_counts_them_on_its_tls_addresses(
    engine: str, authority: Authority, seen: list[events.Event]
) -> None:
    options = {"engine": engine, "ssl_context": authority.server_context()}
    with Server(Answer, "tls://127.0.0.1:0", **options) as server:
        server.suspend()
        lose_some(bound(server))
        server.resume()
        assert ask_secretly(bound(server), authority) == b"hello\n"
        wait_for_lost(server.connections, 1, handshake_failed=LOST)


def test_the_rules_are_asked_about_them(authority: Authority, seen: list[events.Event]) -> None:
    server = secured(server_of("threads", Answer, deny="127.0.0.0/8"), authority)
    lose_some(server.server_address)
    with serving(server):
        wait_for_balance(server.connections, refused_denied=LOST)
    (told, *_) = of_kind(seen, events.ConnectionsRefused)
    assert told.summary.counts[Reason.REFUSED_DENIED] >= 1


def test_they_take_tokens_of_the_rate(authority: Authority) -> None:
    rate = {"max_rate_per_ip": 0.001, "rate_burst_per_ip": 4}
    server = secured(server_of("threads", Answer, **rate), authority)
    lose_some(server.server_address)
    with serving(server):
        wait_for_balance(server.connections, handshake_failed=4, refused_too_fast=LOST - 4)


def test_they_are_lost_beyond_max_connections_too(authority: Authority) -> None:
    """And leave no place behind that is taken for good."""
    server = secured(server_of("threads", Answer, max_connections=1), authority)
    lose_some(server.server_address)
    with serving(server):
        for _ in range(2):
            assert ask_secretly(server.server_address, authority) == b"hello\n"
        wait_for_lost(server.connections, 2, handshake_failed=LOST)


@pytest.mark.parametrize(
    ("error", "reason", "is_reported"),
    [
        (OSError(22, "Invalid argument"), "refused_by_hook", False),
        (OSError(107, "Transport endpoint is not connected"), "peer_reset", False),
        (ConnectionResetError(104, "Connection reset by peer"), "peer_reset", False),
        (ValueError("as told"), "refused_by_hook", True),
    ],
    ids=["EINVAL", "ENOTCONN", "ECONNRESET", "ValueError"],
)
def test_what_fails_in_a_get_request_around_ours_is_counted_and_stops_no_other_client(
    engine: str, error: Exception, reason: str, is_reported: bool, seen: list[events.Event]
) -> None:
    class Failing:
        left = 3
        reported = 0

        def get_request(self) -> Any:
            arrival = super().get_request()  # type: ignore[misc]
            if self.left:
                self.left -= 1
                raise type(error)(*error.args)
            return arrival

        def handle_error(self, request: Any, client_address: Any) -> None:
            self.reported += 1

    server = server_of(engine, Answer, Failing, max_rate_per_ip=1000)
    registry = server.connections
    with serving(server):
        for _ in range(3):
            with call(server.server_address) as peer:
                assert peer.recv(1) == b""
        assert ask(server.server_address) == b"hello\n"
        wait_for_lost(registry, 1, **{reason: 3})
    assert server.reported == (3 if is_reported else 0)
    assert not of_kind(seen, events.AcceptPaused)


@pytest.mark.parametrize("is_secured", [False, True], ids=["plain", "tls"])
def test_what_a_get_request_of_the_programs_own_wraps_is_counted_too(
    is_secured: bool, authority: Authority, seen: list[events.Event]
) -> None:
    context = authority.server_context()

    class Wrapping:
        def get_request(self) -> Any:
            connection, client_address = self.socket.accept()  # type: ignore[attr-defined]
            if not is_secured:
                connection = context.wrap_socket(connection, server_side=True)
            return connection, client_address

    server = server_of("threads", Answer, Wrapping)
    if is_secured:
        secured(server, authority)
    lose_some(server.server_address)
    lose_some(server.server_address, b"GET / HTTP/1.1\r\n\r\n")
    with serving(server):
        assert ask_secretly(server.server_address, authority) == b"hello\n"
        wait_for_lost(server.connections, 1, handshake_failed=2 * LOST)
    assert not of_kind(seen, events.AcceptPaused)


def test_what_is_raised_through_the_loop_leaves_the_books_balanced() -> None:
    class Interrupted:
        def get_request(self) -> Any:
            super().get_request()  # type: ignore[misc]
            raise KeyboardInterrupt

    with server_of("threads", Answer, Interrupted) as server, call(server.server_address):
        with pytest.raises(KeyboardInterrupt):
            server.handle_request()
        assert server.connections.closed == {Reason.REFUSED_BY_HOOK: 1}


def test_a_connection_that_cannot_be_measured_is_closed_in_the_books(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("manyhands.connections.connection.Connection.count_traffic", fail)

    class Quiet:
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    kind = server_of("threads", Answer, Quiet, idle_timeout=60, max_connections_per_ip=1)
    with serving(kind) as server:
        for _ in range(2):
            with call(server.server_address) as peer:
                assert peer.recv(1) == b""
        wait_for_balance(server.connections, refused_by_hook=2)


def test_a_wrap_in_the_worker_that_fails_is_a_failed_handshake(
    authority: Authority, seen: list[events.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted outside of the thread of the fibers, a connection is wrapped anew by its worker."""
    pytest.importorskip("gevent")

    def fail(*_: object, **__: object) -> Any:
        raise ssl.SSLError(1, "as told")

    monkeypatch.setattr("manyhands.engines.fibers.engine.wrap", fail)
    with (
        secured(server_of("fibers", Answer), authority) as server,
        call(server.server_address) as peer,
    ):
        server.handle_request()
        assert peer.recv(1) == b""
        wait_for_balance(server.connections, handshake_failed=1)
    assert len(of_kind(seen, events.HandshakeFailed)) == 1
