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
    is_cut_last : bool
        Whether it stays whole as long as others can be cut.
    is_spare : bool
        Whether it is left out where there is no place for it; of several, the first goes first.
    """

    heading: str
    value: Callable[[Mapping[str, Any]], object]
    is_number: bool = False
    is_cut_last: bool = False
    is_spare: bool = False


def field(
    name: str, heading: str = "", *, is_cut_last: bool = False, is_spare: bool = False
) -> Column:
    """Return the column of a field that holds a text."""
    return Column(
        heading or name.upper(),
        lambda item: item.get(name),
        is_cut_last=is_cut_last,
        is_spare=is_spare,
    )


def figure(name: str, written: Callable[[Any], str], heading: str = "") -> Column:
    """Return the column of a field that holds a number, which `written` writes."""
    return Column(heading or name.upper(), lambda item: written(item.get(name)), is_number=True)


def table(
    columns: Sequence[Column], items: Sequence[Mapping[str, Any]], look: Look
) -> Iterator[str]:
    """Yield the lines of a table: the headings, and one for each item."""
    texts = {
        column: [column.heading, *(_shown(column.value(item)) for item in items)]
        for column in columns
    }
    widths = {column: max(map(width, cells)) for column, cells in texts.items()}
    if look.columns is not None:
        _narrow(widths, look.columns)
    headings, *rows = zip(*(texts[column] for column in widths), strict=True)
    yield look.heading(_row(headings, widths))
    for row in rows:
        yield _row(row, widths)


def facts(pairs: Sequence[tuple[str, object]], look: Look) -> Iterator[str]:
    """Yield lines of a name and what is so, below each other; without those of which nothing is known."""
    known = [(name, _shown(value)) for name, value in pairs if value not in {None, ""}]
    longest = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        # Not cut: each is there once, and a terminal breaks the line.
        yield f"{look.heading(name.ljust(longest))}{_GAP}{value}"


def _shown(value: object) -> str:
    return "-" if value is None else escape(str(value))


def _narrow(widths: dict[Column, int], most: int) -> None:
    """Have a table fit into so many columns of the terminal, by what matters least first."""
    for column in [each for each in widths if each.is_spare]:
        if _surplus({each: _least(each, size) for each, size in widths.items()}, most) <= 0:
            break
        del widths[column]
    _cut(widths, most, [each for each in widths if not each.is_number and not each.is_cut_last])
    _cut(widths, most, [each for each in widths if each.is_cut_last])


def _least(column: Column, size: int) -> int:
    return size if column.is_number or column.is_cut_last else min(size, _LEAST)


def _surplus(widths: Mapping[Column, int], most: int) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1) - most


def _cut(widths: dict[Column, int], most: int, texts: Sequence[Column]) -> None:
    """Take columns of the terminal from the texts that have most of them."""
    for _ in range(_surplus(widths, most)):
        widest = max(texts, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= _LEAST:
            return
        widths[widest] -= 1


def _row(cells: Sequence[str], widths: Mapping[Column, int]) -> str:
    placed = zip(cells, widths.items(), strict=True)
    filled = [padded(cell, size, right=column.is_number) for cell, (column, size) in placed]
    # Blanks at the end of a line are in the way when it is copied.
    return _GAP.join(filled).rstrip()
