"""Deadlines of TLS connections: the bytes are those of the ciphertext, and no close_notify is waited for."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import socketserver, testing
from manyhands.model.connection_states import Reason
from manyhands.serving import reaper
from manyhands.serving.core import core_of
from manyhands.testing import call, everything, read_line, running, wait_until
from tests.connections.proxy_kit import V1
from tests.support import Authority, Echo, secured, server_class

from .test_deadlines import after_a_word

SHORT = 0.3

ANY_PORT = "tls://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@pytest.fixture
def certificate(authority: Authority, tmp_path: Path) -> dict[str, str]:
    certfile, keyfile = authority.write(tmp_path, "localhost")
    return {"certfile": certfile, "keyfile": keyfile}


@contextmanager
def secret(server: Any, authority: Authority, **how: Any) -> Iterator[ssl.SSLSocket]:
    context = authority.client_context()
    with (
        call(server.address, **how) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as peer,
    ):
        yield peer


def wait_for(registry: Any, reason: Reason) -> None:
    wait_until(lambda: not registry)
    assert registry.closed == {reason: 1}


def test_an_idle_peer_is_closed(
    engine: str, authority: Authority, certificate: dict[str, str]
) -> None:
    with (
        testing.serving(
            Echo, ANY_PORT, engine=engine, idle_timeout=after_a_word(engine), **certificate
        ) as server,
        secret(server, authority) as peer,
    ):
        peer.sendall(b"hello\n")
        assert read_line(peer) == b"hello\n"
        with contextlib.suppress(ssl.SSLError):
            assert everything(peer) == b""
        wait_for(server.server.connections, Reason.IDLE)


@pytest.fixture
def _gentle_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "CLOSE_NOTIFY_GRACE", 20.0)
    monkeypatch.setattr(reaper, "GRACE", 20.0)


@pytest.fixture
def _gentle_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "CLOSE_NOTIFY_GRACE", 0.05)
    monkeypatch.setattr(reaper, "GRACE", 20.0)


class LastWords(socketserver.StreamRequestHandler):
    """An echo that has something to say at the end of what it reads."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)
        self.wfile.write(b"last words")


class Talkative(socketserver.StreamRequestHandler):
    """Sends something now and then until that fails, and reads nothing."""

    def handle(self) -> None:
        pause: Any = threading.Event().wait
        if core_of(self.server).engines.of(self.server).name == "fibers":
            pause = pytest.importorskip("gevent").sleep
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b".")
                pause(0.01)


@contextmanager
def strict(
    server: Any, authority: Authority, first: bytes = b"", said: bytes = b"hello\n"
) -> Iterator[ssl.SSLSocket]:
    """Talk as a client that takes an end without close_notify for a cut; `first` is said before TLS."""
    context = authority.client_context()
    with call(server.address) as plain:
        plain.sendall(first)
        with context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as peer:
            peer.sendall(said)
            assert peer.recv(len(said))
            yield peer


def pass_soon(server: Any, deadline: str) -> None:
    """Have a deadline of the one connection pass at the next look."""
    [connection] = server.server.connections.snapshot()
    setattr(connection.deadlines, deadline, 0.01)


ENDS = pytest.mark.parametrize(
    ("deadline", "reason"), [("idle_timeout", Reason.IDLE), ("max_age", Reason.TOO_OLD)]
)


@pytest.mark.usefixtures("_gentle_for_long")
@ENDS
def test_a_handler_that_waits_for_its_client_still_sends_close_notify(
    engine: str,
    deadline: str,
    reason: Reason,
    authority: Authority,
    certificate: dict[str, str],
) -> None:
    with (
        testing.serving(LastWords, ANY_PORT, engine=engine, **certificate) as server,
        strict(server, authority) as peer,
    ):
        pass_soon(server, deadline)
        assert everything(peer) == b"last words"
        wait_for(server.server.connections, reason)


@pytest.mark.usefixtures("_gentle_for_long")
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_behind_a_balancer_it_does_too(
    engine: str,
    authority: Authority,
    certificate: dict[str, str],
) -> None:
    with (
        testing.serving(
            LastWords, ANY_PORT, engine=engine, proxy_protocol=True, **certificate
        ) as server,
        strict(server, authority, first=V1) as peer,
    ):
        pass_soon(server, "idle_timeout")
        assert everything(peer) == b"last words"
        wait_for(server.server.connections, Reason.IDLE)


@pytest.mark.usefixtures("_gentle_for_long")
def test_where_the_context_would_make_an_error_of_it_the_end_is_a_plain_one(
    engine: str, authority: Authority
) -> None:
    kind = server_class(engine)
    server = secured(kind(("127.0.0.1", 0), Echo), authority)
    registry = server.connections
    with running(server), call(server.server_address) as plain:
        context = authority.client_context()
        with context.wrap_socket(plain, server_hostname="localhost") as peer:
            peer.sendall(b"hello\n")
            assert read_line(peer) == b"hello\n"
            [connection] = registry.snapshot()
            connection.deadlines.idle_timeout = 0.01
            assert everything(peer) == b""
        wait_for(registry, Reason.IDLE)


@pytest.mark.usefixtures("_gentle_for_a_moment")
@ENDS
def test_a_handler_that_only_sends_is_cut_off_a_moment_later(
    engine: str,
    deadline: str,
    reason: Reason,
    authority: Authority,
    certificate: dict[str, str],
) -> None:
    with (
        testing.serving(Talkative, ANY_PORT, engine=engine, **certificate) as server,
        strict(server, authority) as peer,
    ):
        pass_soon(server, deadline)
        with pytest.raises(OSError, match=r"EOF|reset|closed|pipe"):
            everything(peer)
        wait_for(server.server.connections, reason)


class Sender(socketserver.StreamRequestHandler):
    """Sends far more than the buffers of both sides hold."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(bytes(50_000_000))


@pytest.mark.usefixtures("_gentle_for_long")
def test_a_peer_that_never_reads_is_reset_and_no_close_notify_is_waited_for(
    engine: str,
    authority: Authority,
    certificate: dict[str, str],
) -> None:
    with (
        testing.serving(
            Sender, ANY_PORT, engine=engine, write_timeout=SHORT, **certificate
        ) as server,
        secret(server, authority, receive_buffer=4096),
    ):
        registry = server.server.connections
        wait_until(lambda: registry)
        [connection] = registry.snapshot()
        wait_for(registry, Reason.WRITE_STALLED)
        assert connection.bytes_out > 1000


def test_a_busy_connection_ages(
    engine: str, authority: Authority, certificate: dict[str, str]
) -> None:
    with testing.serving(
        Echo, ANY_PORT, engine=engine, max_age=after_a_word(engine), **certificate
    ) as server:
        with secret(server, authority) as peer, contextlib.suppress(OSError, AssertionError):
            while True:
                peer.sendall(b"hello\n")
                read_line(peer)
        wait_for(server.server.connections, Reason.TOO_OLD)


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
def test_a_stalled_handshake_has_its_own_deadline(engine: str, certificate: dict[str, str]) -> None:
    with testing.serving(
        Echo,
        ANY_PORT,
        engine=engine,
        idle_timeout=SHORT / 6,
        handshake_timeout=SHORT,
        **certificate,
    ) as server:
        with testing.stalled(server.address, b"\x16\x03\x01") as peer:
            assert everything(peer) == b""
        wait_for(server.server.connections, Reason.HANDSHAKE_TOO_SLOW)
