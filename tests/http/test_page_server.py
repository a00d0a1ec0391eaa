"""Pages by their paths, and a server of them that no client and no page stops."""

import contextlib
import socket
import threading
import time
from functools import partial
from typing import Any

import pytest

from manyhands.http.messages import Content, Request, answering
from manyhands.http.server import CLIENT_TIMEOUT, MOST_CLIENTS, PageServer
from manyhands.model.addresses import Address, parse
from manyhands.runtime.sockets import accept_at_once
from manyhands.testing import call, everything, socket_address, wait_until
from tests.support import forked, is_listening
from tests.support.waiting import PATIENCE

from .asking import request

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

HERE = "127.0.0.1:0"


def greeting(asked: Request) -> Content:
    return Content("text/plain", f"hello, {asked.accept}\n".encode())


def broken(_: Request) -> Content:
    raise ZeroDivisionError


LONG = 20_000_000


def long(_: Request) -> Content:
    return Content("text/plain", b"x" * LONG)


PAGES = {"/greeting": greeting, "/broken": broken, "/long": long}


def pages_at(address: str | Address = HERE) -> PageServer:
    where = address if isinstance(address, Address) else parse(address)
    return PageServer(where, answering(PAGES, "the greeting is at /greeting"), lambda: None)


def get(server: PageServer, path: str, *headers: str) -> bytes:
    return request(socket_address(server.addresses[0]), f"GET {path} HTTP/1.1", *headers)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /greeting HTTP/1.1", b" 200 OK"),
        ("GET /greeting?name=x HTTP/1.0", b" 200 OK"),
        ("HEAD /greeting HTTP/1.1", b" 200 OK"),
        ("GET / HTTP/1.1", b" 404 Not Found"),
        ("POST /greeting HTTP/1.1", b" 405 Method Not Allowed"),
        ("hello", b" 400 Bad Request"),
        ("x" * 20_000, b" 400 Bad Request"),
    ],
)
def test_each_request_is_answered_with_its_status(line: str, status: bytes) -> None:
    with pages_at() as server:
        head, _, body = request(socket_address(server.addresses[0]), line).partition(b"\r\n\r\n")
        assert status in head.splitlines()[0]
        assert bool(body) == (not line.startswith("HEAD"))


def test_a_response_tells_its_length_and_that_the_connection_ends() -> None:
    with pages_at() as server:
        assert get(server, "/greeting", "Accept: a", "accept:b") == (
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n"
            b"Connection: close\r\n\r\nhello, a,b\n"
        )


def test_a_client_of_another_path_is_told_where_the_pages_are() -> None:
    with pages_at() as server:
        assert get(server, "/other").endswith(b"\r\n\r\nthe greeting is at /greeting\n")


def test_every_address_of_a_name_is_answered_on() -> None:
    with pages_at("localhost:0") as server:
        for address in server.addresses:
            assert b" 200 OK" in request((address.host, address.port), "GET /greeting HTTP/1.1")


def test_a_client_that_says_nothing_does_not_hold_up_the_next_one_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.http.server.CLIENT_TIMEOUT", 0.2)
    with pages_at() as server, call(socket_address(server.addresses[0])):
        assert b" 200 OK" in get(server, "/greeting")


def test_a_page_that_raises_is_reported_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr("sys.excepthook", lambda kind, error, traceback: reported.append(error))
    with pages_at() as server:
        assert get(server, "/broken") == b""
        assert [type(error) for error in reported] == [ZeroDivisionError]
        assert b" 200 OK" in get(server, "/greeting")


def test_closing_frees_the_port_at_once_and_may_be_done_twice() -> None:
    server = pages_at()
    address = server.addresses[0]
    server.close()
    server.close()
    assert not is_listening(address.port)
    with pages_at(address) as again:
        assert again.addresses == [address]


def test_a_client_that_says_nothing_does_not_keep_the_port_of_a_closed_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("manyhands.http.server.CLIENT_TIMEOUT", 0.3)
    monkeypatch.setattr("manyhands.poll_server.server.CLOSE_TIMEOUT", 0.0)
    server = pages_at()
    with call(socket_address(server.addresses[0])) as client:
        client.sendall(b"GET ")
        server.close()
        wait_until(lambda: not is_listening(server.addresses[0].port))


def test_a_forked_copy_holds_no_port_open() -> None:
    server = pages_at()
    port = server.addresses[0].port
    reader, writer = socket.socketpair()

    def in_the_copy() -> bool:
        reader.close()
        writer.sendall(b"!")
        return writer.recv(1) == b""

    with forked(in_the_copy) as wait:
        writer.close()
        assert reader.recv(1) == b"!"
        server.close()
        assert not is_listening(port)
        reader.close()
        assert wait() == 0


def test_of_several_threads_that_close_a_server_one_does() -> None:
    """Without a lock two would both tell of the end, and one would write to a descriptor given back."""
    closed: list[int] = []
    for number in range(50):
        tell = partial(closed.append, number)
        server = PageServer(parse(HERE), answering(PAGES, "the greeting is at /greeting"), tell)
        together = threading.Barrier(4)

        def close(server: PageServer = server, together: threading.Barrier = together) -> None:
            together.wait(PATIENCE)
            server.close()

        threads = [threading.Thread(target=close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert closed == list(range(50))


def test_silent_clients_do_not_hold_up_the_next_one() -> None:
    with pages_at() as server, contextlib.ExitStack() as silent:
        for number in range(2 * MOST_CLIENTS):
            peer = silent.enter_context(call(socket_address(server.addresses[0])))
            peer.sendall(b"GET " if number % 2 else b"")
        # Far more than the buffers between the two hold, which are never read.
        for _ in range(3):
            peer = silent.enter_context(call(socket_address(server.addresses[0])))
            peer.sendall(b"GET /long HTTP/1.1\r\n\r\n")
        began = time.monotonic()
        for _ in range(3):
            assert b" 200 OK" in get(server, "/greeting")
        assert time.monotonic() - began < CLIENT_TIMEOUT


def test_however_many_clients_come_no_more_descriptors_are_taken() -> None:
    with pages_at() as server, contextlib.ExitStack() as silent:
        for _ in range(MOST_CLIENTS):
            silent.enter_context(call(socket_address(server.addresses[0])))
        assert b" 200 OK" in get(server, "/greeting")
        peers = [silent.enter_context(call(socket_address(server.addresses[0]))) for _ in range(5)]
        assert b" 200 OK" in get(server, "/greeting")
        # The latest ones have not been closed for it.
        peers[-1].sendall(b"GET /greeting HTTP/1.1\r\n\r\n")
        assert b" 200 OK" in everything(peers[-1])


def test_an_answer_that_takes_long_to_read_comes_whole() -> None:
    with pages_at() as server:
        assert len(get(server, "/long").partition(b"\r\n\r\n")[2]) == LONG


def test_a_moment_without_memory_costs_no_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = [MemoryError("for the socket"), MemoryError("for another one")]

    def accept(listener: socket.socket) -> tuple[int, Any]:
        if failures:
            raise failures.pop()
        return accept_at_once(listener)

    monkeypatch.setattr("manyhands.poll_server.server.accept_at_once", accept)
    with pages_at() as server:
        assert get(server, "/greeting", "Accept: a").endswith(b"hello, a\n")
    assert capsys.readouterr().err.count("MemoryError") == 2


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /greeting HTTP/1.1", b" 200 OK"), ("POST /greeting HTTP/1.1", b" 405 ")],
)
def test_a_client_that_goes_on_sending_gets_its_answer_all_the_same(
    line: str, status: bytes
) -> None:
    with pages_at() as server, call(socket_address(server.addresses[0])) as peer:
        peer.sendall(f"{line}\r\nContent-Length: {LONG}\r\n\r\n".encode())
        peer.sendall(b"x" * LONG)  # a reset would end this
        answer = everything(peer)
    assert status in answer
    assert answer.endswith(b"\n")


def test_a_head_that_is_too_long_gets_an_answer_and_not_a_reset() -> None:
    with pages_at() as server, call(socket_address(server.addresses[0])) as peer:
        peer.sendall(b"GET /greeting HTTP/1.1\r\nX: " + b"x" * LONG)
        assert b" 400 " in everything(peer)


def test_one_that_has_its_answer_and_stays_gives_its_place_to_the_next() -> None:
    with pages_at() as server, contextlib.ExitStack() as stack:
        address = socket_address(server.addresses[0])
        waits = stack.enter_context(call(address))
        for _ in range(2 * MOST_CLIENTS):
            peer = stack.enter_context(call(address))
            peer.sendall(b"GET /greeting HTTP/1.1\r\n\r\n")
            assert b" 200 OK" in everything(peer)
        waits.sendall(b"GET /greeting HTTP/1.1\r\n\r\n")
        assert b" 200 OK" in everything(waits)
