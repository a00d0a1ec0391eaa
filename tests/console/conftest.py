"""Servers in processes of their own, with a control socket, and clients of theirs."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import Program, write_handlers
from tests.support.waiting import PATIENCE

SAY = b"hello\n"


class Serving:
    """`manyhands serve` on a Unix socket, whose clients choose their own names."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.control = str(folder / "control.sock")
        self._address = str(folder / "echo.sock")
        self._folder = folder
        self._arguments = arguments
        self._stack = ExitStack()
        self._clients = 0
        self.program = self._started()

    def _started(self) -> Program:
        serve = [
            "-m",
            "manyhands",
            "serve",
            "handlers.py:Echo",
            "--bind",
            f"unix://{self._address}",
        ]
        program = Program([*serve, "--control", self.control, *self._arguments], self._folder)
        self._stack.enter_context(program)
        program.line()
        return program

    def call(self, name: str = "") -> socket.socket:
        """Return a client whose handler has answered it; its name is what the server calls it."""
        self._clients += 1
        client = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        client.settimeout(PATIENCE)
        client.bind(f"\0{name or f'client {self._clients}'} {self._folder}")
        client.connect(self._address)
        client.sendall(SAY)
        assert client.recv(len(SAY)) == SAY
        return client

    def kill(self) -> None:
        """Kill the server."""
        self.program.kill()

    def start_anew(self) -> None:
        """Start it once more, in another process."""
        self.program = self._started()

    def close(self) -> None:
        self._stack.close()


Serve = Callable[..., Serving]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    write_handlers(tmp_path)
    with ExitStack() as stack:

        def serve(*arguments: str) -> Serving:
            serving = Serving(tmp_path, *arguments)
            stack.callback(serving.close)
            return serving

        yield serve
