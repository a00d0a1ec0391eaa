"""The system watches only so many descriptors for one user (fs.epoll.max_user_watches, epoll(7))."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from manyhands import FiberTCPServer, StreamRequestHandler
from manyhands.engines.fibers import foreign_threads
from manyhands.engines.fibers.poller import Channel
from manyhands.engines.fibers.selector import FiberSelector
from tests.engines.fibers.conftest import Fibers
from tests.support import Echo, ask, call, everything, run_python, serving

HERE = ("127.0.0.1", 0)


def test_the_error_says_what_has_run_out() -> None:
    error = foreign_threads.cannot_watch(errno.ENOSPC)
    assert error.errno == errno.ENOSPC
    assert "fs.epoll.max_user_watches" in str(error)


def test_what_cannot_be_watched_is_an_error_each_time(tmp_path: Path) -> None:
    # For a file on a disk epoll_ctl(2) fails with EPERM in any process.
    running = Fibers()
    path = tmp_path / "file"
    path.write_bytes(b"data")
    descriptor = os.open(path, os.O_RDONLY)
    channel = running.do(Channel, running.hub_thread.poller, descriptor)
    for event in (foreign_threads.READ, foreign_threads.WRITE, foreign_threads.READ):
        with pytest.raises(PermissionError):
            running.do(channel.wait, event)
        assert not channel.is_waited_for(event)
    running.do(channel.close)
    running.end()


def test_a_connection_that_cannot_be_watched_fails_and_the_next_is_served() -> None:
    program = """
        import errno, os, select, socket, threading
        os.environ["MANYHANDS_PURE_PYTHON"] = "1"
        from manyhands.engines.fibers import plain_poller as poller
        from manyhands import FiberTCPServer

        class Epoll:
            used_up = False
            def __init__(self):
                self.real = select.epoll()
            def register(self, descriptor, events):
                if Epoll.used_up:
                    Epoll.used_up = False
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.real.register(descriptor, events)
            def __getattr__(self, name):
                return getattr(self.real, name)

        poller._new_epoll = Epoll

        def echo(request, client_address, server):
            try:
                request.sendall(request.recv(10))
            except OSError as error:
                request.sendall(str(error).encode())

        server = FiberTCPServer(("127.0.0.1", 0), echo)
        server.verify_request = lambda *_: bool(setattr(Epoll, "used_up", not said)) or True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = []
        for _ in range(2):
            with socket.create_connection(server.server_address) as peer:
                if said:  # else the handler has to wait
                    peer.sendall(b"hello")
                said.append(peer.recv(1000).decode())
        print(*said, sep="\\n")
        server.shutdown()
    """
    first, second = run_python(program).splitlines()
    assert "No space left on device" in first
    assert "fs.epoll.max_user_watches" in first
    assert second == "hello"


def test_an_accept_loop_whose_listener_cannot_be_watched_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[None] = []

    def refuse(selector: Any, timeout: float | None) -> Any:
        waits.append(None)
        raise foreign_threads.cannot_watch(errno.ENOSPC)

    with monkeypatch.context() as shortage:
        shortage.setattr(FiberSelector, "_wait", refuse)
        server = FiberTCPServer(HERE, Echo)
        with serving(server):
            assert ask(server.server_address) == b"hello\n"
            assert waits
            shortage.undo()
            assert ask(server.server_address) == b"hello\n"


def test_a_hook_that_cannot_wait_has_the_loop_rest_and_try_again() -> None:
    class Server(FiberTCPServer):
        failures = 0

        def get_request(self) -> Any:
            if self.failures < 2:
                self.failures += 1
                raise foreign_threads.cannot_watch(errno.ENOSPC)
            return super().get_request()

    class Hello(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"hello")

    server = Server(HERE, Hello)
    with serving(server), call(server.server_address) as peer:
        assert everything(peer) == b"hello"
        assert server.failures == 2
