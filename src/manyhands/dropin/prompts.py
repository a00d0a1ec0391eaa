"""`ask`: `input()` for handlers, several of which may want the operator's answer at the same time.

With `input()` in several threads the second prompt waits, unseen, for the first; the screen does not say
which client a question is about; and a thread that still waits in it when the interpreter exits crashes that
("Fatal Python error: could not acquire lock for stdin"). `ask` shows one question at a time, across threads
and forked processes, labelled with its client; and it holds no lock that the exit needs.

For one operator who talks with many clients at length there is the desk: ``manyhands chat``.
"""

import builtins
import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from manyhands.connections.connection import Connection, current_connection
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.fork_hooks import renew_in_copies


class _Turn:
    """The turn at the terminal: one thread of one process has it at a time."""

    def __init__(self) -> None:
        # Made before any fork, so that children share it. The kernel drops a record lock (fcntl(2)) with the
        # process that holds it, even when that is killed.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - kept for the life of the process
        self._start_anew()
        renew_in_copies(self, _Turn._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0
        """How many threads of this process wait for the turn."""

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and keep it for the time of the context."""
        # Both: a record lock belongs to a process, and keeps none of its threads out.
        self.waiting += 1
        with self._lock:
            self.waiting -= 1
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


_turn = _Turn()
_input = builtins.input


def ask(prompt: object = "") -> str:
    """Ask the operator at the terminal, and return the line typed, without its newline.

    In a handler the prompt is preceded by the connection's number, the client's address, and the number of
    questions that wait meanwhile.

    Parameters
    ----------
    prompt
        The question.

    Raises
    ------
    EOFError
        When standard input has ended.

    Notes
    -----
    Thread-safe, and safe in forked handlers. It reads byte by byte, so that no buffer takes a part of the
    next answer.
    """
    with _turn.take():
        question = f"{_label(current_connection())}{prompt}"
        descriptor = _standard_input()
        if descriptor is None:
            return _input(question)
        print(question, end="", flush=True)  # noqa: T201 - asking is what it is for
        return _read_line(descriptor)


def take_over_input() -> None:
    """Have `input()` do in handlers what `ask` does; everywhere else it stays as it is."""

    def input_or_ask(prompt: object = "", /) -> str:
        return _input(prompt) if current_connection() is None else ask(prompt)

    builtins.input = input_or_ask


def _label(connection: Connection | None) -> str:
    if connection is None:
        return ""
    others = f", {_turn.waiting} more waiting" if _turn.waiting else ""
    return f"[#{connection.number} {format_address(connection.client_address)}{others}] "


def _standard_input() -> int | None:
    """Return the descriptor of standard input, or None when the program has put something else there."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _read_line(descriptor: int) -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    if not line:
        raise EOFError("standard input has ended")
    return line.removesuffix(b"\n").decode(sys.stdin.encoding or "utf-8", errors="replace")
