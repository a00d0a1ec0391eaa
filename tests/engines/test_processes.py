"""Forked workers: our own children only, none left, none lost (row 14)."""

import contextlib
import os
import resource
import signal
import socket
import socketserver as standard
import subprocess
import sys
import threading
import time
import warnings
from types import ModuleType
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from tests.support import Echo, ask, bound, call, hear, python, run_python, serving, wait_until
from tests.support.processes import has_ended, state_of
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def hold_until_told(request: socket.socket, client_address: Any, server: Any) -> None:
    request.sendall(str(os.getpid()).encode())
    request.recv(1)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def test_a_child_is_reaped_when_it_ends_and_not_at_the_next_connection() -> None:
    with (
        serving(socketserver.ForkingTCPServer(HERE, hold_until_told)) as server,
        call(server.server_address) as peer,
    ):
        pid = int(peer.recv(100))
        wait_until(lambda: server.active_children == {pid})
        peer.sendall(b"!")
        wait_until(lambda: not server.active_children)
        assert state_of(pid) != "Z"


def test_zombies_of_the_standard_library_wait_for_its_poll_interval() -> None:
    server = standard.ForkingTCPServer(HERE, hold_until_told)  # type: ignore[arg-type]  # a function serves
    with serving(server, poll_interval=1.5), call(server.server_address) as peer:
        pid = int(peer.recv(100))
        peer.sendall(b"!")
        wait_until(lambda: state_of(pid) == "Z")


@pytest.mark.parametrize("when", ["while serving", "on close"])
def test_another_child_of_the_program_keeps_its_exit_status(when: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", "raise SystemExit(42)"])
    with serving(socketserver.ForkingTCPServer(HERE, Echo)) as server:
        for _ in range(3):
            assert ask(server.server_address) == b"hello\n"
        if when == "while serving":
            assert other.wait(20) == 42
    assert other.wait(20) == 42


def test_the_standard_library_takes_the_status_of_strangers_at_its_limit() -> None:
    output = run_python("""
        import os, socket, socketserver, threading, subprocess, sys
        class Server(socketserver.ForkingTCPServer):
            max_children = 1
        other = subprocess.Popen([sys.executable, "-c", "raise SystemExit(42)"])
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        with Server(("127.0.0.1", 0), lambda *_: None) as server:
            server.active_children = {other.pid}
            server.collect_children()
            print(other.wait())
    """)
    assert output == "0\n"  # the real status was taken, Popen knows none


def test_our_bookkeeping_never_waits_for_any_child(monkeypatch: pytest.MonkeyPatch) -> None:
    waited_for: list[int] = []
    waitpid = os.waitpid

    def watched(pid: int, options: int) -> tuple[int, int]:
        waited_for.append(pid)
        return waitpid(pid, options)

    monkeypatch.setattr(os, "waitpid", watched)
    with serving(socketserver.ForkingTCPServer(HERE, Echo)) as server:
        for _ in range(3):
            assert ask(server.server_address) == b"hello\n"
    assert waited_for
    assert all(pid > 0 for pid in waited_for)


def test_a_status_that_was_reaped_elsewhere_is_not_waited_for() -> None:
    with serving(socketserver.ForkingTCPServer(HERE, hold_until_told)) as server:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps at once
        try:
            with call(server.server_address) as peer:
                peer.recv(100)
                peer.sendall(b"!")
                wait_until(lambda: server.active_children == set())
        finally:
            signal.signal(signal.SIGCHLD, before)


def test_at_max_children_accepting_stops_without_a_busy_loop(seen: list[events.Event]) -> None:
    class Server(socketserver.ForkingTCPServer):
        max_children = 2

    with serving(Server(HERE, hold_until_told)) as server, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(call(server.server_address)) for _ in range(4)]
        for peer in peers[:2]:
            assert peer.recv(100)
        wait_until(lambda: seen and isinstance(seen[-1], events.EngineFull))
        started = cpu_seconds()
        time.sleep(0.5)
        assert cpu_seconds() - started < 0.025
        assert len(server.active_children) == 2
        for peer in peers:
            peer.sendall(b"!")
        for peer in peers[2:]:
            assert peer.recv(100)
    assert [type(event) for event in seen].count(events.EngineFull) == 1


def test_a_copy_of_a_child_s_descriptor_elsewhere_is_no_busy_loop() -> None:
    # A process that the program forks while a child is alive inherits what watches that child, and keeps
    # it open: another server's child, or a worker of multiprocessing.
    with (
        serving(socketserver.ForkingTCPServer(HERE, hold_until_told)) as first,
        serving(socketserver.ForkingTCPServer(HERE, hold_until_told)) as second,
        call(first.server_address) as peer,
    ):
        peer.recv(100)
        with call(second.server_address) as other:
            other.recv(100)
            peer.sendall(b"!")
            wait_until(lambda: not first.active_children)
            started = cpu_seconds()
            time.sleep(0.3)
            spent = cpu_seconds() - started
            other.sendall(b"!")
        assert spent < 0.06


def test_a_fork_with_threads_alive_is_warned_about_once(seen: list[events.Event]) -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    with socketserver.ForkingTCPServer(HERE, lambda *_: None) as server:
        for expected in (1, 0):
            with warnings.catch_warnings(record=True) as caught, call(server.server_address):
                warnings.simplefilter("always")
                server.handle_request()
            ours = [w for w in caught if "a lock that another thread holds now" in str(w.message)]
            assert len(ours) == expected
    release.set()
    thread.join()
    assert [type(event) for event in seen] == [events.ForkedWithThreads]


def test_a_fork_without_threads_is_not_warned_about() -> None:
    output = run_python("""
        import socket, warnings
        warnings.simplefilter("error")
        from manyhands import events, socketserver
        events.hub.subscribe(print)
        with socketserver.ForkingTCPServer(("127.0.0.1", 0), lambda *_: None) as server:
            peer = socket.create_connection(server.server_address)
            server.handle_request()
            print(peer.recv(1))
    """)
    assert output == "b''\n"


PRINTING = """
    import socket, {module} as module
    def handler(*_):
        print("printed by the handler")
    print("printed before")
    with module.ForkingTCPServer(("127.0.0.1", 0), handler) as server:
        peer = socket.create_connection(server.server_address)
        server.handle_request()
        server.collect_children(blocking=True)
    print("printed after")
"""


def test_what_a_child_prints_into_a_pipe_comes_out_once() -> None:
    output = run_python(PRINTING.format(module="manyhands.socketserver"))
    assert output.splitlines() == ["printed before", "printed by the handler", "printed after"]


def test_what_a_child_of_the_standard_library_prints_into_a_pipe_is_lost() -> None:
    output = run_python(PRINTING.format(module="socketserver"))
    assert "printed by the handler" not in output


def test_a_child_does_not_run_the_parent_s_cleanups() -> None:
    output = run_python("""
        import atexit, os, socket
        from manyhands import socketserver
        atexit.register(print, "at exit of the parent only")
        with socketserver.ForkingTCPServer(("127.0.0.1", 0), lambda *_: None) as server:
            with socket.create_connection(server.server_address) as peer:
                server.handle_request()
                peer.recv(1)
    """)
    assert output == "at exit of the parent only\n"


@pytest.mark.parametrize("outcome", ["returns", "raises", "exits"])
def test_the_child_s_exit_status_tells_how_its_handler_ended(
    monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    statuses: list[int] = []
    waitpid = os.waitpid

    def watched(pid: int, options: int) -> tuple[int, int]:
        ended, status = waitpid(pid, options)
        if ended:
            statuses.append(os.waitstatus_to_exitcode(status))
        return ended, status

    def handler(*_: object) -> None:
        if outcome == "raises":
            raise ZeroDivisionError
        if outcome == "exits":
            raise SystemExit(0)

    class Server(socketserver.ForkingTCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    monkeypatch.setattr(os, "waitpid", watched)
    with serving(Server(HERE, handler)) as server:
        assert hear(server.server_address) == b""
        wait_until(lambda: statuses)
    assert statuses == [0 if outcome == "returns" else 1]


def test_the_loop_sleeps_while_children_serve_and_after_they_ended() -> None:
    with serving(socketserver.ForkingTCPServer(HERE, hold_until_told)) as server:
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(call(server.server_address)) for _ in range(3)]
            for peer in peers:
                peer.recv(100)
            started = cpu_seconds()
            time.sleep(0.3)
            assert cpu_seconds() - started < 0.06
            for peer in peers:
                peer.sendall(b"!")
        wait_until(lambda: not server.active_children)
        started = cpu_seconds()
        time.sleep(0.3)
        assert cpu_seconds() - started < 0.06


def test_collect_children_can_be_called_at_any_time(module: ModuleType) -> None:
    with module.ForkingTCPServer(HERE, lambda *_: None) as server:
        server.collect_children()
        server.collect_children(blocking=True)
        with call(server.server_address):
            server.handle_request()
        server.collect_children(blocking=True)
        assert not server.active_children
        with call(server.server_address):
            server.handle_request()


def test_handle_timeout_collects_children(module: ModuleType) -> None:
    with module.ForkingTCPServer(HERE, lambda *_: None) as server:
        server.timeout = 0.02
        with call(server.server_address):
            server.handle_request()
        (pid,) = server.active_children
        wait_until(lambda: has_ended(pid))
        server.handle_request()
        assert not server.active_children


def test_a_subscriber_to_ends_may_wait_for_a_thread_that_needs_the_engine() -> None:
    is_through: list[bool] = []

    def tell(event: events.Event) -> None:
        other = threading.Thread(target=lambda: server.engine.tasks, daemon=True)
        other.start()
        other.join(PATIENCE)
        is_through.append(not other.is_alive())

    unsubscribe = events.hub.subscribe(tell, events.ConnectionClosed)
    with Server(Echo, "tcp://127.0.0.1:0", engine="processes") as server:
        assert ask(bound(server)) == b"hello\n"
        wait_until(lambda: is_through)
    unsubscribe()
    assert is_through == [True]


def test_the_engine_is_joined_when_subscribers_have_heard_of_every_end() -> None:
    is_told, may_go_on = threading.Event(), threading.Event()
    joined: list[bool] = []

    def tell(event: events.Event) -> None:
        joined.append(server.engine.join(PATIENCE))  # does not wait for itself
        is_told.set()
        may_go_on.wait(PATIENCE)

    unsubscribe = events.hub.subscribe(tell, events.ConnectionClosed)
    with Server(Echo, "tcp://127.0.0.1:0", engine="processes") as server:
        assert ask(bound(server)) == b"hello\n"
        assert is_told.wait(PATIENCE)
        assert not server.engine.running()
        assert not server.engine.join(0.05)
        may_go_on.set()
        assert server.engine.join(PATIENCE)
    unsubscribe()
    assert joined == [True]


def test_children_say_nothing_of_the_other_clients_in_development_mode() -> None:
    finished = python(
        *("-X", "dev", "-c"),
        """if True:
        from manyhands import Server
        from tests.engines.test_processes import hold_until_told
        from tests.support import call

        with Server(hold_until_told, "tcp://127.0.0.1:0", engine="processes") as server:
            address = server.addresses[0]
            peers = [call((address.host, address.port)) for _ in range(3)]
            assert len({peer.recv(100) for peer in peers}) == 3
            for peer in peers:
                peer.sendall(b"!")
                peer.close()
        """,
    )
    assert finished.returncode == 0, finished.stderr
    assert "unclosed" not in finished.stderr
