"""Signals in copies of a server's process that a handler makes: they act as if there were no server."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

import pytest

from manyhands import Server
from tests.support import ENGINES, bound, hear, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


def fork_one_that_waits() -> int:
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)  # whatever becomes of the test
        while True:
            signal.pause()
    return pid


def ends_by(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a copy; tell whether it ends by it, and see to it that it ends."""
    statuses: list[int] = []

    def has_ended() -> bool:
        ended, status = os.waitpid(pid, os.WNOHANG)
        statuses.extend([os.waitstatus_to_exitcode(status)] if ended else [])
        return bool(statuses)

    os.kill(pid, number)
    try:
        wait_until(has_ended, 10)
    except AssertionError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return statuses == [-number]


def answer(work: Callable[[], object]) -> Callable[[Any, Any, Any], None]:
    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(str(work()).encode())

    return handler


def answer_while_running(server: Server) -> bytes:
    """Run a server in this thread, the main one; return what it said to one client."""
    answers: list[bytes] = []

    def be_the_client() -> None:
        answers.append(hear(address))
        server.stop()

    server.listen()
    address = bound(server)
    client = threading.Thread(target=be_the_client)
    server.run(client.start)
    client.join()
    return answers[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_that_a_handler_makes_is_ended_by_sigterm(engine: str) -> None:
    terminated = answer(lambda: ends_by(fork_one_that_waits(), signal.SIGTERM))
    assert answer_while_running(Server(terminated, "tcp://127.0.0.1:0", engine=engine)) == b"True"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_has_the_program_s_own_handlers_of_signals(engine: str) -> None:
    def what_signals_do() -> list[object]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            found = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
            os.write(writing, b"%d%d" % (found == before, signal.set_wakeup_fd(-1) == -1))
            os._exit(0)
        os.waitpid(pid, 0)
        said = os.read(reading, 10)
        os.close(reading)
        os.close(writing)
        return [said]

    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    server = Server(answer(what_signals_do), "tcp://127.0.0.1:0", engine=engine)
    assert answer_while_running(server) == b"[b'11']"


def test_a_pool_of_processes_made_in_a_handler_ends_when_it_is_told_to() -> None:
    def with_a_pool() -> int:
        with get_context("fork").Pool(2) as pool:  # which terminates its workers at the end
            return sum(pool.map(abs, [-1, -2]))

    server = Server(answer(with_a_pool), "tcp://127.0.0.1:0", engine="threads")
    assert answer_while_running(server) == b"3"


def test_a_handler_s_process_still_takes_no_notice_of_a_signal_to_the_group() -> None:
    def signalled() -> str:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        return "goes on"

    server = Server(answer(signalled), "tcp://127.0.0.1:0", engine="processes")
    assert answer_while_running(server) == b"goes on"
