"""The engine processes in the middle of something: interrupted by a handler of SIGCHLD, or held up."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from manyhands import socketserver
from tests.engines.test_processes import hold_until_told
from tests.support import call, run_python, serving, wait_until
from tests.support.processes import has_ended
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

SELDOM = 3600.0
"""Seconds: a poll interval that no test waits for."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

AT_EACH_LINE = """
    import contextlib, os, signal, socket, sys
    from manyhands import socketserver
    from manyhands.connections import registry
    from manyhands.engines import processes
    if sys.argv[1] == "without pidfds":
        del os.pidfd_open
    waits_itself = sys.argv[1] == "a program that waits itself"

    def fail_when_told(request, *_):
        request.recv(1)
        os._exit(1)

    def kill(pid, number, kill=os.kill):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)  # fails if its status was taken
        kill(pid, number)

    os.kill = kill
    interrupted_at = lines = 0

    def trace(frame, event, _argument):
        global lines
        if frame.f_code.co_filename not in {processes.__file__, registry.__file__}:
            return None
        if event == "line":
            if lines == interrupted_at:
                handle_sigchld()
            lines += 1
        return trace

    def handle_sigchld():
        with contextlib.suppress(OSError):
            peer.sendall(b"!")
        # Until the child has ended, if there is one.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            if waits_itself:
                os.wait()
        if not waits_itself:
            server.collect_children()

    while lines >= interrupted_at:
        lines = 0
        with (
            socketserver.ForkingTCPServer(("127.0.0.1", 0), fail_when_told) as server,
            socket.create_connection(server.server_address) as peer,
        ):
            sys.settrace(trace)
            server.handle_request()
            for connection in server.connections.values():
                connection.close()
            server.collect_children(blocking=True)
            sys.settrace(None)
            connections = server.connections
            assert (connections.accepted, len(connections)) == (1, 0), interrupted_at
            (reason,) = connections.closed
            expected = "handler_returned" if waits_itself else "handler_failed"  # the status is the program's
            assert reason.value in {expected, "kicked"}, reason
            assert not server.active_children, interrupted_at
            with contextlib.suppress(ChildProcessError):
                raise AssertionError(os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG))
        interrupted_at += 1
    print("interrupted at more than 100 lines:", interrupted_at > 100)
"""


@pytest.mark.parametrize("case", ["with pidfds", "without pidfds", "a program that waits itself"])
def test_a_handler_of_sigchld_may_come_at_any_line(case: str) -> None:
    assert run_python(AT_EACH_LINE, case) == "interrupted at more than 100 lines: True\n"


def test_a_server_survives_a_storm_of_sigchld_in_its_thread() -> None:
    output = run_python("""
        import signal, socket, threading, warnings
        from manyhands import socketserver
        warnings.simplefilter("ignore")
        class Server(socketserver.ForkingTCPServer):
            max_children = 100
            request_queue_size = 100
        server = Server(("127.0.0.1", 0), lambda request, *_: request.recv(1))
        signal.signal(signal.SIGCHLD, lambda *_: server.collect_children())
        def call_often():
            for _ in range(50):
                with socket.create_connection(server.server_address) as peer:
                    peer.sendall(b"!")
                    peer.recv(1)
        def be_clients():
            clients = [threading.Thread(target=call_often) for _ in range(8)]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            server.shutdown()
        idle = [socket.create_connection(server.server_address) for _ in range(40)]
        clients = threading.Thread(target=be_clients)
        clients.start()
        server.serve_forever()
        clients.join()
        print(len(server.drain(0.05)), "were cut off")
        server.server_close()
        connections = server.connections
        print(connections.accepted, len(connections), sum(connections.closed.values()))
        print(server.active_children)
    """)
    assert output.splitlines() == ["40 were cut off", "440 0 440", "set()"]


def have_child_end(server: Any) -> None:
    """Have a server fork a child, and wait until that has ended."""
    with call(server.server_address) as peer:
        pid = int(peer.recv(100))
        peer.sendall(b"!")
        # It may be gone: the turn of the loop in which it was forked may take longer than it lives. (That
        # it is not among the active children means nothing: it may not be among them yet.)
        wait_until(lambda: has_ended(pid))


def test_what_a_handler_has_collected_ends_at_the_next_turn() -> None:
    goes_on = threading.Event()

    class Server(socketserver.ForkingTCPServer):
        def service_actions(self) -> None:
            goes_on.wait(PATIENCE)

    with serving(Server(HERE, hold_until_told), poll_interval=SELDOM) as server:
        have_child_end(server)
        server.collect_children()
        assert not server.active_children
        goes_on.set()
        wait_until(lambda: not server.connections)


def test_what_a_handler_has_collected_wakes_the_loop_where_no_pidfd_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    server = socketserver.ForkingTCPServer(HERE, hold_until_told)
    with serving(server, poll_interval=SELDOM):
        have_child_end(server)
        server.collect_children()
        assert not server.active_children
        wait_until(lambda: not server.connections)


before_forks: list[Callable[[], object]] = []
os.register_at_fork(before=lambda: [function() for function in before_forks])


def sleep_long(*_: object) -> None:
    time.sleep(2 * PATIENCE)


@pytest.mark.parametrize("where", ["standard output is full", "a hook of forks waits"])
def test_a_fork_that_is_held_up_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    here, is_held_up, may_go_on = os.getpid(), threading.Event(), threading.Event()

    def hold_up() -> None:
        if os.getpid() == here:
            is_held_up.set()
            may_go_on.wait(PATIENCE)

    class Full:
        def flush(self) -> None:
            hold_up()

    with serving(socketserver.ForkingTCPServer(HERE, sleep_long)) as server:
        address = server.server_address
        with call(address):
            wait_until(lambda: server.active_children)
            if where == "standard output is full":
                monkeypatch.setattr(sys, "stdout", Full())
            else:
                monkeypatch.setattr(sys.modules[__name__], "before_forks", [hold_up])
            with call(address):
                assert is_held_up.wait(PATIENCE)

                def close_both() -> None:
                    for connection in server.connections.values():
                        connection.close()

                closer = threading.Thread(target=close_both, daemon=True)
                closer.start()
                closer.join(PATIENCE / 2)
                has_closed = not closer.is_alive()
                may_go_on.set()
                assert has_closed
                # The second one too, of which there was no process yet.
                wait_until(lambda: not server.connections)
