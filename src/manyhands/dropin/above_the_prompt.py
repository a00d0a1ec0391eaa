"""What is printed while a question waits at the terminal: it goes above the question, line by line.

The operator may have begun to type. What was typed is the terminal's until Enter, and cannot be shown again.
So the question's line stays, and moves down by as many rows as are inserted above it.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from manyhands.model.columns import width
from manyhands.model.escaping import escape
from manyhands.runtime.caller import current_thread_or_fiber

_COLOUR_OR_TAB = re.compile(r"(\x1b\[[0-9;:]*m|\t)")
"""What a program writes for a person, and which moves no cursor but to the right."""

_LONGEST_BEGUN = 4096
"""Characters of a line that has not ended, which waits for its end."""

USUAL_COLUMNS = 80
"""The width of a terminal that does not tell its own."""


@contextmanager
def printing_above(
    question: str, label: Callable[[], str]
) -> Iterator[Callable[[str], None] | None]:
    """Print a question, and have what this process prints in the context go above it.

    Parameters
    ----------
    question
        What the terminal's last line then says. Where standard output is no terminal, it is printed alone.
    label
        Returns what stands before each line of the calling thread or fiber.

    Yields
    ------
    callable or None
        Shows a line there, without a label; None where standard output is no terminal.
    """
    streams = [
        _Stream(stream, label) for stream in (sys.stdout, sys.stderr) if _is_terminal(stream)
    ]
    if not streams or not _is_terminal(sys.stdout):
        print(question, end="", flush=True)  # noqa: T201 - asking is what it is for
        yield None
        return
    try:
        # Before the question is there: what another thread prints right after it would stand behind it.
        for stream in streams:
            stream.begin()
        streams[0].print(question)
        yield streams[0].show
    finally:
        for stream in streams:
            stream.end()


class _Stream:
    """A standard stream whose lines go above the question."""

    def __init__(self, stream: Any, label: Callable[[], str]) -> None:
        self._stream = stream
        self._label = label
        self._write: Callable[[str], int] = stream.write
        self._begun: dict[object, tuple[str, str]] = {}
        """What each thread or fiber has printed of a line that has not ended, and its label."""
        self._is_over = False

    def begin(self) -> None:
        # An attribute of the object: whatever holds the stream, such as a handler of `logging`, finds it.
        with suppress(AttributeError):
            self._stream.write = self._take

    def end(self) -> None:
        with suppress(AttributeError):
            del self._stream.write
        self._is_over = True
        self._print_begun()

    def _print_begun(self) -> None:
        # One at a time, each taken by one thread alone: another may be in the middle of `_take`.
        with suppress(KeyError):
            while True:
                _, (label, line) = self._begun.popitem()
                self.print(f"{label}{_safe(line)}\n")

    def _take(self, text: str) -> int:
        caller = current_thread_or_fiber()
        label, begun = self._begun.pop(caller, (self._label(), ""))
        *lines, rest = (begun + text).split("\n")
        if len(rest) > _LONGEST_BEGUN:
            lines, rest = [*lines, rest], ""
        for line in lines:
            self.show(label + _safe(line))
        if rest:
            self._begun[caller] = label, rest
            # The end has come meanwhile, and has not seen this one.
            if self._is_over:
                self._print_begun()
        return len(text)

    def print(self, text: str) -> None:
        """Print a text where the cursor is."""
        self._write(text)
        self._stream.flush()

    def show(self, line: str) -> None:
        """Show a line above the question."""
        rows = max(1, -(-width(_COLOUR_OR_TAB.sub("", line)) // _columns()))
        # Room below, if need be by scrolling (IND); back up, and the place kept (DECSC); rows inserted (IL),
        # the line in them; and down to where the question is now (DECRC). See ECMA-48, the VT100's manual.
        room = "\x1bD" * rows + f"\x1b[{rows}A\x1b7\r\x1b[{rows}L"
        self.print(f"{room}{line}\x1b8\x1b[{rows}B")


def escape_but_colours(text: str) -> str:
    """Write control characters as `escape` does, but for tabs and colours (SGR, ECMA-48 8.3.117)."""
    if text.isprintable():
        return text
    return "".join(
        part if n % 2 else escape(part) for n, part in enumerate(_COLOUR_OR_TAB.split(text))
    )


def _safe(line: str) -> str:
    """Return a line as a terminal would show it in a row of its own; what else it would do is escaped.

    A handler may print what its client says, and that must not draw over the label, or the question.
    """
    seen = line.rstrip("\r").rpartition("\r")[2].expandtabs()
    # A colour ends with its line.
    end = "\x1b[0m" if "\x1b[" in seen else ""
    return escape_but_colours(seen) + end


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or USUAL_COLUMNS
    except (AttributeError, OSError, ValueError):
        return USUAL_COLUMNS
