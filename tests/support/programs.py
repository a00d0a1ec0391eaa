"""Programs in processes of their own."""

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import manyhands

from .waiting import PATIENCE

SRC = Path(manyhands.__file__).parents[1]
ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """Return an environment in which this manyhands and these tests can be imported."""
    # Unbuffered output would hide what a forked child loses or says twice.
    # Programs of users keep what is compiled of their modules, and a reload is to find the new ones.
    kept = os.environ.keys() - {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    inherited = {name: os.environ[name] for name in kept}
    return {**inherited, "PYTHONPATH": os.pathsep.join([str(SRC), str(ROOT)])}


def python(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the interpreter with arguments to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )


def run_python(program: str, *arguments: str, folder: Path | None = None) -> str:
    """Run a program text; return what it printed on standard output. It must succeed."""
    finished = python("-c", textwrap.dedent(program), *arguments, folder=folder)
    assert finished.returncode == 0, finished.stderr + finished.stdout
    return finished.stdout


class Program:
    """A program that runs, in a process group of its own, while the test talks with it."""

    def __init__(
        self, arguments: Sequence[str], folder: Path | None = None, inherited: Sequence[int] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=environment(),
            start_new_session=True,
            pass_fds=inherited,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self) -> str:
        """Return the next line of its standard output."""
        try:
            return self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            self.kill()
            raise AssertionError(f"it said nothing more; stderr: {self.errors()}") from None

    def has_line(self) -> bool:
        """Tell whether a line of its standard output is there to be returned."""
        return not self._lines.empty()

    def lines_left(self) -> list[str]:
        """Return what else it had written when it ended."""
        self._reader.join(PATIENCE)
        return [self._lines.get() for _ in range(self._lines.qsize())]

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children, as a terminal does with Ctrl-C."""
        os.killpg(self.pid, number)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait for its end; return its status."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end; stderr: {self.errors()}") from None

    def error_line(self) -> str:
        """Wait for the next line of its standard error, and return it."""
        assert self._process.stderr is not None
        return self._process.stderr.readline().rstrip("\n")

    def errors(self) -> str:
        """Return all that it wrote on standard error and was not read yet, once it has ended."""
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
