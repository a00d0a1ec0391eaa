"""Tables and lists of facts for people: aligned, cut to the terminal, coloured where that is wanted.

What they show comes from clients too: it is escaped here, and nowhere else.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from manyhands.model.columns import padded, width
from manyhands.model.escaping import escape

_GAP = "  "

_LEAST = 8
"""Columns that a text keeps, however narrow the terminal is."""


class Look(NamedTuple):
    """How an output is written.

    Attributes
    ----------
    columns : int or None
        How many columns there are; None where lines may have any length.
    is_coloured : bool
        Whether colours are shown.
    """

    columns: int | None
    is_coloured: bool

    @classmethod
    def of_standard_output(cls) -> "Look":
        """Return that of standard output: a terminal has its columns, and colours unless NO_COLOR is set."""
        if not sys.stdout or not sys.stdout.isatty():
            return cls(None, is_coloured=False)
        # https://no-color.org: present and not empty.
        is_coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(shutil.get_terminal_size().columns, is_coloured)

    def heading(self, text: str) -> str:
        """Write a heading."""
        return self._with("1", text)

    def warning(self, text: str) -> str:
        """Write what an operator should notice."""
        return self._with("33", text)

    def _with(self, number: str, text: str) -> str:
        # Select Graphic Rendition (ECMA-48, section 8.3.117).
        return f"\x1b[{number}m{text}\x1b[0m" if self.is_coloured and text else text


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    heading : str
        Its heading.
    value : callable
        Returns what it shows of an item.
    is_number : bool
        Whether it is aligned to the right, and never cut.
    """

    heading: str
    value: Callable[[Mapping[str, Any]], object]
    is_number: bool = False


def field(name: str, heading: str = "") -> Column:
    """Return the column of a field that holds a text."""
    return Column(heading or name.upper(), lambda item: item.get(name))


def figure(name: str, written: Callable[[Any], str], heading: str = "") -> Column:
    """Return the column of a field that holds a number, which `written` writes."""
    return Column(heading or name.upper(), lambda item: written(item.get(name)), is_number=True)


def table(
    columns: Sequence[Column], items: Sequence[Mapping[str, Any]], look: Look
) -> Iterator[str]:
    """Yield the lines of a table: the headings, and one for each item."""
    rows = [[_shown(column.value(item)) for column in columns] for item in items]
    headings = [column.heading for column in columns]
    widths = [max(map(width, cells)) for cells in zip(headings, *rows, strict=True)]
    if look.columns is not None:
        _narrow(widths, columns, look.columns)
    yield look.heading(_row(headings, columns, widths))
    for row in rows:
        yield _row(row, columns, widths)


def facts(pairs: Sequence[tuple[str, object]], look: Look) -> Iterator[str]:
    """Yield lines of a name and what is so, below each other; without those of which nothing is known."""
    known = [(name, _shown(value)) for name, value in pairs if value not in {None, ""}]
    longest = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        # Not cut: each is there once, and a terminal breaks the line.
        yield f"{look.heading(name.ljust(longest))}{_GAP}{value}"


def _shown(value: object) -> str:
    return "-" if value is None else escape(str(value))


def _narrow(widths: list[int], columns: Sequence[Column], most: int) -> None:
    """Take columns of the terminal from the texts that have most of them, until the table fits."""
    surplus = sum(widths) + len(_GAP) * (len(widths) - 1) - most
    while surplus > 0:
        texts = [at for at, column in enumerate(columns) if not column.is_number]
        widest = max(texts, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= _LEAST:
            return
        widths[widest] -= 1
        surplus -= 1


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    placed = zip(cells, columns, widths, strict=True)
    filled = [padded(cell, size, right=column.is_number) for cell, column, size in placed]
    # Blanks at the end of a line are in the way when it is copied.
    return _GAP.join(filled).rstrip()
