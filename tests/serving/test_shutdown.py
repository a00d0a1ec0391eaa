"""Stopping: at once, from anywhere (rows 1 and 2 of the contract's second table)."""

import os
import signal
import socketserver as standard
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from manyhands import socketserver
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.accept_loop import AcceptLoop
from tests.support import Echo, ask, call, hear, server_class, serving, wait_until
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)
A_DAY = 86_400.0

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def stop_from_inside(request: Any, client_address: Any, server: Any) -> None:
    server.shutdown()
    request.sendall(b"shutdown() returned")


def test_shutdown_from_a_handler_returns(engine: str) -> None:
    server = server_class(engine)(HERE, stop_from_inside)
    thread = threading.Thread(target=server.serve_forever, args=(A_DAY,), daemon=True)
    with server:
        thread.start()
        assert hear(server.server_address) == b"shutdown() returned"
        thread.join(20)
        assert not thread.is_alive()


def test_shutdown_from_a_handler_of_the_standard_library_does_not_return() -> None:
    server = standard.TCPServer(HERE, stop_from_inside)  # type: ignore[arg-type]  # a function serves
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with call(server.server_address) as peer:
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.recv(100)
    # Let the stuck thread go.
    server._BaseServer__is_shut_down.set()  # type: ignore[attr-defined]  # a private name
    thread.join(20)
    server.server_close()


def test_shutdown_from_a_hook_of_the_loop_returns(engine: str) -> None:
    class Server(server_class(engine)):  # type: ignore[misc]  # a class of the engine
        def service_actions(self) -> None:
            super().service_actions()
            self.shutdown()

    with Server(HERE, lambda *_: None) as server, call(server.server_address):
        server.serve_forever(A_DAY)


def test_shutdown_from_a_signal_handler_in_the_serving_thread_returns(engine: str) -> None:
    with server_class(engine)(HERE, Echo) as server:
        before = signal.signal(signal.SIGUSR1, lambda *_: server.shutdown())
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        try:
            server.serve_forever(A_DAY)
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_another_thread_receives_wakes_the_loop(engine: str) -> None:
    """Python's handlers run in the main thread alone, which the system does not wake then."""
    with server_class(engine)(HERE, Echo) as server:
        answered, stopped, late = threading.Event(), threading.Event(), []

        def receive() -> None:
            assert ask(server.server_address) == b"hello\n"
            answered.set()
            time.sleep(0.05)  # the loop is asleep again
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            if not stopped.wait(PATIENCE):
                late.append(True)
                server.shutdown()

        before = signal.signal(signal.SIGUSR1, lambda *_: server.shutdown())
        receiver = threading.Thread(target=receive)
        receiver.start()
        try:
            server.serve_forever(A_DAY)
        finally:
            stopped.set()
            receiver.join()
            signal.signal(signal.SIGUSR1, before)
        assert answered.is_set()
        assert not late


@pytest.mark.parametrize("poll_interval", [A_DAY, None])
def test_shutdown_wakes_a_sleeping_loop(engine: str, poll_interval: float | None) -> None:
    server = server_class(engine)(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever, args=(poll_interval,), daemon=True)
    with server:
        thread.start()
        assert ask(server.server_address) == b"hello\n"
        time.sleep(0.05)  # the loop is asleep again
        server.shutdown()
        thread.join(20)
        assert not thread.is_alive()


def test_shutdown_of_the_standard_library_waits_for_the_poll_interval() -> None:
    server = standard.TCPServer(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.8,), daemon=True)
    with server:
        thread.start()
        assert ask(server.server_address) == b"hello\n"
        time.sleep(0.05)
        started = time.monotonic()
        server.shutdown()
        # What is left of the interval. Ours takes milliseconds.
        assert time.monotonic() - started > 0.3
        thread.join(20)


def test_many_threads_may_shut_down_at_once(engine: str) -> None:
    server = server_class(engine)(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever, args=(A_DAY,), daemon=True)
    with server:
        thread.start()
        assert ask(server.server_address) == b"hello\n"
        stoppers = [threading.Thread(target=server.shutdown, daemon=True) for _ in range(8)]
        for stopper in stoppers:
            stopper.start()
        for stopper in [*stoppers, thread]:
            stopper.join(20)
            assert not stopper.is_alive()


def test_a_stopped_server_serves_again(engine: str, module: ModuleType) -> None:
    with server_class(engine, module)(HERE, Echo) as server:
        interval = A_DAY if module is socketserver else 0.02
        for _ in range(3):
            thread = threading.Thread(target=server.serve_forever, args=(interval,), daemon=True)
            thread.start()
            assert ask(server.server_address) == b"hello\n"
            server.shutdown()
            thread.join(20)
            assert not thread.is_alive()


def test_no_client_that_waits_is_served_after_the_stop() -> None:
    served = []

    def handler(request: Any, client_address: Any, server: Any) -> None:
        served.append(client_address)
        server.shutdown()

    with (
        socketserver.TCPServer(HERE, handler) as server,
        call(server.server_address),
        call(server.server_address),
    ):
        server.serve_forever(A_DAY)
        assert len(served) == 1


def test_closing_the_server_ends_its_loop(engine: str) -> None:
    server = server_class(engine)(HERE, Echo)
    thread = threading.Thread(target=server.serve_forever, args=(A_DAY,), daemon=True)
    thread.start()
    assert ask(server.server_address) == b"hello\n"
    server.server_close()
    thread.join(20)
    assert not thread.is_alive()


def test_a_closed_server_cannot_serve(module: ModuleType, engine: str) -> None:
    server = server_class(engine, module)(HERE, Echo)
    server.server_close()
    with pytest.raises(ValueError, match="descriptor"):
        server.serve_forever()


def test_a_server_that_is_stopped_and_closed_while_its_loop_begins_is_no_error() -> None:
    server = socketserver.TCPServer(HERE, Echo)
    server.server_close()
    is_stopping = iter(
        [False, True]
    )  # first it was not, then the other thread stopped it, and closed it too
    with WakeUp() as waker:
        AcceptLoop([server], lambda: next(is_stopping)).run(waker, A_DAY)


def test_regular_work_is_done_at_the_poll_interval(module: ModuleType, engine: str) -> None:
    class Server(server_class(engine, module)):  # type: ignore[misc]  # see above
        ticks = 0

        def service_actions(self) -> None:
            super().service_actions()
            self.ticks += 1

    with serving(Server(HERE, Echo), poll_interval=0.01) as server:
        wait_until(lambda: server.ticks > 10)


def test_a_sleeping_loop_does_no_regular_work_more_often_than_asked(engine: str) -> None:
    class Server(server_class(engine)):  # type: ignore[misc]  # see above
        ticks = 0

        def service_actions(self) -> None:
            super().service_actions()
            self.ticks += 1

    with serving(Server(HERE, Echo), poll_interval=A_DAY) as server:
        for _ in range(3):
            assert ask(server.server_address) == b"hello\n"
        time.sleep(0.3)
        # One for each connection, one for each worker that ended, and perhaps a waker's.
        assert server.ticks <= 12
