"""`ask`: `input()` for handlers, several of which may want the operator's answer at the same time.

With `input()` in several threads the second prompt waits, unseen, for the first; the screen does not say
which client a question is about; and a thread that still waits in it when the interpreter exits crashes that
("Fatal Python error: could not acquire lock for stdin"). `ask` shows one question at a time, across threads,
fibers and forked processes, labelled with its client; and it holds no lock that the exit needs. At a terminal
what is printed meanwhile goes above the question.

For one operator who talks with many clients at length there is the desk: ``manyhands chat``.
"""

import builtins
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection, current_connection
from manyhands.dropin.above_the_prompt import escape_but_colours, printing_above
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.caller import hub_of_fiber
from manyhands.runtime.shared_turn import turn_at_terminal
from manyhands.runtime.sockets import descriptor_of, is_ready

LOOK_INTERVAL = 0.5
"""Seconds between two looks whether the client that a question is about is still there."""

_input = builtins.input


def ask(prompt: object = "") -> str:
    """Ask the operator at the terminal, and return the line typed, without its newline.

    In a handler the prompt is preceded by the connection's number, the client's address, and the number of
    questions that wait meanwhile. At a terminal, what this process prints until the answer is there goes
    above the prompt, with the client's label where a handler prints it; and a client that hangs up meanwhile
    is named.

    Parameters
    ----------
    prompt
        The question. In a handler its control characters are escaped, but for newlines, tabs and colours.

    Raises
    ------
    EOFError
        When standard input has ended.

    Notes
    -----
    Thread-safe, and safe in forked handlers; a fiber that asks lets the others run. It reads byte by byte, so
    that no buffer takes a part of the next answer.
    """
    with turn_at_terminal.take():
        connection = current_connection()
        question = f"{_label(connection, _others())}{_safe(str(prompt), connection)}"
        descriptor = _standard_input()
        if descriptor is None:
            return _input(question)
        with printing_above(question, _label_of_caller) as say:
            return _read_line(descriptor, _Client(connection, say))


def take_over_input() -> None:
    """Have `input()` do in handlers what `ask` does; everywhere else it stays as it is."""

    def input_or_ask(prompt: object = "", /) -> str:
        return _input(prompt) if current_connection() is None else ask(prompt)

    builtins.input = input_or_ask


def _others() -> str:
    waiting = turn_at_terminal.waiting
    return f", {waiting} more waiting" if waiting else ""


def _label(connection: Connection | None, others: str = "") -> str:
    if connection is None:
        return ""
    # The path of a Unix socket is its client's to choose.
    peer = format_address(connection.client_address)
    return f"[#{connection.number} {peer}{others}] "


def _safe(prompt: str, connection: Connection | None) -> str:
    """Return the prompt; in a handler, what would move the cursor is escaped: it may quote the client."""
    if connection is None:
        return prompt
    # What marks colours for readline counts no columns here.
    lines = prompt.replace("\x01", "").replace("\x02", "").split("\n")
    return "\n".join(map(escape_but_colours, lines))


def _label_of_caller() -> str:
    return _label(current_connection())


class _Client:
    """The client that a question is about; the operator is told when it hangs up.

    Parameters
    ----------
    connection
        Its connection, if it has one.
    say
        Shows a line above the question; None where there is no terminal to show it at.
    """

    def __init__(self, connection: Connection | None, say: Callable[[str], None] | None) -> None:
        self._connection = connection
        self._say = say

    def look(self) -> None:
        """Tell the operator, once, when it has hung up."""
        if self._say is not None and self._connection is not None and self._has_hung_up():
            self._say(f"{_label(self._connection)}has hung up")
            self._say = None

    def _has_hung_up(self) -> bool:
        assert self._connection is not None  # noqa: S101 - asked above
        descriptor = descriptor_of(self._connection.request)
        # What it has sent and the handler has not read yet does not hide its end (POLLRDHUP, poll(2)).
        return descriptor >= 0 and is_ready(descriptor, select.POLLRDHUP)


def _standard_input() -> int | None:
    """Return the descriptor of standard input, or None when the program has put something else there."""
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _read_line(descriptor: int, client: _Client) -> str:
    line = bytearray()
    while not line.endswith(b"\n"):
        while not _can_be_read(descriptor, LOOK_INTERVAL):
            client.look()
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    if not line:
        raise EOFError("standard input has ended")
    return line.removesuffix(b"\n").decode(sys.stdin.encoding or "utf-8", errors="replace")


def _can_be_read(descriptor: int, seconds: float) -> bool:
    """Wait until there is something to read, at most so many seconds."""
    if hub_of_fiber() is None:
        return is_ready(descriptor, select.POLLIN, seconds)
    gevent: Any = sys.modules["gevent.socket"]
    # Each wait has a price, and a line comes in one piece.
    if not is_ready(descriptor, select.POLLIN):
        try:
            gevent.wait_read(descriptor, seconds, TimeoutError())
        except TimeoutError:
            return False
    return True
