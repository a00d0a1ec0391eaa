"""`manyhands serve` ends when it is told to, whatever its handlers do."""

import select
import signal
import socket
from pathlib import Path

import pytest

from manyhands.cli.end_of_process import AFTER_THE_DRAIN, LOOK_INTERVAL
from manyhands.serving.drain import UNWINDING
from tests.support import Program

HANDLERS = """
import os, threading, time

from manyhands.cli import end_of_process

os.dup2(os.pipe()[0], 0)  # a standard input on which nothing is ever typed

def computes(request, client_address, server):
    request.sendall(b"begun")
    while True:
        pass

def asks(request, client_address, server):
    request.sendall(b"begun")
    input()

def leaves_a_thread(request, client_address, server):
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    request.sendall(b"begun")

def sleeps(request, client_address, server):
    end_of_process.LOOK_INTERVAL = 0.01  # so that it comes first if it may
    request.sendall(b"begun")
    time.sleep(3600)

def waits(request, client_address, server):
    request.sendall(b"begun")
    assert request.recv(100) == b""
    print("the handler has ended", flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stubborn.py").write_text(HANDLERS, encoding="utf-8")
    return tmp_path


def serving(folder: Path, handler: str, engine: str, drain_timeout: str = "0.2") -> Program:
    words = [f"stubborn:{handler}", "--bind", "tcp://127.0.0.1:0"]
    more = ["--engine", engine, "--drain-timeout", drain_timeout]
    return Program(["-m", "manyhands", "serve", *words, *more], folder)


def called(program: Program) -> socket.socket:
    """Call in, and return once the handler has begun."""
    port = int(program.line().rpartition(":")[2])
    client = socket.create_connection(("127.0.0.1", port))
    assert client.recv(5) == b"begun"
    return client


@pytest.mark.parametrize("engine", ["threads", "fibers"])
@pytest.mark.parametrize("handler", ["computes", "asks"])
def test_a_handler_that_does_not_end_does_not_keep_the_process(
    folder: Path, handler: str, engine: str
) -> None:
    with serving(folder, handler, engine) as program, called(program):
        if engine == "fibers":
            # A signal just before a call of C code begins to wait is heard only after it.
            assert "has held up all other fibers" in program.error_line()
        program.send(signal.SIGTERM)
        # No abort of the interpreter (-6), which wants standard input's lock.
        assert program.wait() == 1
        assert engine == "fibers" or handler in program.errors()


def test_a_handler_that_holds_all_others_up_is_named_at_the_end(folder: Path) -> None:
    with serving(folder, "computes", "fibers") as program, called(program):
        program.send(signal.SIGTERM)
        assert program.wait() == 1
        last = program.errors().splitlines()[-1]
        assert last.startswith("manyhands: the server does not come to its end (computes, ")


@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_a_second_signal_ends_what_a_handler_holds_up(folder: Path, engine: str) -> None:
    with serving(folder, "computes", engine, "3600") as program, called(program):
        program.send(signal.SIGTERM)
        program.send(signal.SIGINT)  # two of a kind may arrive as one
        assert program.wait() == 1


def test_a_second_signal_leaves_time_to_name_the_handlers_that_are_cut_off(folder: Path) -> None:
    with serving(folder, "sleeps", "threads", "3600") as program, called(program) as client:
        program.send(signal.SIGTERM)
        # Nothing but time shows that what comes after a drain would be over, if it had begun at once.
        assert not select.select([client], [], [], AFTER_THE_DRAIN + 2 * LOOK_INTERVAL)[0]
        program.send(signal.SIGINT)
        assert program.wait() == 1
        last = program.errors().splitlines()[-1]
        assert last.startswith("manyhands: cut off #1 127.0.0.1:")
        assert ": sleeps, " in last


def test_a_thread_that_a_handler_left_does_not_keep_the_process(folder: Path) -> None:
    with serving(folder, "leaves_a_thread", "threads") as program, called(program):
        program.send(signal.SIGTERM)
        assert program.wait() == 1
        assert "does not come to its end" in program.errors()


def test_a_long_drain_is_waited_for(folder: Path) -> None:
    with serving(folder, "waits", "fibers", "3600") as program, called(program) as client:
        program.send(signal.SIGTERM)
        # Nothing but time shows that the process is not ended: longer than what comes after a drain.
        assert not select.select([client], [], [], AFTER_THE_DRAIN + 2 * LOOK_INTERVAL)[0]
        client.shutdown(socket.SHUT_WR)
        assert program.wait() == 0
        assert program.lines_left() == ["the handler has ended"]


def test_handlers_get_their_time_to_unwind_before_the_process_is_ended() -> None:
    assert AFTER_THE_DRAIN > UNWINDING
