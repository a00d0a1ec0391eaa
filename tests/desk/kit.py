"""What the desk's tests share: desks and clients as processes, people at terminals, plain callers."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pexpect
import pyte

PATIENCE = 30.0
"""Seconds until a test gives up waiting: nothing here takes a tenth of it, unless it hangs."""

MANYHANDS = [sys.executable, "-m", "manyhands"]

ENGINES = ("threads", "fibers")
"""What a desk can serve its calls in."""


def wait_for(
    condition: Callable[[], Any], what: Callable[[], str], patience: float = PATIENCE
) -> Any:
    """Wait until `condition` gives something true, and return that."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what()}"
        time.sleep(0.01)


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of the user's is read or written."""
    return {
        **os.environ,
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "TERM": "xterm-256color",
        **more,
    }


class Paper(pyte.Screen):
    """A screen that remembers the rows that have been scrolled off it."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self.scrolled_off: list[str] = []

    def index(self) -> None:
        """Move down one row."""
        if self.cursor.y == self.lines - 1:
            self.scrolled_off.append(self.row(0))
        super().index()

    def row(self, number: int) -> str:
        """Return the text of one row."""
        return "".join(self.buffer[number][column].data for column in range(self.columns)).rstrip()


class Person:
    """A person at a terminal that runs a command, and the screen."""

    def __init__(self, command: list[str], home: Path, columns: int = 100, rows: int = 40) -> None:
        self.screen = Paper(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._lock = threading.Lock()
        self.received = b""
        self.child = pexpect.spawn(
            command[0],
            command[1:],
            dimensions=(rows, columns),
            env=environment(home),
            timeout=PATIENCE,
        )
        self.child.delaybeforesend = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.child.child_fd, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.received += data
                self._stream.feed(data)

    def rows(self) -> list[str]:
        """Return everything on the screen and scrolled off it, row by row."""
        with self._lock:
            there = [self.screen.row(number) for number in range(self.screen.lines)]
            return [*self.screen.scrolled_off, *there]

    def text(self) -> str:
        """Return the rows as a text, without those that are empty at the end."""
        return "\n".join(self.rows()).rstrip()

    def types(self, text: str) -> None:
        """Type, without Enter."""
        self.child.send(text)

    def enters(self, text: str) -> None:
        """Type, with Enter."""
        self.child.send(text + "\r")

    def sees(self, text: str) -> str:
        """Wait until `text` is on the screen."""
        return wait_for(
            lambda: text in self.text() and self.text(), lambda: f"{text!r} in\n{self.text()}"
        )

    def sees_no(self, text: str) -> None:
        """Wait until `text` is on the screen no more."""
        wait_for(lambda: text not in self.text(), lambda: f"no {text!r} in\n{self.text()}")

    def leaves(self) -> int:
        """Wait for the end of the command; return its status."""
        self._reader.join(PATIENCE)
        self.child.wait()
        return (
            self.child.exitstatus if self.child.exitstatus is not None else -self.child.signalstatus
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # pexpect's own end gives up on a process that the kernel takes a while to clear away.
        if self.child.isalive():
            self.child.kill(signal.SIGKILL)
            self.child.wait()
        self.child.close()


class Desk:
    """A desk whose operator is a script."""

    def __init__(
        self, home: Path, *arguments: str, program: list[str] = MANYHANDS, **popen: Any
    ) -> None:
        command = [*program, "chat", "--bind", "127.0.0.1:0", *arguments]
        if "--transcript" not in arguments:
            command += ["--transcript", str(home / "transcript.sqlite")]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(home),
            **popen,
        )
        self.output: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.shows(r"open on tcp://127\.0\.0\.1:(\d+)")[1])

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output.append(line.decode().rstrip("\n"))

    def enters(self, *lines: str, end: str = "\n") -> None:
        """Have the operator type lines."""
        self.process.stdin.write(("\n".join(lines) + end).encode())
        self.process.stdin.flush()

    def shows(self, pattern: str) -> re.Match[str]:
        """Wait until a line matches, and return the match."""
        return wait_for(
            lambda: next(filter(None, (re.search(pattern, line) for line in [*self.output])), None),
            lambda: f"{pattern} in\n" + "\n".join(self.output[-50:]),
        )

    def ends(self) -> int:
        """Wait for the end; return the status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def call(self) -> "Caller":
        """Call in."""
        return Caller(("127.0.0.1", self.port))

    def takes_a_call(self) -> "Caller":
        """Call in, and wait until the desk says so: the next caller has the next number."""
        before = self._calls()
        caller = self.call()
        wait_for(lambda: self._calls() > before, lambda: "the call to be taken")
        return caller

    def _calls(self) -> int:
        return sum("has called in" in line for line in [*self.output])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._reader.join()
        self.process.stdout.close()


class Caller:
    """A caller with nothing but a socket."""

    def __init__(self, address: Any, family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._heard = b""

    def says(self, text: str | bytes) -> None:
        """Send exactly this."""
        self.socket.sendall(text.encode() if isinstance(text, str) else text)

    def hears(self) -> str:
        """Return the next line, without its end; ``""`` at the end of the call."""
        while b"\n" not in self._heard:
            data = self.socket.recv(65536)
            if not data:
                return ""
            self._heard += data
        line, self._heard = self._heard.split(b"\n", 1)
        return line.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()


@contextmanager
def running(command: list[str], home: Path, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with pipes for its input and output."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment(home), **popen
    ) as process:
        try:
            yield process
        finally:
            process.kill()
