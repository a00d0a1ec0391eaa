"""What a handler may ask of its `server` when that is one listener of a `manyhands.Server`."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import Mistake, Server
from tests.support import ENGINES, Echo, ask, bound, call, hear, is_listening, wait_until

ANY_PORT = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def shut_down(listener: Any) -> None:
    listener.shutdown()


def shut_down_in_a_thread(listener: Any) -> None:
    # What people write, since the standard library's shutdown() would deadlock here.
    thread = threading.Thread(target=listener.shutdown)
    thread.start()
    thread.join()


def set_the_flag(listener: Any) -> None:
    listener._BaseServer__shutdown_request = True


WAYS = pytest.mark.parametrize("way", [shut_down, shut_down_in_a_thread, set_the_flag])


def that_stops(way: Callable[[Any], None]) -> Callable[[Any, Any, Any], None]:
    def handler(request: Any, client_address: Any, listener: Any) -> None:
        way(listener)
        request.sendall(b"returned")

    return handler


@WAYS
@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_stops_the_whole_server_and_finishes(
    engine: str, way: Callable[[Any], None]
) -> None:
    server = Server(that_stops(way), ANY_PORT, ANY_PORT, engine=engine)
    server.listen()
    answers: list[bytes] = []
    address = bound(server, 1)
    client = threading.Thread(target=lambda: answers.append(hear(address)))
    client.start()
    assert server.run() == []
    client.join(20)
    assert answers == [b"returned"]


@WAYS
@pytest.mark.parametrize("engine", ENGINES)
def test_a_handler_stops_a_server_that_is_embedded(engine: str, way: Callable[[Any], None]) -> None:
    with Server(that_stops(way), ANY_PORT, engine=engine) as server:
        assert not server.is_stopping
        assert hear(bound(server)) == b"returned"
        wait_until(lambda: server.is_stopping)


def test_a_handler_can_see_that_the_server_is_stopping() -> None:
    def handler(request: Any, client_address: Any, listener: Any) -> None:
        request.sendall(b"%d" % listener._BaseServer__shutdown_request)
        wait_until(lambda: listener._BaseServer__shutdown_request)
        request.sendall(b"%d" % listener._BaseServer__shutdown_request)

    with Server(handler, ANY_PORT) as server:
        peer = call(bound(server))
        assert peer.recv(1) == b"0"
        server.stop()
        assert peer.recv(1) == b"1"
        peer.close()


def close_when_told(request: Any, client_address: Any, listener: Any) -> None:
    word = request.recv(100)
    if word == b"close":
        listener.server_close()
    request.sendall(word.upper())


def processor_time(thread_name: str) -> float:
    """Return the seconds of processor time that a thread of this process has used."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == thread_name)
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def test_a_handler_closes_one_address_and_the_others_go_on_at_rest() -> None:
    with Server(close_when_told, ANY_PORT, ANY_PORT) as server:
        first, second = server.addresses
        assert ask(bound(server), b"close") == b"CLOSE"
        wait_until(lambda: server.addresses == [second])
        # An accept that is under way at the close holds the socket until it returns.
        wait_until(lambda: not is_listening(first.port))
        with pytest.raises(ConnectionRefusedError):
            call((first.host, first.port))
        with call((second.host, second.port)) as silent:
            before, began = processor_time("manyhands-accept"), time.monotonic()
            silent.settimeout(0.5)
            with pytest.raises(TimeoutError):
                silent.recv(1)
            share = (processor_time("manyhands-accept") - before) / (time.monotonic() - began)
            silent.sendall(b"hello")
            silent.settimeout(20)
            assert silent.recv(10) == b"HELLO"
        assert share < 0.2
        assert ask((second.host, second.port), b"hello") == b"HELLO"


def test_a_handler_that_closes_the_last_address_ends_the_service() -> None:
    server = Server(close_when_told, ANY_PORT)
    server.listen()
    answers: list[bytes] = []
    address = bound(server)
    client = threading.Thread(target=lambda: answers.append(ask(address, b"close")))
    client.start()
    assert server.run() == []
    client.join(20)
    assert answers == [b"CLOSE"]


def test_a_forked_handler_closes_nothing_of_its_parent() -> None:
    with Server(close_when_told, ANY_PORT, engine="processes") as server:
        assert ask(bound(server), b"close") == b"CLOSE"
        assert ask(bound(server), b"hello") == b"HELLO"


@pytest.mark.parametrize("of_listener", [False, True], ids=["Server", "listener"])
def test_a_drain_in_no_time_at_all_is_a_mistake(*, of_listener: bool) -> None:
    with Server(Echo, ANY_PORT) as server:
        drained: Any = server.listeners[0] if of_listener else server
        with pytest.raises(Mistake, match="drain_timeout must be a number of seconds"):
            drained.drain("soon")
        assert not server.is_stopping
