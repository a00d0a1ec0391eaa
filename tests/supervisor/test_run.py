"""`manyhands run --workers`: an unmodified program of the standard library's `socketserver`."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.supervisor import run_command
from tests.supervisor.run_command import Running
from tests.support.programs import Program
from tests.support.waiting import PATIENCE, wait_until

PROGRAM = """
import os
import socketserver
import threading

seen = []

class Pid(socketserver.StreamRequestHandler):
    def handle(self):
        seen.append(self.client_address)
        pid = os.getppid() if "Forking" in {kind!r} else os.getpid()
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (pid, line))

class Count(socketserver.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(b"%d" % len(self.rfile.read()))

if __name__ == "__main__":
    with socketserver.{kind}(("127.0.0.1", 0), {handler}) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
    print("over", flush=True)
"""


@contextmanager
def running(
    folder: Path, *words: str, kind: str = "ThreadingTCPServer", handler: str = "Pid"
) -> Iterator[Running]:
    with run_command.running(folder, PROGRAM.format(kind=kind, handler=handler), *words) as run:
        yield run


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ForkingTCPServer"])
def test_its_address_is_bound_once_and_served_by_all_workers(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, kind=kind) as run:
        every = [run.call() for _ in range(4)]
        asked = [each.ask() for each in every]
        assert sorted(asked.count(pid) for pid in set(asked)) == [2, 2]
        for each in every:
            each.close()
        wait_until(lambda: run.status()["books"]["open"] == 0)
        assert run.status()["books"]["accepted"] == 4
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0


def test_on_another_engine(tmp_path: Path) -> None:
    with running(tmp_path, "--engine", "fibers", kind="TCPServer") as run:
        every = [run.call() for _ in range(4)]
        assert len({each.ask() for each in every}) == 2
        for each in every:
            each.close()


def test_new_code_of_it_serves_after_a_reload_and_each_process_comes_to_its_own_end(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as run:
        before = {run.asked() for _ in range(4)}
        file = tmp_path / "old_server.py"
        file.write_text(file.read_text().replace("os.getpid()", "4711"))
        run.program.send(signal.SIGHUP)
        wait_until(lambda: run.asked() == 4711)
        assert len(before) == 2
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0
        lines = run.program.lines_left()
        # Port 0 is the port of before, for each.
        assert lines.count(str(run.port)) == 1
        assert lines.count("over") == 4


def test_a_worker_of_it_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        victim = run.asked()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: all(run.asked() != victim for _ in range(2)))
        books = run.status()["books"]
        assert books["accepted"] == books["open"] + books["closed"]


def test_datagrams(tmp_path: Path) -> None:
    with running(tmp_path, kind="ThreadingUDPServer", handler="Count") as run:
        for number in range(10):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.settimeout(PATIENCE)
                sender.sendto(b"x" * number, ("127.0.0.1", run.port))
                assert sender.recv(100) == b"%d" % number


def test_limits_hold_over_all_workers(tmp_path: Path) -> None:
    words = ("--max-connections", "3", "--when-full", "refuse")
    with running(tmp_path, *words) as run:
        every = [run.call() for _ in range(3)]
        for each in every:
            each.ask()
        with run.call() as fourth:
            assert fourth.end() == b""
        for each in every:
            each.close()


def test_a_program_that_ends_without_serving_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text("print('nothing to serve')")
    command = ["-m", "manyhands", "run", "--workers", "2", str(file)]
    with Program(command, tmp_path) as program:
        assert program.wait() == 3
        assert program.errors() == (
            "manyhands: the workers cannot serve: the program ended before it served, with the status 0\n"
        )


BY_A_SERVER = """
from manyhands import Server, {name}

server = Server(lambda *_: None, "tcp://127.0.0.1:0", workers={workers})
{serve}
"""


@pytest.mark.parametrize(
    ("name", "workers", "serve"),
    [
        ("events", 0, "server.run()"),
        ("StreamRequestHandler", 0, "server.run()"),
        ("events", 2, "server.run()"),
        ("StreamRequestHandler", 2, "server.start()"),
    ],
)
def test_a_program_that_serves_by_a_server_of_its_own_is_refused_in_a_sentence(
    tmp_path: Path, name: str, workers: int, serve: str
) -> None:
    text = BY_A_SERVER.format(name=name, workers=workers, serve=serve)
    with run_command.started(tmp_path, text) as program:
        assert program.wait() == 3
        advice = "run it" if workers else "give that workers=N, and run it"
        assert program.errors() == (
            "manyhands: the workers cannot serve: the program serves by manyhands.Server, which has workers "
            f"of its own: {advice} without manyhands run --workers\n"
        )


def test_a_port_that_is_taken_is_an_error_of_the_program_s(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file = tmp_path / "program.py"
        file.write_text(
            PROGRAM.format(kind="TCPServer", handler="Pid").replace(
                '("127.0.0.1", 0)', repr(taken.getsockname())
            )
        )
        with Program(["-m", "manyhands", "run", "--workers", "2", str(file)], tmp_path) as program:
            assert program.wait() == 3
            errors = program.errors()
            assert "OSError: [Errno 98] Address already in use" in errors
            assert errors.endswith("the program ended before it served, with the status 1\n")


RESUMABLE = """
import os
import socketserver
from manyhands.framing import FramedRequestHandler

class Pid(FramedRequestHandler):
    resumable = True

    def handle(self):
        while (line := self.read_line()) is not None:
            self.wfile.write(b"%d %s\\n" % (os.getpid(), line))

if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pid) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
"""


def test_its_connections_go_on_in_new_workers_if_its_handlers_can_be_left(tmp_path: Path) -> None:
    with run_command.running(tmp_path, RESUMABLE) as run, run.call() as caller:
        before = caller.ask()
        run.program.send(signal.SIGHUP)
        wait_until(lambda: caller.ask() != before)
        assert run.status()["books"]["open"] == 1
