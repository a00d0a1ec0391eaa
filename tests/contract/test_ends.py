"""How servers and handlers end: the same on the standard library and on ours."""

import os
import socket
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from tests.support import (
    answering,
    call,
    hear,
    is_closed_by_server,
    left_open,
    open_descriptors,
    run_python,
    server_class,
    serving,
    wait_until,
)

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork", "ignore:forking a server process")


def test_shutdown_before_serve_forever_makes_it_return_at_once(module: ModuleType) -> None:
    with module.TCPServer(HERE, answering(b"served")) as server, call(server.server_address):
        # The standard library's waits here for the serve_forever to come.
        stopper = threading.Thread(target=server.shutdown, daemon=True)
        stopper.start()
        wait_until(lambda: server._BaseServer__shutdown_request)
        server.serve_forever(poll_interval=60)
        stopper.join(20)
        assert not stopper.is_alive()


def test_a_stop_and_close_that_overtake_serve_forever_are_no_error(module: ModuleType) -> None:
    server = module.TCPServer(HERE, answering(b"served"))
    begin = threading.Event()
    failures: list[BaseException] = []

    def serve() -> None:
        begin.wait()
        try:
            server.serve_forever(poll_interval=0.01)
        except BaseException as failure:  # noqa: BLE001 - it is what the test looks for
            failures.append(failure)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    thread = threading.Thread(target=serve, daemon=True)
    stopper = threading.Thread(target=stop, daemon=True)
    thread.start()
    stopper.start()
    wait_until(lambda: server._BaseServer__shutdown_request)
    stopper.join(0.2)  # ours may close before the loop has begun, the standard library waits for it
    begin.set()
    thread.join(20)
    stopper.join(20)
    assert failures == []
    assert server.socket.fileno() == -1


def test_system_exit_of_a_sequential_handler_reaches_the_caller(module: ModuleType) -> None:
    def handler(*_: object) -> None:
        raise SystemExit(7)

    with module.TCPServer(HERE, handler) as server, call(server.server_address) as peer:
        with pytest.raises(SystemExit):
            server.serve_forever()
        assert is_closed_by_server(peer)


def test_system_exit_of_a_threaded_handler_reaches_the_excepthook(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: hooked.append(args.exc_type))
    reported: list[Any] = []

    class Server(module.ThreadingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def handle_error(self, request: Any, client_address: Any) -> None:
            reported.append(sys.exc_info()[0])

    def handler(*_: object) -> None:
        raise SystemExit

    with serving(Server(HERE, handler)) as server:
        assert hear(server.server_address) == b""
        wait_until(lambda: hooked)
    assert (hooked, reported) == ([SystemExit], [])


def test_system_exit_of_a_forked_handler_ends_the_child(module: ModuleType) -> None:
    statuses: list[int] = []

    class Server(module.ForkingTCPServer):  # type: ignore[name-defined,misc]  # see above
        def handle_error(self, request: Any, client_address: Any) -> None:
            request.sendall(b"reported")

    def handler(*_: object) -> None:
        raise SystemExit(0)

    with serving(Server(HERE, handler)) as server:
        assert hear(server.server_address) == b""
        wait_until(lambda: not server.active_children)
    assert statuses == []


def test_server_close_works_without_serving(module: ModuleType, engine: str) -> None:
    server = server_class(engine, module)(HERE, module.BaseRequestHandler)
    server.server_close()
    assert server.socket.fileno() == -1
    server.server_close()


def test_a_failed_bind_closes_the_descriptor(module: ModuleType) -> None:
    before = open_descriptors()
    with socket.create_server(HERE) as taken, pytest.raises(OSError, match="in use"):
        module.TCPServer(taken.getsockname(), None)
    assert not left_open(before)


def test_nothing_is_left_after_server_close(module: ModuleType, engine: str) -> None:
    before, threads = open_descriptors(), set(threading.enumerate())
    with serving(server_class(engine, module)(HERE, answering(b"served"))) as server:
        for _ in range(5):
            assert hear(server.server_address) == b"served"
    assert server.socket.fileno() == -1
    assert set(threading.enumerate()) <= threads
    assert not left_open(before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_threads_end_before_server_close_returns(module: ModuleType) -> None:
    began, release, ended = threading.Event(), threading.Event(), threading.Event()

    def handler(*_: object) -> None:
        began.set()
        release.wait()
        time.sleep(0.05)  # still at work when server_close waits for it
        ended.set()

    server = module.ThreadingTCPServer(HERE, handler)
    with serving(server), call(server.server_address):
        assert began.wait(20)
        server.shutdown()
        release.set()
        server.server_close()
        assert ended.is_set()


def test_the_set_of_threads_stays_small(module: ModuleType) -> None:
    with serving(module.ThreadingTCPServer(HERE, answering(b"served"))) as server:
        for _ in range(1000):
            assert hear(server.server_address) == b"served"
        assert len(server._threads) < 10


def test_ctrl_c_in_a_sequential_server_ends_it(module: ModuleType) -> None:
    output = run_python(f"""
        import os, signal, socket, {module.__name__} as module
        def handler(*_):
            os.kill(os.getpid(), signal.SIGINT)
        with module.TCPServer(("127.0.0.1", 0), handler) as server:
            peer = socket.create_connection(server.server_address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("interrupted", peer.recv(1))
    """)
    assert output == "interrupted b''\n"
