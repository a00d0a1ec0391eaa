"""`ask`: `input()` for handlers, where several may want the operator's answer at the same time.

`input()` in several threads has the second prompt wait, unseen, for the first; nobody can tell whose
question is on the screen; and a thread that still waits in it when the interpreter exits kills it ("Fatal
Python error: could not acquire lock for stdin"). `ask` shows one question at a time, each labelled with the
client that it is about, across threads and forked processes; and it holds no lock that the exit needs.

An operator who talks with many clients at length wants the desk: ``manyhands chat``.
"""

import builtins
import fcntl
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from manyhands.connections.conversation import Conversation, current
from manyhands.listening.bind import describe
from manyhands.runtime.fork_hooks import renew_in_copies


class _Turn:
    """Whose turn it is at the terminal: one thread of one process at a time."""

    def __init__(self) -> None:
        # Made before any fork, so that children share it. A record lock ends with the process that holds
        # it, whatever ends that.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - kept for the life of the process
        self._start_anew()
        renew_in_copies(self, _Turn._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0
        """How many threads of this process wait for their turn."""

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and have it for the time of the context."""
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

    In a handler the prompt is preceded by the conversation's number and the client's address. Questions
    that come meanwhile wait for their turn; how many do is part of the label.

    Parameters
    ----------
    prompt
        What to ask.

    Raises
    ------
    EOFError
        When standard input has ended.

    Notes
    -----
    Thread-safe, and safe in forked handlers. Reads byte by byte, so that nothing of the next answer is
    lost in a buffer.
    """
    with _turn.take():
        question = f"{_label(current())}{prompt}"
        descriptor = _standard_input()
        if descriptor is None:
            return _input(question)
        print(question, end="", flush=True)  # noqa: T201 - asking is what it is for
        return _read_line(descriptor)


def take_over_input() -> None:
    """Make `input()` in handlers the same as `ask`; everywhere else it stays as it is."""

    def input_or_ask(prompt: object = "", /) -> str:
        return _input(prompt) if current() is None else ask(prompt)

    builtins.input = input_or_ask


def _label(conversation: Conversation | None) -> str:
    if conversation is None:
        return ""
    others = f", {_turn.waiting} more waiting" if _turn.waiting else ""
    return f"[#{conversation.number} {describe(conversation.client_address)}{others}] "


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
