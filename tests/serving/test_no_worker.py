"""No thread and no process to be had: the client is closed, the loop rests and goes on."""

import errno
import os
import socketserver as standard
import threading
from typing import Any

import pytest

from manyhands import events, socketserver
from manyhands.engines.threads import ConnectionThread
from tests.support import (
    Echo,
    ask,
    call,
    is_closed_by_server,
    open_descriptors,
    run_python,
    serving,
    wait_until,
)

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


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_client_is_closed_and_the_next_is_served_when_there_are_workers_again(
    kind: Any, failing: pytest.MonkeyPatch, seen: list[events.Event]
) -> None:
    before = open_descriptors()
    with serving(kind(HERE, Echo)) as server:
        with call(server.server_address) as peer:
            assert is_closed_by_server(peer)
            name = peer.getsockname()
        wait_until(lambda: server.errors == 1)
        failing.undo()
        assert ask(server.server_address) == b"hello\n"
    assert open_descriptors() <= before
    failures = [event for event in seen if isinstance(event, events.WorkerFailed)]
    assert [(event.engine, event.peer) for event in failures] == [(kind.__name__.lower(), name)]
    assert str(failures[0]).startswith(f"no worker of the {kind.__name__.lower()} engine could be")


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_loop_rests_while_there_are_no_workers(kind: Any, failing: pytest.MonkeyPatch) -> None:
    with serving(kind(HERE, Echo)) as server:
        peers = [call(server.server_address) for _ in range(50)]
        threading.Event().wait(0.3)
        # 10 ms of rest, then twice as long each time: far from 50 tries.
        assert 1 <= server.errors <= 8
        # Before there are processes again, which would inherit these ends.
        for peer in peers:
            peer.close()
        failing.undo()
        assert ask(server.server_address) == b"hello\n"


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_the_server_can_be_closed_after_the_failure(kind: Any, failing: pytest.MonkeyPatch) -> None:
    with serving(kind(HERE, Echo)) as server, call(server.server_address) as peer:
        assert is_closed_by_server(peer)
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
        from tests.support import Echo, ask, call, is_closed_by_server, serving
        class Server(socketserver.ThreadingTCPServer):
            def handle_error(self, *_):
                pass
        failed = []
        events.hub.subscribe(lambda e: failed.append(e) if type(e).__name__ == "WorkerFailed" else 0)
        with serving(Server(("127.0.0.1", 0), Echo)) as server:
            # A stack that no address space is left for.
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            usual = threading.stack_size(1 << 30)
            pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (pages + (1 << 29), hard))
            with call(server.server_address) as peer:
                print(is_closed_by_server(peer))
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            threading.stack_size(usual)
            print(ask(server.server_address), len(failed))
        """
    )
    assert output.splitlines() == ["True", "b'hello\\n' 1"]
