"""What a handler raised is reported, whatever state the process is in."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands.testing import call, everything
from tests.support import full_pipe
from tests.support.waiting import PATIENCE

WITHOUT_A_DESCRIPTOR = """
import os, resource
from manyhands.runtime.error_reports import report
reader, writer = os.pipe()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (writer + 1, hard))
try:
    1 / 0
except ZeroDivisionError:
    report(("127.0.0.1", 1))
"""


def test_an_error_is_reported_when_no_descriptor_is_left() -> None:
    program = [sys.executable, "-c", WITHOUT_A_DESCRIPTOR]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "during processing of request from ('127.0.0.1', 1)" in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr


FAILING = """
import asyncio, sys
from manyhands import socketserver

class Fails(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line == b"raise\\n":
                raise ValueError("x" * 5000)
            if line == b"cancel\\n":
                raise asyncio.CancelledError("x" * 5000)  # no Exception: its thread's end, or its fiber's
            self.wfile.write(line)

class Server(socketserver.ThreadingTCPServer):
    engine, is_picky = sys.argv[1], sys.argv[2] == "hook"
    daemon_threads = True
    calls = 0

    def verify_request(self, request, client_address):
        Server.calls += 1
        if self.is_picky and Server.calls % 2 == 0:
            raise ValueError("x" * 5000)
        return True

with Server(("127.0.0.1", 0), Fails) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


SAID = {"handler": b"raise\n", "hook": b"hello\n", "worker": b"cancel\n"}
"""What a client says so that something fails there."""


@contextmanager
def failing(*words: str, stderr: Any) -> Iterator[tuple[str, int]]:
    with subprocess.Popen(
        [sys.executable, "-c", FAILING, *words], stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as program:
        try:
            assert program.stdout is not None
            yield "127.0.0.1", int(program.stdout.readline())
        finally:
            program.kill()


@pytest.mark.parametrize("engine", ["threads", "fibers"])
@pytest.mark.parametrize("where", ["handler", "hook", "worker"])
def test_a_stuck_standard_error_holds_up_no_other_client(engine: str, where: str) -> None:
    reader, writer = os.pipe()
    with failing(engine, where, stderr=writer) as address, call(address) as good:
        good.sendall(b"hello\n")
        assert good.recv(10) == b"hello\n"
        # Far more than the pipe takes.
        for _ in range(30):
            with call(address) as peer:
                peer.sendall(SAID[where])
                if where != "handler":
                    peer.recv(10)
        good.sendall(b"still there?\n")
        assert good.recv(20) == b"still there?\n"
        told = b""
        while b"Error: xxx" not in told and select.select([reader], [], [], PATIENCE)[0]:
            told += os.read(reader, 100_000)
        assert b"Error: xxx" in told
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("engine", ["sequential", "threads", "fibers"])
@pytest.mark.parametrize("where", ["handler", "hook"])
def test_a_full_disk_under_standard_error_ends_no_service(engine: str, where: str) -> None:
    with open("/dev/full", "w") as full, failing(engine, where, stderr=full) as address:  # noqa: PTH123
        for _ in range(4):
            with call(address) as peer:
                peer.sendall(b"raise\n")
                everything(peer)
        with call(address) as peer:
            peer.sendall(b"hello\n")
            assert peer.recv(10) == b"hello\n"


WARNS = """
import sys, threading, warnings
from manyhands import socketserver

warnings.simplefilter("always")
{how}

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)

threading.Thread(target=threading.Event().wait, daemon=True).start()
with socketserver.ForkingTCPServer(("127.0.0.1", 0), Echo) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""
"""Its first fork is worth a warning."""

SHOWN_OTHERWISE = """
warnings.showwarning = lambda message, *_: print(str(message).split()[0], flush=True)
"""


@contextmanager
def warning(how: str, stderr: int) -> Iterator[tuple["subprocess.Popen[str]", tuple[str, int]]]:
    program = [sys.executable, "-c", WARNS.format(how=how)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, ("127.0.0.1", int(process.stdout.readline()))
        finally:
            process.kill()


def test_a_warning_at_a_stuck_standard_error_holds_up_no_accept_loop() -> None:
    with full_pipe() as (_, writer), warning("", writer) as (_, address), call(address) as peer:
        peer.sendall(b"hello\n")
        assert peer.recv(10) == b"hello\n"


def test_a_warning_that_a_program_shows_otherwise_does_not_need_standard_error() -> None:
    with (
        full_pipe() as (_, writer),
        warning(SHOWN_OTHERWISE, writer) as (process, address),
        call(address) as peer,
    ):
        peer.sendall(b"hello\n")
        assert peer.recv(10) == b"hello\n"
        assert process.stdout is not None
        assert process.stdout.readline() == "forking\n"
