"""A log that is stuck, full, closed or without a thread costs lines, and neither a client nor the end."""

import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands.testing import ask, call, everything, reset, wait_until
from tests.support import Program, full_pipe
from tests.support.programs import environment
from tests.support.waiting import PATIENCE

HANDLERS = """
    import socketserver, sys, threading, warnings

    class Fails(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.trouble(line.decode().strip())
                self.wfile.write(line)

        def trouble(self, kind):
            if kind == "raise":
                raise ValueError("no way")
            if kind == "print":
                print("x" * 5000, file=sys.stderr, flush=True)
            if kind == "keep a line":
                print("this is written when the process ends")
            if kind == "warn":
                warnings.warn("be warned")
            if kind == "thread":
                thread = threading.Thread(target=self.trouble, args=["raise"])
                thread.start()
                thread.join()
            if kind == "no threads":
                # No address space holds such a stack, so the system refuses each thread from now on.
                threading.stack_size(1 << 47)
            if kind == "threads":
                threading.stack_size(0)
"""

SERVE = (sys.executable, "-m", "manyhands", "serve", "failing:Fails")

HERE = ("--bind", "tcp://127.0.0.1:0", "--drain-timeout", "1")

AFTER_THE_DRAIN = 2.0
"""Seconds: the end of a service takes no longer, whatever its log does."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "failing.py").write_text(textwrap.dedent(HANDLERS), encoding="utf-8")
    return tmp_path


@contextmanager
def serving(
    folder: Path, *words: str, stderr: Any, **more: Any
) -> Iterator[tuple["subprocess.Popen[str]", tuple[str, int]]]:
    command = [*SERVE, *HERE, *words]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=folder,
        env=environment(),
        **more,
    ) as process:
        try:
            assert process.stdout is not None
            yield process, ("127.0.0.1", int(process.stdout.readline().rpartition(":")[2]))
        finally:
            process.kill()


def cause_trouble(address: tuple[str, int], engine: str) -> None:
    """Have all said that a server has to say, while a client that behaves is served."""
    kinds = ["raise", "print", "warn", "thread"]
    with call(address) as good:
        # On a sequential server others would wait for it.
        for kind in kinds if engine != "sequential" else []:
            for _ in range(2):
                with call(address) as peer:
                    peer.sendall(f"{kind}\n".encode())
                    peer.shutdown(socket.SHUT_WR)
                    everything(peer)
                with call(address) as peer:
                    peer.sendall(b"hello\n")
                    assert peer.recv(10)
                    reset(peer)
        good.sendall(b"still there?\n")
        assert good.recv(100) == b"still there?\n"
    assert ask(address) == b"hello\n"


def ends_in_time(process: "subprocess.Popen[str]", drain: float = 0.0) -> int:
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait(PATIENCE)
    assert time.monotonic() - began < drain + AFTER_THE_DRAIN
    return status


FORMS = [(), ("--log", "text", "--access-log"), ("--log", "json")]


@pytest.mark.parametrize("words", FORMS, ids=["plain", "text", "json"])
def test_a_log_that_is_stuck_holds_up_neither_clients_nor_the_end(
    folder: Path, engine: str, words: tuple[str, ...]
) -> None:
    with (
        full_pipe() as (_, writer),
        serving(folder, "--engine", engine, *words, stderr=writer) as (process, address),
    ):
        cause_trouble(address, engine)
        assert ends_in_time(process) == 0


@pytest.mark.parametrize("words", FORMS[:2], ids=["plain", "text"])
def test_a_full_disk_under_the_log_holds_up_neither(
    folder: Path, engine: str, words: tuple[str, ...]
) -> None:
    with (
        open("/dev/full", "w") as full,  # noqa: PTH123
        serving(folder, "--engine", engine, *words, stderr=full) as (process, address),
    ):
        cause_trouble(address, engine)
        assert ends_in_time(process) == 0


def test_a_standard_error_that_is_closed_holds_up_neither(folder: Path, engine: str) -> None:
    more = {"stderr": None, "preexec_fn": lambda: os.close(2)}
    with serving(folder, "--engine", engine, **more) as (process, address):
        cause_trouble(address, engine)
        assert ends_in_time(process) == 0


def test_a_reader_of_the_log_that_has_gone_holds_up_neither(folder: Path, engine: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with serving(folder, "--engine", engine, stderr=writer) as (process, address):
        os.close(writer)
        cause_trouble(address, engine)
        assert ends_in_time(process) == 0


def test_a_log_that_was_full_tells_what_it_lost(folder: Path, engine: str) -> None:
    limit = 2000

    def one_small_file() -> None:
        # A write beyond fails as on a full disk (EFBIG, setrlimit(2)).
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    log = folder / "log"
    with (
        log.open("a") as file,
        serving(
            folder, "--engine", engine, "--access-log", stderr=file, preexec_fn=one_small_file
        ) as (process, address),
    ):
        # The line of each is about a hundred bytes.
        for _ in range(limit // 50):
            assert ask(address) == b"hello\n"
        wait_until(lambda: log.stat().st_size == limit)

        def is_told() -> bool:
            ask(address)
            if "lost here" in log.read_text():
                return True
            if log.stat().st_size == limit:
                # The operator makes room, and the file was opened to append. A quick machine fills it again.
                os.truncate(log, 0)
            return False

        wait_until(is_told)
        assert ends_in_time(process) == 0
    text = log.read_text()
    assert "lines were lost here: standard error could not be written (File too large)" in text


@pytest.mark.parametrize("words", [(), ("--log", "json")], ids=["plain", "json"])
@pytest.mark.parametrize("engine", ["threads", "fibers"])
def test_without_a_thread_for_the_log_the_service_goes_on(
    folder: Path, engine: str, words: tuple[str, ...]
) -> None:
    command = ["-m", "manyhands", "serve", "failing:Fails", *HERE, "--engine", engine, *words]
    with Program(command, folder) as program:
        address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
        with call(address) as peer:
            peer.sendall(b"no threads\n")
            assert peer.recv(20) == b"no threads\n"
            for _ in range(3):
                # On threads there is no worker for it either, and the accept loop says so.
                with call(address) as other:
                    other.sendall(b"raise\n")
                    everything(other)
            peer.sendall(b"threads\n")
            assert peer.recv(20) == b"threads\n"
        wait_until(lambda: ask(address) == b"hello\n")
        with call(address) as other:
            other.sendall(b"raise\n")
            everything(other)
        began = time.monotonic()
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        assert time.monotonic() - began < 1 + AFTER_THE_DRAIN
        assert ("can't start new thread" in program.errors()) == (engine == "threads")


@pytest.mark.parametrize("words", FORMS, ids=["plain", "text", "json"])
def test_resets_are_one_line_and_a_summary(
    folder: Path, engine: str, words: tuple[str, ...]
) -> None:
    command = ["-m", "manyhands", "serve", "failing:Fails", *HERE, "--engine", engine, *words[:2]]
    with Program(command, folder) as program:
        address = ("127.0.0.1", int(program.line().rpartition(":")[2]))
        for _ in range(20):
            with call(address) as peer:
                peer.sendall(b"hello\n")
                assert peer.recv(10)
                reset(peer)
        assert ask(address) == b"hello\n"
        program.send(signal.SIGTERM)
        assert program.wait() == 0
        first, summary = program.errors().splitlines()
    assert "ended under its handler: peer_reset (ConnectionResetError)" in first
    assert "ConnectionLost of 127.0.0.1:" in summary
    assert ", 19 times more within " in summary
    assert ("info" in summary) == bool(words)


def test_the_word_for_a_handler_that_holds_up_fibers_holds_up_none(folder: Path) -> None:
    (folder / "holding.py").write_text(
        textwrap.dedent("""
            import hashlib, socketserver, sys

            class Holds(socketserver.StreamRequestHandler):
                def handle(self):
                    for line in self.rfile:
                        if line == b"hold\\n":
                            hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)
                        self.wfile.write(line)

            with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Holds) as server:
                print(server.server_address[1], flush=True)
                server.serve_forever()
        """)
    )
    run = ["run", "--engine", "fibers", "--hub-block-time", "0.02", "holding.py"]
    with (
        full_pipe() as (_, writer),
        subprocess.Popen(
            [sys.executable, "-m", "manyhands", *run],
            stdout=subprocess.PIPE,
            stderr=writer,
            text=True,
            cwd=folder,
            env=environment(),
        ) as process,
    ):
        assert process.stdout is not None
        try:
            address = ("127.0.0.1", int(process.stdout.readline()))
            for line in (b"hold\n", b"hold\n", b"hello\n"):
                assert ask(address, line) == line
        finally:
            process.kill()


@contextmanager
def stuck_output() -> Iterator[int]:
    with full_pipe() as (_, writer):
        yield writer


@contextmanager
def unread_output() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def full_disk() -> Iterator[int]:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        yield full.fileno()


@contextmanager
def terminal_that_has_gone() -> Iterator[int]:
    keyboard, screen = os.openpty()
    os.close(keyboard)
    yield screen
    os.close(screen)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (stuck_output, "it takes no more"),
        (unread_output, "Broken pipe"),
        (full_disk, "No space left on device"),
        (terminal_that_has_gone, "Input/output error"),
    ],
)
def test_a_standard_output_that_takes_nothing_from_the_start_holds_up_neither(
    folder: Path, engine: str, output: Any, why: str
) -> None:
    with (
        output() as writer,
        # The client calls at once: where this listens is not printed.
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen(
            [*SERVE, "--bind", f"fd://{listener.fileno()}", "--engine", engine],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment(),
            pass_fds=[listener.fileno()],
        ) as process,
    ):
        port = listener.getsockname()[1]
        try:
            with call(("127.0.0.1", port)) as peer:
                for line in (b"hello\n", b"keep a line\n"):
                    peer.sendall(line)
                    assert peer.recv(20) == line
            # On processes the child is at its end, and tries for half a second to say what it kept.
            assert ends_in_time(process, drain=0.5) == 0
            assert process.stderr is not None
            told = process.stderr.read()
        finally:
            process.kill()
    sentence = f"tcp://127.0.0.1:{port} (standard output cannot be written: {why})"
    assert told.splitlines()[0] == f"manyhands: listening on {sentence}"
    assert "Traceback" not in told


def test_a_handler_that_is_stuck_in_standard_output_does_not_keep_the_service(
    folder: Path,
) -> None:
    (folder / "printing.py").write_text(
        textwrap.dedent("""
            import socketserver

            class Prints(socketserver.StreamRequestHandler):
                def handle(self):
                    self.wfile.write(b"begun")
                    for _ in range(100):
                        print("x" * 5000, flush=True)
        """)
    )
    command = ["serve", "printing:Prints", *HERE, "--drain-timeout", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "manyhands", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        line = os.read(process.stdout.fileno(), 1000).decode()
        with call(("127.0.0.1", int(line.splitlines()[0].rpartition(":")[2]))) as peer:
            assert peer.recv(10) == b"begun"
            try:
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE) == 1
            finally:
                process.kill()
