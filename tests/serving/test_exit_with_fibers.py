"""The exit of the interpreter waits for fibers where it would wait for threads, and never crashes."""

import socket
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Program, call, python, run_python

PROGRAM = """
{patch}
import threading
import manyhands

class Server(manyhands.{kind}):
    daemon_threads = {daemon_threads}

enough = threading.Event()
echoed = 0

def echo(request, client_address, server):
    global echoed
    while data := request.recv(100):
        request.sendall(data)
        echoed += 1
        if echoed == {count}:
            enough.set()

server = Server(("127.0.0.1", 0), echo)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
enough.wait()
print("main ends", flush=True)
"""

KINDS = pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("ThreadingTCPServer", ""),
        ("FiberTCPServer", ""),
        ("FiberTCPServer", "from gevent import monkey; monkey.patch_all()"),
    ],
    ids=["threads", "fibers", "fibers under gevent.monkey"],
)


def started(
    folder: Path, kind: str, patch: str = "", *, daemon_threads: bool, count: int = 1
) -> tuple[Program, tuple[str, int]]:
    path = folder / "program.py"
    path.write_text(
        PROGRAM.format(kind=kind, patch=patch, daemon_threads=daemon_threads, count=count)
    )
    program = Program([str(path)])
    return program, ("127.0.0.1", int(program.line()))


@KINDS
def test_it_waits_for_connections_and_not_for_a_daemon_s_accept_loop(
    tmp_path: Path, kind: str, patch: str
) -> None:
    program, address = started(tmp_path, kind, patch, daemon_threads=False)
    with program:
        with call(address) as peer:
            for line in (b"one\n", b"two\n"):
                peer.sendall(line)
                assert peer.recv(10) == line
            assert program.line() == "main ends"
            peer.sendall(b"three\n")
            assert peer.recv(10) == b"three\n"
        assert program.wait() == 0


@KINDS
def test_it_waits_for_no_worker_that_the_server_says_not_to_wait_for(
    tmp_path: Path, kind: str, patch: str
) -> None:
    program, address = started(tmp_path, kind, patch, daemon_threads=True)
    with program, call(address) as peer:
        peer.sendall(b"one\n")
        assert program.wait() == 0


@KINDS
@pytest.mark.parametrize("is_daemon", [True, False], ids=["daemons", "no daemons"])
def test_a_server_that_serves_may_say_so_for_the_connections_to_come(
    kind: str, patch: str, is_daemon: bool
) -> None:
    # As with threads: for those that it has, nothing changes.
    program = f"""
        {patch}
        import socket, threading
        import manyhands

        class Server(manyhands.{kind}):
            daemon_threads = {not is_daemon}

        def serve(request, client_address, server):
            request.sendall(b"x")
            request.recv(1)
            print("ended", flush=True)

        server = Server(("127.0.0.1", 0), serve)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        first = socket.create_connection(server.server_address)
        first.recv(1)
        server.daemon_threads = {is_daemon}
        second = socket.create_connection(server.server_address)
        second.recv(1)
        print("main ends", flush=True)
        {"first" if is_daemon else "second"}.shutdown(socket.SHUT_WR)
    """
    # Of the other one there is no word: it goes on until the interpreter has gone.
    assert run_python(program) == "main ends\nended\n"


@pytest.mark.parametrize("is_pure", ["0", "1"], ids=["compiled", "plain Python"])
def test_it_does_not_crash_in_the_middle_of_the_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_pure: str
) -> None:
    monkeypatch.setenv("MANYHANDS_PURE_PYTHON", is_pure)
    program, address = started(tmp_path, "FiberTCPServer", daemon_threads=True, count=2000)
    with program:
        crowds = [threading.Thread(target=talk_until_the_end, args=(address,)) for _ in range(2)]
        for crowd in crowds:
            crowd.start()
        status = program.wait()
        for crowd in crowds:
            crowd.join()
        assert status == 0, program.errors()


def talk_until_the_end(address: tuple[str, int]) -> None:
    peers: list[socket.socket] = []
    try:
        peers += [call(address) for _ in range(30)]
        while all(_is_answered(peers)):
            pass
    except OSError:
        pass  # it has ended
    finally:
        for peer in peers:
            peer.close()


def _is_answered(peers: list[socket.socket]) -> Iterator[bytes]:
    for peer in peers:
        peer.sendall(b"x")
    for peer in peers:
        yield peer.recv(10)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"])
def test_a_program_may_stop_its_server_at_exit(when: str, patch: str) -> None:
    program = f"""
        {patch}
        import atexit, threading

        def stop():
            server.shutdown()
            server.server_close()
            print("stopped")

        if {when == "before"}:
            atexit.register(stop)
        from manyhands import FiberTCPServer
        server = FiberTCPServer(("127.0.0.1", 0), lambda *_: None)
        if {when == "after"}:
            atexit.register(stop)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    """
    assert run_python(program) == "stopped\n"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"])
def test_a_loop_that_would_begin_at_exit_has_ended(when: str, patch: str) -> None:
    program = f"""
        {patch}
        import atexit, threading

        def ask_for_it():
            is_late.set()
            server.shutdown()
            thread.join()
            print("ended")

        if {when == "before"}:  # then it is called after our own function
            atexit.register(ask_for_it)
        from manyhands import FiberTCPServer
        is_late = threading.Event()
        server = FiberTCPServer(("127.0.0.1", 0), lambda *_: None)
        if {when == "after"}:
            atexit.register(ask_for_it)

        def serve():
            is_late.wait()
            server.serve_forever()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
    """
    finished = python("-c", textwrap.dedent(program))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "ended\n", "")


def test_a_fiber_that_blocks_the_others_holds_up_the_exit_for_a_second_at_most() -> None:
    program = """
        import socket, threading, time
        from manyhands import FiberTCPServer

        class Server(FiberTCPServer):
            daemon_threads = True

        def rude(request, client_address, server):
            request.sendall(b"x")
            time.sleep(3600)

        server = Server(("127.0.0.1", 0), rude)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        peer = socket.create_connection(server.server_address)
        peer.recv(1)
        print("main ends")
    """
    assert run_python(program) == "main ends\n"
