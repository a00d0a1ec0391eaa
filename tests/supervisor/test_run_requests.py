"""Programs under `manyhands run --workers` that call `handle_request` themselves, again and again."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.supervisor.run_command import HANDLER, OURS, Running, running
from tests.support.waiting import PATIENCE, wait_until

PROGRAM = (
    HANDLER
    + """
class Count(socketserver.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(b"%d %s" % (os.getpid(), self.rfile.read()))

server = socketserver.{kind}(("127.0.0.1", 0), {handler})
server.timeout = {timeout}
server.handle_timeout = lambda: print("timeout", flush=True)
print(server.server_address[1], flush=True)
try:
    while True:
        server.handle_request()
finally:
    print("over", flush=True)
"""
)


def text(kind: str, timeout: float | None = None) -> str:
    handler = "Count" if "UDP" in kind else "Pid"
    return PROGRAM.format(kind=kind, handler=handler, timeout=timeout)


def asked(run: Running, kind: str) -> int:
    if "UDP" not in kind:
        return run.asked()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(PATIENCE)
        sender.sendto(b"hi", ("127.0.0.1", run.port))
        return int(sender.recv(100).split()[0])


KINDS = ["TCPServer", "ThreadingTCPServer", "UDPServer"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("timeout", [None, 0.05])
def test_its_loop_is_served_in_all_workers_and_comes_to_its_end(
    tmp_path: Path, kind: str, timeout: float | None
) -> None:
    with running(tmp_path, text(kind, timeout)) as run:
        wait_until(lambda: len({asked(run, kind) for _ in range(2)}) == 2)
        before = {asked(run, kind) for _ in range(4)}
        run.client.request("reload", timeout=60)
        if "UDP" in kind:
            # An old worker may still read a datagram when the new ones do.
            wait_until(lambda: before.isdisjoint({asked(run, kind) for _ in range(4)}))
        else:
            assert asked(run, kind) not in before
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0
        lines = run.program.lines_left()
        assert lines.count("over") == 4
        assert ("timeout" in lines) == (timeout is not None)


def test_a_loop_around_our_classes_by_our_names_is_served_in_all_workers(tmp_path: Path) -> None:
    with running(tmp_path, text("TCPServer").replace("import socketserver", OURS)) as run:
        wait_until(lambda: len({run.asked() for _ in range(2)}) == 2)
        run.program.send(signal.SIGTERM)
        assert run.program.wait() == 0
        assert run.program.lines_left().count("over") == 2


def test_a_worker_of_it_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, text("TCPServer")) as run:
        os.kill(victim := run.asked(), signal.SIGKILL)
        wait_until(lambda: all(run.asked() != victim for _ in range(2)))


def test_a_handler_that_serves_has_the_time_of_the_drain(tmp_path: Path) -> None:
    with running(tmp_path, text("TCPServer")) as run, run.call() as caller:
        caller.ask()
        run.program.send(signal.SIGTERM)
        # It reads an end, for it is idle, though its thread is the one that would call for the next request.
        assert caller.end() == b""
        assert run.program.wait() == 0


def test_a_worker_that_waits_for_requests_does_not_hang(tmp_path: Path) -> None:
    with running(tmp_path, text("ThreadingTCPServer"), "--worker-timeout", "1") as run:
        before = {each["pid"] for each in run.workers()}
        # By then one was found, if it stood still for too long.
        wait_until(lambda: all(each["age"] > 4 for each in run.workers()))
        assert {each["pid"] for each in run.workers()} == before


def test_a_program_that_has_had_enough_ends_the_service(tmp_path: Path) -> None:
    program = PROGRAM.replace("while True", "for _ in range(1)").format(
        kind="TCPServer", handler="Pid", timeout=None
    )
    with running(tmp_path, program) as run:
        run.asked()
        assert run.program.wait() == 0
