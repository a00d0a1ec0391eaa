"""The private names that public programs read and write are what they are in the standard library."""

import os
import signal
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from tests.support import call, hear, is_closed_by_server, server_class, serving, wait_until

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def nothing(*_: object) -> None:
    """Handle nothing."""


def poll_interval(module: ModuleType) -> float:
    """Return an interval that ours must not wait for, and that the standard library's has to."""
    return 60 if module.__name__.startswith("manyhands") else 0.02


def serve_in_thread(server: Any, interval: float) -> threading.Thread:
    thread = threading.Thread(target=server.serve_forever, args=(interval,), daemon=True)
    thread.start()
    wait_until(lambda: not server._BaseServer__is_shut_down.is_set())
    return thread


def test_a_handler_stops_the_loop_by_writing_the_flag(module: ModuleType) -> None:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        server._BaseServer__shutdown_request = True

    for engine in ("sequential", "threads"):
        with server_class(engine, module)(HERE, handler) as server, call(server.server_address):
            interval = poll_interval(module)
            thread = threading.Thread(target=server.serve_forever, args=(interval,), daemon=True)
            thread.start()
            thread.join(20)
            assert not thread.is_alive(), engine


def test_a_signal_handler_stops_a_blocked_loop_by_writing_the_flag(module: ModuleType) -> None:
    with module.TCPServer(HERE, nothing) as server:

        def stop(*_: object) -> None:
            server._BaseServer__shutdown_request = True

        before = signal.signal(signal.SIGUSR1, stop)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        try:
            server.serve_forever(poll_interval(module))
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)


def test_the_flag_is_false_again_after_the_loop(module: ModuleType) -> None:
    with module.TCPServer(HERE, nothing) as server:
        server._BaseServer__shutdown_request = True
        server.serve_forever()
        assert server._BaseServer__shutdown_request is False


def test_the_flag_can_be_read_from_the_instance_s_dictionary(module: ModuleType) -> None:
    # A streaming handler in public code asks server.__dict__ whether to go on.
    with module.TCPServer(HERE, nothing) as server:
        assert server.__dict__["_BaseServer__shutdown_request"] is False
        server._BaseServer__shutdown_request = True
        assert server.__dict__["_BaseServer__shutdown_request"] is True


def test_is_shut_down_is_not_set_before_the_first_loop(module: ModuleType) -> None:
    # The same handler takes a set event for the end of the service, and it may serve through
    # handle_request alone; others wait() on it from the moment they started the thread.
    with module.TCPServer(HERE, nothing) as server:
        assert not server._BaseServer__is_shut_down.is_set()


def test_is_shut_down_is_clear_while_serving_and_set_after(module: ModuleType) -> None:
    states = []

    def handler(request: Any, client_address: Any, server: Any) -> None:
        states.append(server._BaseServer__is_shut_down.is_set())
        server._BaseServer__shutdown_request = True

    with module.TCPServer(HERE, handler) as server, call(server.server_address):
        server.serve_forever()
        assert states == [False]
        assert server._BaseServer__is_shut_down.is_set()


def test_a_program_that_sets_the_event_first_can_shut_down_without_serving(
    module: ModuleType,
) -> None:
    with module.TCPServer(HERE, nothing) as server:
        server._BaseServer__is_shut_down.set()
        server.shutdown()


def test_a_program_may_clear_the_event_and_serve_one_request(module: ModuleType) -> None:
    with module.TCPServer(HERE, nothing) as server, call(server.server_address) as peer:
        server._BaseServer__is_shut_down.clear()
        server._handle_request_noblock()
        assert is_closed_by_server(peer)


def test_class_attributes_stand_in_for_an_init_that_never_ran(module: ModuleType) -> None:
    # As Patroni's tests have it: the event is a stand-in, the flag is True on the class.
    calls: list[str] = []

    class Event:
        def clear(self) -> None:
            calls.append("clear")

        def set(self) -> None:
            calls.append("set")

        def wait(self) -> None:
            calls.append("wait")

    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # a class of either module
        _BaseServer__is_shut_down = Event()
        _BaseServer__shutdown_request = True

    complete = module.TCPServer(HERE, nothing)
    with complete:
        bare = Server.__new__(Server)
        bare.socket = complete.socket
        bare.serve_forever()
    assert calls == ["clear", "set"]


def test_a_flag_on_the_class_does_not_keep_shutdown_from_waking_the_loop(
    module: ModuleType,
) -> None:
    class Server(module.TCPServer):  # type: ignore[name-defined,misc]  # see above
        _BaseServer__shutdown_request = False

    with Server(HERE, nothing) as server:
        thread = serve_in_thread(server, poll_interval(module))
        assert hear(server.server_address) == b""
        time.sleep(0.05)  # the loop is asleep again
        stopper = threading.Thread(target=server.shutdown, daemon=True)
        stopper.start()
        stopper.join(10)
        assert not stopper.is_alive()
        thread.join(10)


def test_the_noblock_step_can_be_overridden_and_called(module: ModuleType, engine: str) -> None:
    steps: list[str] = []

    class Server(server_class(engine, module)):  # type: ignore[misc]  # see above
        def _handle_request_noblock(self) -> None:
            steps.append("before")
            super()._handle_request_noblock()
            steps.append("after")

    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"served")

    with serving(Server(HERE, handler)) as server:
        assert hear(server.server_address) == b"served"
        wait_until(lambda: steps == ["before", "after"])
