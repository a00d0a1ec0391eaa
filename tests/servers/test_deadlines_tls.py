"""Deadlines of TLS connections: the bytes are those of the ciphertext, and no goodbye is waited for."""

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import socketserver, testing
from manyhands.rules.reasons import Reason
from manyhands.testing import call, everything, read_line, wait_until
from tests.support import Authority, Echo

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


def wait_for(books: Any, reason: Reason) -> None:
    wait_until(lambda: not books)
    assert books.closed == {reason: 1}


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


class Sender(socketserver.StreamRequestHandler):
    """Sends far more than the buffers of both sides hold."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(bytes(50_000_000))


def test_a_peer_that_never_reads_is_reset_and_no_goodbye_is_waited_for(
    engine: str, authority: Authority, certificate: dict[str, str]
) -> None:
    with (
        testing.serving(
            Sender, ANY_PORT, engine=engine, write_timeout=SHORT, **certificate
        ) as server,
        secret(server, authority, receive_buffer=4096),
    ):
        books = server.server.connections
        wait_until(lambda: books)
        [connection] = books.snapshot()
        wait_for(books, Reason.WRITE_STALLED)
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
        idle_timeout=SHORT / 3,
        handshake_timeout=3 * SHORT,
        **certificate,
    ) as server:
        with testing.stalled(server.address, b"\x16\x03\x01") as peer:
            assert everything(peer) == b""
        wait_for(server.server.connections, Reason.HANDSHAKE_TOO_SLOW)
