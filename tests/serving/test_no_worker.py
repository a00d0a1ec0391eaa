"""No thread and no process to be had: the client waits, the loop rests and goes on."""

import errno
import mmap
import os
import socket
import socketserver as standard
import threading
import time
from typing import Any

import pytest

from manyhands import events, socketserver
from manyhands.engines.threads import ConnectionThread
from manyhands.model import accept_errors
from tests.engines.test_processes import cpu_seconds
from tests.support import (
    Echo,
    ask,
    call,
    is_closed_by_server,
    left_open,
    open_descriptors,
    run_python,
    serving,
    wait_until,
)
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Quiet(socketserver.BaseServer):
    """Counts what handle_error is told."""

    errors = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.errors += 1


class Threads(Quiet, socketserver.ThreadingTCPServer):
    """Threads."""


class Processes(Quiet, socketserver.ForkingTCPServer):
    """Processes."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Have the system refuse threads and processes, as it does at its limits."""

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def no_process() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(ConnectionThread, "start", no_thread)
    monkeypatch.setattr(os, "fork", no_process)
    return monkeypatch


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Have the system lack the memory for threads and processes."""

    def no_thread(self: threading.Thread) -> None:
        raise MemoryError

    def no_process() -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(ConnectionThread, "start", no_thread)
    monkeypatch.setattr(os, "fork", no_process)
    return monkeypatch


def reasons(server: Any) -> dict[str, int]:
    return {reason.value: count for reason, count in server.connections.closed.items()}


def balances(server: Any) -> bool:
    connections = server.connections
    return bool(connections.accepted == len(connections) + sum(connections.closed.values()))


@pytest.mark.parametrize("shortage", ["failing", "without_memory"])
@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_client_waits_and_is_served_when_there_are_workers_again(
    kind: Any, shortage: str, request: pytest.FixtureRequest, seen: list[events.Event]
) -> None:
    failing = request.getfixturevalue(shortage)
    before = open_descriptors()
    with serving(kind(HERE, Echo)) as server:
        with call(server.server_address) as peer:
            peer.sendall(b"first\n")
            wait_until(lambda: any(isinstance(event, events.AcceptPaused) for event in seen))
            assert len(server.connections) == 1
            failing.undo()
            assert peer.recv(10) == b"first\n"
            peer.shutdown(
                socket.SHUT_WR
            )  # the process has a copy of this end, which is closed here
        assert ask(server.server_address) == b"hello\n"
        wait_until(lambda: not server.connections)
        assert server.connections.accepted == 2
        assert not server.errors
    assert not left_open(before)
    told = [type(event) for event in seen if not isinstance(event, events.ForkedWithThreads)]
    assert told == [events.AcceptPaused, events.AcceptResumed]


def test_so_it_is_with_memory_that_a_process_is_to_share(
    monkeypatch: pytest.MonkeyPatch, seen: list[events.Event]
) -> None:
    def no_memory(*_: object) -> Any:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with serving(type("Timed", (Processes,), {"idle_timeout": 60})(HERE, Echo)) as server:
        monkeypatch.setattr(mmap, "mmap", no_memory)
        with call(server.server_address) as peer:
            peer.sendall(b"first\n")
            wait_until(lambda: any(isinstance(event, events.AcceptPaused) for event in seen))
            assert len(server.connections) == 1
            monkeypatch.undo()
            assert peer.recv(10) == b"first\n"
            (connection,) = server.connections.values()
            assert connection.deadlines.idle_timeout == 60
            peer.shutdown(socket.SHUT_WR)
        wait_until(lambda: not server.connections)
        assert not server.errors
        assert reasons(server) == {"peer_closed": 1}


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_client_is_closed_when_patience_is_over(
    kind: Any, failing: pytest.MonkeyPatch, seen: list[events.Event]
) -> None:
    failing.setattr(accept_errors, "REFUSE_AFTER", 0.05)
    with serving(kind(HERE, Echo)) as server:
        with call(server.server_address) as peer:
            assert is_closed_by_server(peer)
            name = peer.getsockname()
        wait_until(lambda: server.errors == 1)
        assert reasons(server) == {"no_worker": 1}
        assert balances(server)
        failing.undo()
        assert ask(server.server_address) == b"hello\n"
    failures = [event for event in seen if isinstance(event, events.WorkerFailed)]
    assert [(event.engine, event.peer) for event in failures] == [(kind.__name__.lower(), name)]
    assert str(failures[0]).startswith(f"no worker of the {kind.__name__.lower()} engine could be")


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_without_an_accept_loop_the_client_is_closed_at_once(
    kind: Any, failing: pytest.MonkeyPatch
) -> None:
    with kind(HERE, Echo) as server:
        for _ in range(2):
            with call(server.server_address) as peer:
                server.handle_request()
                assert is_closed_by_server(peer)
        assert (server.errors, reasons(server)) == (2, {"no_worker": 2})
        failing.undo()


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_who_waits_for_a_worker_can_be_kicked(kind: Any, failing: pytest.MonkeyPatch) -> None:
    with serving(kind(HERE, Echo)) as server, call(server.server_address) as peer:
        wait_until(lambda: len(server.connections) == 1)
        for connection in server.connections.values():
            assert connection.close()
        assert is_closed_by_server(peer)
        wait_until(lambda: reasons(server) == {"kicked": 1})
        assert balances(server)


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_who_is_kicked_just_before_there_is_no_worker_is_closed(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        for connection in server.connections.values():
            assert connection.close()
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(ConnectionThread, "start", fail)
    monkeypatch.setattr(os, "fork", fail)
    with serving(kind(HERE, Echo)) as server, call(server.server_address) as peer:
        assert is_closed_by_server(peer)
        wait_until(lambda: reasons(server) == {"kicked": 1})
        assert balances(server)


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_loop_rests_while_there_are_no_workers(kind: Any, failing: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    class Server(kind):  # type: ignore[misc]  # one of the two
        def verify_request(self, request: Any, client_address: Any) -> bool:
            tries.append(time.monotonic())
            return True

    with serving(Server(HERE, Echo)) as server:
        peers = [call(server.server_address) for _ in range(50)]
        wait_until(lambda: tries)
        started = time.thread_time(), cpu_seconds()
        threading.Event().wait(0.3)
        spent = cpu_seconds() - started[1] - (time.thread_time() - started[0])
        # 10 ms of rest, then twice as long each time. And one client alone was taken from the backlog.
        assert (spent < 0.1, len(tries), len(server.connections)) == (True, 1, 1)
        # Before there are processes again, which would inherit these ends.
        for peer in peers:
            peer.close()
        failing.undo()
        assert ask(server.server_address) == b"hello\n"


@pytest.mark.parametrize("kind", [Threads, Processes])
@pytest.mark.parametrize("way", ["server_close", "drain"])
def test_the_server_can_be_closed_meanwhile(
    kind: Any, way: str, failing: pytest.MonkeyPatch
) -> None:
    with serving(kind(HERE, Echo)) as server, call(server.server_address) as peer:
        wait_until(lambda: len(server.connections) == 1)
        if way == "drain":
            assert server.drain(5) == []
        else:
            server.shutdown()
            server.server_close()
        assert is_closed_by_server(peer)
        assert reasons(server) == {"no_worker": 1}
        assert balances(server)
    assert server.socket.fileno() == -1


def test_the_standard_library_s_server_cannot_be_closed_after_the_failure() -> None:
    class Server(standard.ThreadingTCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    server = Server(HERE, Echo)  # type: ignore[arg-type]  # our handler serves
    start = threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with call(server.server_address):
        threading.Thread.start = no_thread  # type: ignore[method-assign]  # for one request
        try:
            server.handle_request()
        finally:
            threading.Thread.start = start  # type: ignore[method-assign]  # see above
    with pytest.raises(RuntimeError, match="cannot join thread before it is started"):
        server.server_close()


def test_a_bounded_server_keeps_its_room_after_the_failure(failing: pytest.MonkeyPatch) -> None:
    class Bounded(Threads):
        max_threads = 1

    failing.setattr(accept_errors, "REFUSE_AFTER", 0.0)
    with serving(Bounded(HERE, Echo)) as server:
        with call(server.server_address) as peer:
            assert is_closed_by_server(peer)
        failing.undo()
        assert ask(server.server_address) == b"hello\n"


def test_a_real_shortage_of_threads_is_survived() -> None:
    output = run_python(
        """
        import resource, socket, threading
        from manyhands import events, socketserver
        from tests.support import Echo, ask, call, serving, wait_until
        class Server(socketserver.ThreadingTCPServer):
            def handle_error(self, *_):
                pass
        told = []
        events.hub.subscribe(lambda event: told.append(type(event).__name__))
        with serving(Server(("127.0.0.1", 0), Echo)) as server:
            # A stack that no address space is left for.
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            usual = threading.stack_size(1 << 30)
            pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (pages + (1 << 29), hard))
            with call(server.server_address) as peer:
                wait_until(lambda: told)
                resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
                threading.stack_size(usual)
                peer.sendall(b"waited\\n")
                print(peer.recv(10))
            print(ask(server.server_address), told)
        """
    )
    assert output.splitlines() == ["b'waited\\n'", "b'hello\\n' ['AcceptPaused', 'AcceptResumed']"]


def test_on_fibers_a_client_waits_for_memory_and_is_served_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = pytest.importorskip("manyhands.engines.fibers.engine")
    first_frames = threading.Event()

    class Greedy(engine.Fiber):  # type: ignore[misc, name-defined]
        """Finds no memory for its first frame, as greenlets do then."""

        def switch(self, *arguments: object) -> object:
            first_frames.set()
            raise MemoryError

    with serving(socketserver.FiberTCPServer(HERE, Echo)) as server:
        with call(server.server_address) as begun:
            begun.sendall(b"begun\n")
            assert begun.recv(10) == b"begun\n"
            monkeypatch.setattr(engine, "Fiber", Greedy)
            with call(server.server_address) as peer, call(server.server_address) as other:
                peer.sendall(b"first\n")
                other.sendall(b"other\n")
                assert first_frames.wait(PATIENCE)
                wait_until(lambda: len(server.connections) == 3)
                begun.sendall(b"on\n")
                assert begun.recv(10) == b"on\n"
                monkeypatch.undo()
                assert peer.recv(10) == b"first\n"
                assert other.recv(10) == b"other\n"
        wait_until(lambda: not server.connections)
        assert balances(server)
