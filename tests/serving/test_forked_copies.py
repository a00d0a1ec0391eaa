"""Copies of the process that the program forks itself: a server there has a registry of its own."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from manyhands import socketserver
from tests.support import (
    ENGINES,
    Echo,
    ask,
    call,
    everything,
    forked,
    hear,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def until_told(request: socket.socket, client_address: Any, server: Any) -> None:
    request.sendall(b"%d" % os.getpid())
    request.recv(1)


def close(server: Any) -> bool:
    server.server_close()
    return True


def engine_class(engine: str, chosen: str) -> Any:
    return type("Server", (server_class(engine),), {"engine": chosen})


@pytest.mark.parametrize("chosen", ENGINES)
def test_a_copy_that_closes_the_server_does_not_wait_for_the_original_s_workers(
    engine: str, chosen: str
) -> None:
    with (
        serving(engine_class(engine, chosen)(HERE, until_told)) as server,
        call(server.server_address) as peer,
    ):
        assert peer.recv(10)
        with forked(lambda: close(server)) as wait:
            assert wait() == 0
        peer.sendall(b"!")
        assert everything(peer) == b""
        with call(server.server_address) as another:
            assert another.recv(10)
            another.sendall(b"!")


def test_a_copy_that_closes_the_server_leaves_the_watch_on_the_original_s_children() -> None:
    with (
        serving(socketserver.ForkingTCPServer(HERE, until_told)) as server,
        call(server.server_address) as peer,
    ):
        assert peer.recv(10)
        with forked(lambda: close(server) and not server.active_children) as wait:
            assert wait() == 0
        peer.sendall(b"!")
        # Well before the poll interval, which is a minute.
        wait_until(lambda: not server.active_children)


@contextlib.contextmanager
def copies_that_serve(server: Any, count: int) -> Iterator[list[int]]:
    """Fork processes that serve on the server's socket until they get SIGTERM."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
                server.serve_forever(60)
                server.server_close()
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    try:
        yield pids
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_pre_fork_server_serves_in_each_copy(engine: str) -> None:
    def whose(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"%d" % (os.getppid() if engine == "processes" else os.getpid()))

    server = server_class(engine)(HERE, whose)
    server.socket.setblocking(False)  # another copy may take the client that this one was told of
    with server:
        # An original that has served, with workers, before it made its copies.
        with call(server.server_address) as peer:
            server.handle_request()
            everything(peer)
        with copies_that_serve(server, 2) as pids:
            seen: set[int] = set()
            wait_until(
                lambda: (seen.add(int(hear(server.server_address) or 0)), seen >= {*pids})[1]
            )
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
                assert os.waitpid(pid, 0)[1] == 0
    assert seen - {0} == {*pids}


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_copy_serves_while_the_original_s_workers_are_busy(engine: str) -> None:
    kind = type("Server", (server_class(engine),), {"max_threads": 1, "max_children": 1})
    with kind(HERE, until_told) as server, call(server.server_address) as busy:
        server.handle_request()
        here = busy.recv(10)
        with copies_that_serve(server, 1) as (pid,), call(server.server_address) as peer:
            assert peer.recv(10) != here
            peer.sendall(b"!")
            everything(peer)
            os.kill(pid, signal.SIGTERM)
            assert os.waitpid(pid, 0)[1] == 0
        busy.sendall(b"!")


def test_a_copy_that_writes_the_stop_flag_stops_itself_alone(module: ModuleType) -> None:
    with serving(module.ThreadingTCPServer(HERE, Echo)) as server:
        assert ask(server.server_address) == b"hello\n"

        def stop() -> bool:
            server._BaseServer__shutdown_request = True
            server.serve_forever()  # returns at once
            return True

        with forked(stop) as wait:
            assert wait() == 0
        for _ in range(3):
            assert ask(server.server_address) == b"hello\n"


def test_a_process_that_a_forked_handler_forks_has_no_say_in_the_original() -> None:
    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        def stop() -> bool:
            server._BaseServer__shutdown_request = True
            return True

        with forked(stop) as wait:
            request.sendall(b"%d" % wait())

    with serving(socketserver.ForkingTCPServer(HERE, handler)) as server:
        for _ in range(3):
            assert hear(server.server_address) == b"0"


def test_shutdown_in_a_copy_returns_and_does_not_stop_the_original(engine: str) -> None:
    def stop() -> bool:
        server.shutdown()
        return True

    with serving(server_class(engine)(HERE, Echo)) as server:
        assert ask(server.server_address) == b"hello\n"
        with forked(stop) as wait:
            assert wait() == 0
        for _ in range(3):
            assert ask(server.server_address) == b"hello\n"


def test_a_handler_that_forks_leaves_its_copy_s_end_to_the_copy() -> None:
    # The copy returns from the handler, as careless programs have it: into the end of its thread.
    ends: list[int] = []

    def handler(request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(b"served")
        pid = os.fork()
        if pid:
            ends.append(pid)

    with serving(socketserver.ThreadingTCPServer(HERE, handler)) as server:
        assert hear(server.server_address) == b"served"
        wait_until(lambda: ends)
        wait_until(lambda: os.waitpid(ends[0], os.WNOHANG)[0])
        assert hear(server.server_address) == b"served"
        wait_until(lambda: len(ends) == 2)
        wait_until(lambda: os.waitpid(ends[1], os.WNOHANG)[0])
    assert threading.active_count() < 10
