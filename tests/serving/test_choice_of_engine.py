"""The class attribute `engine` chooses an engine, whatever the mix-in."""

import os
import threading
from typing import Any

import pytest

from manyhands import socketserver
from tests.support import ENGINES, call, hear, is_closed_by_server, server_class, serving

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def where_am_i(request: Any, client_address: Any, server: Any) -> None:
    request.sendall(f"{os.getpid()} {threading.current_thread().name}".encode())


def place_of(answer: bytes, loop: threading.Thread | None) -> str:
    pid, _, name = answer.decode().partition(" ")
    if int(pid) != os.getpid():
        return "processes"
    if name.startswith("manyhands-fibers"):
        return "fibers"
    return "threads" if "process_request_thread" in name else "sequential"


@pytest.mark.parametrize("chosen", ENGINES)
def test_each_mix_in_serves_on_each_engine(engine: str, chosen: str) -> None:
    server = type("Server", (server_class(engine),), {"engine": chosen})(HERE, where_am_i)
    with serving(server):
        assert place_of(hear(server.server_address), None) == chosen


@pytest.mark.parametrize("chosen", ENGINES)
def test_each_mix_in_leaves_nothing_on_any_engine(engine: str, chosen: str) -> None:
    threads = set(threading.enumerate())
    server = type("Server", (server_class(engine),), {"engine": chosen})(HERE, where_am_i)
    with serving(server):
        hear(server.server_address)
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("chosen", ENGINES)
def test_handlers_that_raise_are_reported_on_any_engine(engine: str, chosen: str) -> None:
    class Server(server_class(engine)):  # type: ignore[misc]  # a class of the engine
        def handle_error(self, request: Any, client_address: Any) -> None:
            request.sendall(b"reported")

    Server.engine = chosen

    def handler(*_: object) -> None:
        raise ZeroDivisionError

    with serving(Server(HERE, handler)) as server:
        assert hear(server.server_address) == b"reported"


def test_an_engine_of_no_such_name_is_warned_about_and_ignored() -> None:
    class Server(socketserver.ThreadingTCPServer):
        engine = "steam"

    with Server(HERE, where_am_i) as server, call(server.server_address) as peer:
        with pytest.warns(RuntimeWarning, match="'steam', which is none of sequential, threads"):
            server.handle_request()
        assert not is_closed_by_server(peer)


def test_a_server_on_the_sequential_engine_can_be_closed_by_its_handler() -> None:
    class Server(socketserver.ThreadingTCPServer):
        engine = "sequential"

    def handler(request: Any, client_address: Any, server: Any) -> None:
        server.server_close()
        request.sendall(b"closed")

    server = Server(HERE, handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with call(server.server_address) as peer:
        peer.settimeout(5)
        assert peer.recv(100) == b"closed"
    thread.join(20)


WORKERS = ["threads", "processes"]


@pytest.mark.parametrize("chosen", WORKERS)
def test_a_handler_may_close_a_server_on_any_engine(engine: str, chosen: str) -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        server.server_close()
        request.sendall(b"closed")

    server = type("Server", (server_class(engine),), {"engine": chosen})(HERE, handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with call(server.server_address) as peer:
        peer.settimeout(5)
        assert peer.recv(100) == b"closed"
    server.shutdown()
    thread.join(20)
    server.server_close()


class Held:
    """A handler that goes on until it is released."""

    def __init__(self) -> None:
        self.ended = False

    def __call__(self, request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"%d" % os.getpid())
        request.recv(1)
        self.ended = True


def closed_while_serving(kind: Any, handler: Held, chosen: str) -> tuple[threading.Thread, Any]:
    """Close a server on another engine than its mix-in's while a handler is at work."""
    server = type("Server", (kind,), {"engine": chosen})(HERE, handler)
    peer = call(server.server_address)
    server.handle_request()
    assert peer.recv(10)
    closing = threading.Thread(target=server.server_close, daemon=True)
    closing.start()
    return closing, peer


@pytest.mark.parametrize("chosen", WORKERS)
def test_closing_waits_on_any_engine(engine: str, chosen: str) -> None:
    handler = Held()
    closing, peer = closed_while_serving(server_class(engine), handler, chosen)
    closing.join(0.2)
    assert closing.is_alive()
    peer.sendall(b"!")
    closing.join(20)
    assert not closing.is_alive()
    assert handler.ended == (chosen == "threads")
    peer.close()


@pytest.mark.parametrize("chosen", WORKERS)
def test_closing_does_not_wait_when_it_is_not_to_block(engine: str, chosen: str) -> None:
    kind = type("Kind", (server_class(engine),), {"block_on_close": False})
    closing, peer = closed_while_serving(kind, Held(), chosen)
    closing.join(20)
    assert not closing.is_alive()
    peer.sendall(b"!")
    peer.close()
    if chosen == "processes":
        os.waitpid(-1, 0)  # nothing else will


def test_closing_does_not_wait_for_daemon_threads_whatever_the_mix_in(engine: str) -> None:
    kind = type("Kind", (server_class(engine),), {"daemon_threads": True})
    closing, peer = closed_while_serving(kind, Held(), "threads")
    closing.join(20)
    assert not closing.is_alive()
    peer.sendall(b"!")
    peer.close()
