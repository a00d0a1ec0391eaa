"""Alive and ready, on every engine, until the end of the drain."""

import socketserver as standard
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import Server, socketserver
from manyhands.http import health
from manyhands.http.server import PageServer
from manyhands.model.usage_errors import Mistake
from manyhands.testing import call, everything, socket_address, wait_until
from tests.support import Echo, server_class, serving
from tests.support.waiting import PATIENCE

from .asking import request

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

HERE = "127.0.0.1:0"
ANY_PORT = "tcp://127.0.0.1:0"

READY = (b"HTTP/1.0 200 OK", b"ready\n")
UNAVAILABLE = b"HTTP/1.0 503 Service Unavailable"
DRAIN, SUSPENDED, NOT_SERVING = (
    (UNAVAILABLE, word) for word in (b"drain\n", b"suspended\n", b"not serving\n")
)


def asked(pages: PageServer, path: str, method: str = "GET") -> tuple[bytes, bytes]:
    """Return the first line of the answer, and its body."""
    answer = request(socket_address(pages.addresses[0]), f"{method} {path} HTTP/1.1")
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.splitlines()[0], body


def readiness(pages: PageServer) -> tuple[bytes, bytes]:
    return asked(pages, "/readyz")


@contextmanager
def in_a_thread(do: Any) -> Iterator[None]:
    thread = threading.Thread(target=do)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_server_is_ready_until_it_drains_and_alive_to_the_end(engine: str) -> None:
    server = Server(Echo, ANY_PORT, ANY_PORT, engine=engine)
    with health.serve(server, HERE) as pages:
        assert readiness(pages) == NOT_SERVING
        server.start()
        wait_until(lambda: readiness(pages) == READY)
        with call(socket_address(server.addresses[0])) as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(10) == b"hello\n"
            server.suspend()
            assert readiness(pages) == SUSPENDED
            server.resume()
            server.listeners[1].suspend()
            assert readiness(pages) == SUSPENDED
            server.listeners[1].resume()
            assert readiness(pages) == READY
            server.stop()
            assert readiness(pages) == DRAIN
            assert asked(pages, "/healthz") == (b"HTTP/1.0 200 OK", b"ok\n")
        server.close()
        assert readiness(pages) == NOT_SERVING
        assert asked(pages, "/healthz") == (b"HTTP/1.0 200 OK", b"ok\n")


class UntilTold(Echo):
    """Says hello, and ends when the test says so, drain or not."""

    told = threading.Event()

    def handle(self) -> None:
        self.request.sendall(b"hello\n")
        self.told.wait(PATIENCE)


def test_a_drain_that_waits_for_a_handler_is_answered_meanwhile() -> None:
    UntilTold.told.clear()
    server = Server(UntilTold, ANY_PORT)
    server.start()
    with health.serve(server, HERE) as pages, call(socket_address(server.addresses[0])) as peer:
        assert peer.recv(10) == b"hello\n"
        with in_a_thread(server.close):
            wait_until(lambda: server.addresses == [])
            assert readiness(pages) == DRAIN
            assert asked(pages, "/healthz")[1] == b"ok\n"
            UntilTold.told.set()
        assert everything(peer) == b""


def test_a_drop_in_server_is_ready_while_it_serves(engine: str) -> None:
    with (
        server_class(engine)(("127.0.0.1", 0), Echo) as server,
        health.serve(server, HERE) as pages,
    ):
        assert readiness(pages) == NOT_SERVING
        with in_a_thread(server.serve_forever):
            wait_until(lambda: readiness(pages) == READY)
            server.suspend()
            assert readiness(pages) == SUSPENDED
            server.resume()
            assert readiness(pages) == READY
            server.shutdown()
        assert readiness(pages) == NOT_SERVING


def test_a_drop_in_server_that_drains_is_not_ready() -> None:
    UntilTold.told.clear()
    with (
        serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), UntilTold)) as server,
        health.serve(server, HERE) as pages,
        call(server.server_address) as peer,
    ):
        assert peer.recv(10) == b"hello\n"
        with in_a_thread(server.drain):
            wait_until(lambda: readiness(pages) == DRAIN)
            UntilTold.told.set()


class Mixed(socketserver.ThreadingMixIn, standard.TCPServer):
    """Our threads under the standard library's accept loop."""


def test_our_mix_in_on_a_class_of_the_standard_library_s_is_ready_while_it_listens() -> None:
    with Mixed(("127.0.0.1", 0), Echo) as server, health.serve(server, HERE) as pages:
        assert readiness(pages) == READY
        server.server_close()
        assert readiness(pages) == NOT_SERVING


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_head_is_answered_without_a_body(path: str) -> None:
    with Server(Echo, ANY_PORT) as server, health.serve(server, HERE) as pages:
        wait_until(lambda: readiness(pages) == READY)
        assert asked(pages, path, "HEAD") == (b"HTTP/1.0 200 OK", b"")


def test_a_client_of_another_path_is_told_where_the_pages_are() -> None:
    with Server(Echo, ANY_PORT) as server, health.serve(server, HERE) as pages:
        told = b"the pages here are /healthz and /readyz\n"
        assert asked(pages, "/") == (b"HTTP/1.0 404 Not Found", told)


@pytest.mark.parametrize(
    ("server", "address", "sentence"),
    [
        ("127.0.0.1:1", None, "is no server: the server comes first, health.serve"),
        (socketserver, 8081, "8081 is not an address: write '127.0.0.1:8081'"),
        (
            socketserver,
            "unix:///x",
            "health pages are served on a tcp:// address, not on unix:///x",
        ),
    ],
)
def test_words_that_do_not_fit_are_one_sentence(server: Any, address: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        health.serve(server, address)
