"""Programs under `manyhands run --workers`."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manyhands.control.client import Client
from manyhands.control.client_socket import Lost, Unreachable
from tests.supervisor.kit import Caller
from tests.support.programs import Program
from tests.support.waiting import wait_until

HANDLER = """
import os, signal, socket, ssl, sys, threading, time
import socketserver

class Pid(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"%d %s" % (os.getpid(), line))
"""
"""Says each line back, with the process before it."""

OURS = "from manyhands import socketserver"
"""Imports our classes by our names, in the place of `import socketserver`."""


class Running:
    """A program under `manyhands run --workers 2`, which has said its port."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.port = int(program.line())
        self._place = str(folder / "control")
        # The program has said its port before it came to serve.
        wait_until(self._is_reached)

    def _is_reached(self) -> bool:
        try:
            self.client = Client(self._place)
        except Unreachable:
            return False
        return True

    def call(self) -> Caller:
        return Caller(("127.0.0.1", self.port))

    def asked(self) -> int:
        with self.call() as caller:
            return caller.ask()

    def status(self) -> Any:
        return self.client.call("status")

    def workers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.client.call("workers.list")["items"]
        return listed

    def upgrade(self) -> None:
        """Have it upgraded; return when the new program has its own workers."""
        generation = self.status()["generation"]
        self.client.request("upgrade", timeout=60)
        self.client.close()

        def is_upgraded() -> bool:
            try:
                return self._is_reached() and self.status()["generation"] > generation
            except Lost:
                return False  # by the program of before, which was about to go

        wait_until(is_upgraded)


@contextmanager
def running(folder: Path, text: str, *words: str) -> Iterator[Running]:
    """Have a program of this text that serves; it is killed at the end, with all its processes."""
    with started(folder, text, *words) as program:
        yield Running(program, folder)


def started(folder: Path, text: str, *words: str) -> Program:
    """Start a program of this text; `words` are options of `manyhands run`."""
    file = folder / "old_server.py"
    file.write_text(textwrap.dedent(text))
    command = ["-m", "manyhands", "run", "--workers", "2", "--control", str(folder / "control")]
    return Program([*command, *words, str(file)], folder)
