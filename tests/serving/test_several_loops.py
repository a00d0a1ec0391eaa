"""`serve_forever` of one server in several threads: each accepts, and `shutdown` ends them all."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from manyhands import TCPServer, UDPServer, socketserver
from manyhands.model.connection_states import Reason
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.core import core_of
from tests.support import Echo, ask, call, forked, run_python, server_class, wait_until
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


@contextlib.contextmanager
def loops(server: Any, count: int = 3) -> Iterator[list[threading.Thread]]:
    """Serve in several threads, none of which may have to wait for its poll interval."""
    with started(server, count) as threads:
        yield threads
        server.shutdown()
    server.server_close()


@contextlib.contextmanager
def started(server: Any, count: int) -> Iterator[list[threading.Thread]]:
    """Begin to serve in several threads, all of which must end within the context."""
    threads = [
        threading.Thread(target=server.serve_forever, args=(60,), daemon=True) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    # One that has not begun yet, when the others are stopped, would serve for ever.
    wait_until(lambda: len(core_of(server).loops.threads) == count)
    yield threads
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a loop goes on"


def test_a_shutdown_ends_all_loops_whichever_was_quicker_to_accept(engine: str) -> None:
    server = server_class(engine)(HERE, Echo)
    with loops(server) as threads:
        for _ in range(20):
            assert ask(server.server_address) == b"hello\n"
        assert all(thread.is_alive() for thread in threads)


def test_the_server_can_serve_again_afterwards(engine: str) -> None:
    server = server_class(engine)(HERE, Echo)
    for _ in range(2):
        with started(server, 2):
            assert ask(server.server_address) == b"hello\n"
            server.shutdown()
    server.server_close()


def test_a_sequential_server_then_serves_as_many_as_it_has_loops() -> None:
    server = TCPServer(HERE, Echo)
    with (
        loops(server, 2),
        call(server.server_address) as first,
        call(server.server_address) as other,
    ):
        for peer in (first, other, first):
            peer.sendall(b"hello\n")
            assert peer.recv(10) == b"hello\n"


@pytest.mark.parametrize("timeout", [None, 3600])
def test_a_client_that_another_loop_took_is_not_waited_for(timeout: float | None) -> None:
    class Server(TCPServer):
        both_know = threading.Barrier(2)

        def _handle_request_noblock(self) -> None:
            # Both loops have been told of the one client by now.
            self.both_know.wait(PATIENCE)
            super()._handle_request_noblock()

    server = Server(HERE, Echo)
    server.socket.settimeout(timeout)
    with loops(server, 2):
        assert ask(server.server_address) == b"hello\n"


def test_a_client_is_not_waited_for_when_the_loop_that_took_it_has_ended() -> None:
    def wait_for_ever() -> Any:
        raise AssertionError("it would wait")

    with TCPServer(HERE, Echo) as server, WakeUp() as first, WakeUp() as other:
        core = core_of(server)
        core.loops.add(first)
        core.loops.add(other)
        core.loops.remove(first)
        server.get_request = wait_for_ever
        with pytest.raises(BlockingIOError):
            core.next_request(server)
        core.loops.remove(other)
        core.loops.add(first)
        # Alone from the start, it was told of a client that no other loop can have taken.
        server.get_request = lambda: ("request", HERE)
        assert core.next_request(server) == ("request", HERE, None)


def test_datagrams_are_shared_too() -> None:
    def shout(request: Any, client_address: Any, server: Any) -> None:
        data, sock = request
        sock.sendto(data.upper(), client_address)

    server = UDPServer(HERE, shout)
    with loops(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        for _ in range(20):
            peer.sendto(b"hello", server.server_address)
            assert peer.recv(10) == b"HELLO"


def test_a_loop_that_fails_leaves_the_others_at_work(engine: str) -> None:
    failures: list[BaseException] = []

    class Server(server_class(engine)):  # type: ignore[misc]  # whichever class
        has_failed = False

        def get_request(self) -> Any:
            if not self.has_failed:
                self.has_failed = True
                raise ArithmeticError("once")
            return super().get_request()

        def handle_error(self, request: Any, client_address: Any) -> None:
            raise  # noqa: PLE0704 - of the exception that is being handled

        def serve_forever(self, poll_interval: float | None = 60) -> None:
            try:
                super().serve_forever(poll_interval)
            except ArithmeticError as failure:
                failures.append(failure)

    server = Server(HERE, Echo)
    with loops(server, 2) as threads:
        assert ask(server.server_address) == b"hello\n"
        wait_until(lambda: failures)
        wait_until(lambda: [thread.is_alive() for thread in threads].count(True) == 1)
        assert ask(server.server_address) == b"hello\n"


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer", "FiberTCPServer"])
def test_under_gevent_monkey_they_end_too(kind: str) -> None:
    program = f"""
        from gevent import monkey
        monkey.patch_all()
        import threading
        import manyhands
        from tests.support import Echo, ask

        server = manyhands.{kind}(("127.0.0.1", 0), Echo)
        loops = [threading.Thread(target=server.serve_forever) for _ in range(2)]
        for loop in loops:
            loop.start()
        print(ask(server.server_address))
        server.shutdown()
        for loop in loops:
            loop.join(20)
        print(any(loop.is_alive() for loop in loops))
    """
    assert run_python(program) == "b'hello\\n'\nFalse\n"


def test_a_forked_handler_that_has_closed_its_copy_still_stops_them_all() -> None:
    def close_and_stop(request: Any, client_address: Any, server: Any) -> None:
        server.server_close()
        server.shutdown()
        request.sendall(b"returned")

    server = socketserver.ForkingTCPServer(HERE, close_and_stop)
    with started(server, 2), call(server.server_address) as peer:
        assert peer.recv(10) == b"returned"
    server.server_close()


def test_a_copy_that_has_closed_the_server_waits_for_no_loop(engine: str) -> None:
    def close_and_shut_down() -> bool:
        server.server_close()
        server.shutdown()
        return True

    server = server_class(engine)(HERE, Echo)
    with loops(server, 1), forked(close_and_shut_down) as wait:
        assert wait() == 0


class MakingAnew:
    """Makes another object of each connection, as TLS does; the last to come is served first."""

    both_are_made: threading.Barrier
    last_is_served: threading.Event

    def process_request(self, request: Any, client_address: Any) -> None:
        anew = socket.socket(fileno=request.detach())
        self.both_are_made.wait(PATIENCE)
        coming = core_of(self).admission.arriving
        is_first = next(iter(coming)) == id(request)
        self.both_are_made.wait(PATIENCE)
        if is_first:
            assert self.last_is_served.wait(PATIENCE)
        super().process_request(anew, client_address)  # type: ignore[misc]

    def _handle_request_noblock(self) -> None:
        super()._handle_request_noblock()  # type: ignore[misc]
        self.last_is_served.set()


def test_what_two_loops_make_anew_at_the_same_time_is_not_mixed_up() -> None:
    class Server(MakingAnew, socketserver.ThreadingTCPServer):
        both_are_made = threading.Barrier(2)
        last_is_served = threading.Event()

    server = Server(HERE, Echo)
    registry = server.connections
    with loops(server, 2), call(server.server_address) as one, call(server.server_address) as other:
        for peer in (one, other):
            peer.sendall(b"hello\n")
            assert peer.recv(10) == b"hello\n"
            peer.shutdown(socket.SHUT_WR)
        wait_until(lambda: registry.closed == {Reason.PEER_CLOSED: 2})
        assert registry.balance == (2, 0, 2)
        assert not core_of(server).admission.arriving
