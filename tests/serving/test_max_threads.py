"""The bound of threads, and a set of threads that is not searched at each end (row 3)."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from manyhands.serving.listener_watch import ListenerWatch
from tests.support import Echo, ask, call, serving, wait_until

HERE = ("127.0.0.1", 0)


class Bounded(socketserver.ThreadingTCPServer):
    """Serves three at once."""

    max_threads = 3


class Census(socketserver.StreamRequestHandler):
    """Counts the clients in `handle` at the same time."""

    lock = threading.Lock()
    here = 0
    most = 0

    def handle(self) -> None:
        with self.lock:
            type(self).here += 1
            type(self).most = max(self.most, self.here)
        self.wfile.write(self.rfile.readline())
        with self.lock:
            type(self).here -= 1


def fulls(seen: list[events.Event]) -> list[events.Event]:
    return [event for event in seen if isinstance(event, events.EngineFull)]


def test_exactly_the_bound_is_served_at_once_and_the_rest_later(seen: list[events.Event]) -> None:
    census = type("OwnCensus", (Census,), {})
    with serving(Bounded(HERE, census)) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(call(server.server_address)) for _ in range(10)]
        wait_until(lambda: census.here == 3 and fulls(seen))
        for number, peer in enumerate(peers):
            peer.sendall(b"%d\n" % number)
            assert peer.recv(10) == b"%d\n" % number
            # A waiting client takes the place at once: the engine is full again, the crowd the same.
            here = min(3, len(peers) - number - 1)
            wait_until(lambda here=here: census.here == here)
    assert (census.most, census.here) == (3, 0)
    assert len(fulls(seen)) == 1
    (event,) = fulls(seen)
    assert event == events.EngineFull(
        f"127.0.0.1:{server.server_address[1]}", engine="threads", limit=3
    )


def test_a_new_crowd_is_a_new_event(
    seen: list[events.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[ListenerWatch] = []
    monkeypatch.setattr(ListenerWatch, "_poll", _noting(watches, ListenerWatch._poll))
    with serving(Bounded(HERE, Echo)) as server:
        for crowd in (1, 2):
            # A client that comes before the loop has looked around belongs to the crowd before.
            wait_until(lambda: watches and not watches[0].is_crowded)
            with contextlib.ExitStack() as stack:
                for _ in range(3):
                    peer = stack.enter_context(call(server.server_address))
                    peer.sendall(b"here\n")
                    assert peer.recv(10) == b"here\n"
                # The last of the crowd before may still be leaving, which makes a crowd of its own.
                wait_until(lambda number=crowd: len(fulls(seen)) >= number)
            assert ask(server.server_address) == b"hello\n"


def _noting(
    watches: list[ListenerWatch], poll: Callable[[ListenerWatch, int], None]
) -> Callable[[ListenerWatch, int], None]:
    def noting(watch: ListenerWatch, descriptor: int) -> None:
        poll(watch, descriptor)
        watches.append(watch)

    return noting


def test_without_a_bound_there_is_none(seen: list[events.Event]) -> None:
    census = type("OwnCensus", (Census,), {})
    with (
        serving(socketserver.ThreadingTCPServer(HERE, census)) as server,
        contextlib.ExitStack() as stack,
    ):
        peers = [stack.enter_context(call(server.server_address)) for _ in range(50)]
        wait_until(lambda: census.here == 50)
        for peer in peers:
            peer.sendall(b"\n")
    assert seen == []


def test_a_bound_can_be_changed_while_serving() -> None:
    census = type("OwnCensus", (Census,), {})
    with serving(Bounded(HERE, census)) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(call(server.server_address)) for _ in range(6)]
        wait_until(lambda: census.here == 3)
        server.max_threads = 5
        peers[0].sendall(b"\n")  # one ends, and the loop sees the new bound
        wait_until(lambda: census.here == 5)
        for peer in peers[1:]:
            peer.sendall(b"\n")


def test_handle_request_waits_for_room() -> None:
    census = type("OwnCensus", (Census,), {})
    with Bounded(HERE, census) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(call(server.server_address)) for _ in range(4)]
        for _ in range(3):
            server.handle_request()
        threading.Timer(0.05, peers[0].sendall, (b"\n",)).start()
        server.handle_request()
        assert census.most <= 3
        for peer in peers[1:]:
            peer.sendall(b"\n")


def test_a_handler_that_raises_makes_room() -> None:
    class Server(Bounded):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    def handler(*_: object) -> None:
        raise ZeroDivisionError

    with serving(Server(HERE, handler)) as server:
        for _ in range(10):
            with call(server.server_address) as peer:
                assert peer.recv(1) == b""


def test_a_burst_of_threads_is_forgotten() -> None:
    # 300 at once, all gone; what follows must not find 300 dead threads kept.
    with serving(socketserver.ThreadingTCPServer(HERE, Echo)) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                peer = stack.enter_context(call(server.server_address))
                peer.sendall(b"here\n")
                assert peer.recv(10) == b"here\n"
            assert len(server._threads) == 300
        wait_until(lambda: threading.active_count() < 10)
        for _ in range(3):
            assert ask(server.server_address) == b"hello\n"
        assert len(server._threads) < 10


def test_the_set_of_threads_works_as_a_list_of_any_threads() -> None:
    threads = socketserver._Threads()
    release = threading.Event()
    kept = [threading.Thread(target=release.wait) for _ in range(3)]
    daemon = threading.Thread(target=release.wait, daemon=True)
    for thread in [*kept, daemon]:
        thread.start()
        threads.append(thread)
    assert len(threads) == 3
    assert set(threads) == set(kept)
    release.set()
    for thread in kept:
        thread.join()
    threads.reap()
    assert (len(threads), threads.pop_all()) == (0, [])
    threads.join()
    daemon.join()


@pytest.mark.parametrize(
    "attribute", [{"daemon_threads": True}, {"block_on_close": False}], ids=str
)
def test_a_close_does_not_wait_for_daemon_threads_nor_where_it_is_not_to_block(
    attribute: dict[str, bool],
) -> None:
    release = threading.Event()
    began = threading.Event()

    def handler(*_: object) -> None:
        began.set()
        release.wait()

    kind = type("Server", (socketserver.ThreadingTCPServer,), attribute)
    with serving(kind(HERE, handler)) as server:
        peer = call(server.server_address)
        assert began.wait(20)
    release.set()
    peer.close()


@pytest.mark.parametrize(
    ("engine", "bound"), [("threads", {"max_threads": 1}), ("processes", {"max_children": 1})]
)
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_loop_of_several_listeners_never_sleeps_in_a_full_engine(
    engine: str, bound: dict[str, int], seen: list[events.Event]
) -> None:
    def hold(request: socket.socket, client_address: Any, listener: Any) -> None:
        request.recv(1)

    server = Server(hold, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", engine=engine, **bound)
    server.listen()
    # Both are called before the loop looks: there is a place for one of them.
    peers = [call((address.host, address.port)) for address in server.addresses]
    server.start()
    wait_until(lambda: fulls(seen))
    server.stop()
    wait_until(lambda: "manyhands-accept" not in {t.name for t in threading.enumerate()})
    for peer in peers:
        peer.shutdown(socket.SHUT_WR)
        peer.close()
    server.__exit__()
