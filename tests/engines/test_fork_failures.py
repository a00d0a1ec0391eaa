"""A fork that fails, or ends in an exception: no handler runs unseen, no child is lost, the books balance."""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, events, socketserver
from tests.support import ask, bound, call, everything, hear, run_python, serving, wait_until
from tests.support.waiting import PATIENCE

HERE = ("127.0.0.1", 0)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def exit_as_told(request: socket.socket, client_address: Any, server: Any) -> None:
    way, status = request.recv(20).split()
    if way == b"exec":
        os.execvp("sh", ["sh", "-c", f"exit {int(status)}"])
    os._exit(int(status))


@pytest.mark.parametrize("way", ["exec", "exit"])
def test_an_exit_status_of_the_program_s_own_is_no_reason_of_ours(way: str) -> None:
    statuses = (0, 1, 2, 64, 66, 69, 70, 78, 84, 127, 255)
    with Server(exit_as_told, "tcp://127.0.0.1:0", engine="processes") as server:
        for status in statuses:
            with call(bound(server)) as peer:
                peer.sendall(f"{way} {status}".encode())
                assert peer.recv(1) == b""
            assert server.wait_for_connections(at_most=0, timeout=20)
        told = {reason.value: count for reason, count in server.connections.closed.items()}
    assert told == {"handler_returned": 1, "handler_failed": len(statuses) - 1}


class Ended(socketserver.BaseRequestHandler):
    """Ends as it is told to."""

    def handle(self) -> None:
        how = self.request.recv(20)
        if how == b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == b"fails":
            raise ValueError
        if how == b"exits":
            os._exit(3)


def reap_all(number: int, frame: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.mark.parametrize(
    "way", [signal.SIG_IGN, reap_all], ids=["ignored", "reaped by the program"]
)
def test_a_child_whose_status_the_program_takes_has_returned_if_it_said_so(way: Any) -> None:
    class Program(socketserver.ForkingTCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    before = signal.signal(signal.SIGCHLD, way)
    try:
        with serving(Program(HERE, Ended)) as server:
            for how in (b"returns", b"killed", b"fails", b"exits"):
                with call(server.server_address) as peer:
                    peer.sendall(how)
                    assert everything(peer) == b""
                assert server.connections.wait_for(at_most=0, timeout=PATIENCE)
            told = {reason.value: count for reason, count in server.connections.closed.items()}
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert told == {"handler_returned": 1, "handler_failed": 3}


OUT_OF_DESCRIPTORS = """
    import os, resource, signal, socket, sys, time
    from manyhands import Server, events

    def handler(request, client_address, server):
        os.write(ran, b"!")  # the order is placed
        request.recv(100)
        time.sleep(0.1)  # as long as it takes for the descriptors to run out
        request.sendall(b"done")

    def be_clients(port):
        peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]
        for peer in peers:
            peer.sendall(b"order")
        answers = []
        for peer in peers:
            peer.settimeout(20)
            answers.append(peer.recv(10))
            peer.close()
        os.write(heard, b"%d" % answers.count(b"done"))
        os.kill(os.getppid(), signal.SIGTERM)

    def announce():
        if os.fork() == 0:
            be_clients(server.addresses[0].port)
            os._exit(0)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, used + room))

    room = int(sys.argv[1])
    told = []
    events.hub.subscribe(lambda event: told.append(type(event).__name__))
    counted, ran = os.pipe()
    reader, heard = os.pipe()
    server = Server(handler, "tcp://127.0.0.1:0", engine="processes", drain_timeout=20)
    server.run(announce)
    print(len(os.read(counted, 100)), os.read(reader, 10).decode(), sum(server.connections.closed.values()))
    print([r.value for r in server.connections.closed if r.is_refusal], "AcceptPaused" in told)
"""


@pytest.mark.parametrize("room", [5, 6, 7, 8])
def test_out_of_descriptors_no_handler_runs_that_is_cut_off(room: int) -> None:
    output = run_python(OUT_OF_DESCRIPTORS, str(room))
    assert output.splitlines() == ["12 12 12", "[] True"]


AFTER_THE_FORK = """
    import _thread, os, socket, sys, threading
    from manyhands import socketserver
    from tests.support import Echo, ask
    real = os.fork
    def fork():
        # As Python 3.15 does under -W error, with threads; and as what another thread's signal raises.
        pid = real()
        if pid and sys.argv[1] != "none":
            raise {"warning": DeprecationWarning, "interrupt": KeyboardInterrupt, "alarm": TimeoutError}[
                sys.argv[1]]("after the fork")
        return pid
    os.fork = fork
    raised = []
    sys.excepthook = lambda kind, error, _: raised.append(kind.__name__)
    class Server(socketserver.ForkingTCPServer):
        def handle_error(self, *_):
            raised.append(type(sys.exception()).__name__)
        def service_actions(self):
            if self.connections.accepted:
                tell()
    class Late(Echo):
        def handle(self):
            with open(told, "rb") as parent:
                parent.read()  # the parent has done with it by now, whatever it was
            super().handle()
    told = sys.argv[2]
    os.mkfifo(told)
    def tell():
        global is_told
        if not is_told:
            is_told = True
            open(told, "wb").close()
    is_told = False
    answers = []
    def be_client():
        answers.append(ask(server.server_address))
        server.shutdown()
    with Server(("127.0.0.1", 0), Late) as server:
        client = threading.Thread(target=be_client)
        client.start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            raised.append("KeyboardInterrupt")
            tell()
        client.join()
    connections = server.connections
    print(answers, [kind for kind in raised if kind != "RuntimeWarning"])
    print(connections.accepted, len(connections), [reason.value for reason in connections.closed])
    try:
        print(os.waitpid(-1, 0))
    except ChildProcessError:
        print("no child is left")
"""


@pytest.mark.parametrize(
    ("what", "raised"),
    [
        ("none", []),
        ("warning", ["DeprecationWarning"]),
        ("interrupt", ["KeyboardInterrupt"]),
        ("alarm", ["TimeoutError"]),
    ],
)
def test_a_child_is_known_whatever_is_raised_after_its_fork(
    what: str, raised: list[str], tmp_path: Path
) -> None:
    output = run_python(AFTER_THE_FORK, what, str(tmp_path / "told"))
    answers, books, children = output.splitlines()
    assert children == "no child is left"
    assert books == "1 0 ['handler_returned']"
    assert answers == f"[b'hello\\n'] {raised}"


def test_what_is_raised_in_the_child_s_fork_ends_the_child_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, real = os.getpid(), os.fork

    def fork() -> int:
        pid = real()
        if os.getpid() != here:
            raise ZeroDivisionError
        return pid

    monkeypatch.setattr(os, "fork", fork)
    with serving(socketserver.ForkingTCPServer(HERE, exit_as_told)) as server:
        assert hear(server.server_address) == b""
        wait_until(lambda: not server.connections)
        assert [reason.value for reason in server.connections.closed] == ["handler_failed"]


def test_a_child_that_never_says_that_it_is_there_is_no_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A hook of audits forbids it, or the interpreter ends: there is no fork, and no child to wait for.
    def fork() -> int:
        raise RuntimeError("no forks today")

    monkeypatch.setattr("manyhands.engines.children.LONGEST_SILENCE", 0.05)
    monkeypatch.setattr(os, "fork", fork)
    errors: list[Any] = []

    class Quiet(socketserver.ForkingTCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            errors.append(client_address)

    with Quiet(HERE, exit_as_told) as server, call(server.server_address) as peer:
        server.handle_request()
        assert peer.recv(1) == b""
        assert len(errors) == 1
        assert [reason.value for reason in server.connections.closed] == ["no_worker"]


def test_a_hook_that_fails_to_close_the_parent_s_copy_disturbs_no_handler() -> None:
    errors: list[str] = []

    class Failing(socketserver.ForkingTCPServer):
        here = os.getpid()

        def close_request(self, request: Any) -> None:
            super().close_request(request)
            if os.getpid() == self.here:
                raise OSError("the hook failed")

        def handle_error(self, request: Any, client_address: Any) -> None:
            errors.append(client_address[0])

    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(b"answered " + request.recv(10))

    with serving(Failing(HERE, handler)) as server:
        assert ask(server.server_address, b"all\n") == b"answered all\n"
        wait_until(lambda: not server.connections)
        assert [reason.value for reason in server.connections.closed] == ["handler_returned"]
    assert errors == ["127.0.0.1"]


def test_a_subscriber_that_exits_at_a_fork_leaves_no_connection_open() -> None:
    def leave(event: events.Event) -> None:
        raise SystemExit

    unsubscribe = events.hub.subscribe(leave, events.ForkedWithThreads)
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with socketserver.ForkingTCPServer(HERE, exit_as_told) as server:
            with call(server.server_address) as peer:
                with pytest.raises(SystemExit):
                    server.handle_request()
                assert peer.recv(1) == b""
            assert len(server.connections) == 0
            assert sum(server.connections.closed.values()) == server.connections.accepted == 1
    finally:
        unsubscribe()
        release.set()
        thread.join()
