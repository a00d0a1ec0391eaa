"""Lines of a screen as pieces of text, each with a style. A terminal shows all of it and obeys nothing."""

from collections.abc import Iterable
from typing import NamedTuple

from manyhands.model.columns import cut, width
from manyhands.model.escaping import escape

GAP = 3
"""Columns between two things that stand on one line."""


class Piece(NamedTuple):
    """A text within one line, and how it looks.

    Attributes
    ----------
    text : str
        What a terminal can be given: `piece` makes it of what cannot.
    style : str
        ``""``, ``"label"``, ``"strong"``, ``"drawn"``, ``"warning"`` or ``"bad"``.
    """

    text: str
    style: str = ""


Item = tuple[Piece, ...]
"""Pieces that stay together."""

Line = tuple[Piece, ...]


def piece(text: object, style: str = "") -> Piece:
    """Return a piece of what a server or its client said."""
    return Piece(escape(str(text)), style)


def labelled(label: str, text: object, style: str = "") -> Item:
    """Return a figure with what it is before it."""
    return (piece(f"{label} ", "label"), piece(text, style))


def columns_of(line: Iterable[Piece]) -> int:
    """Return how many columns a line takes."""
    return sum(width(each.text) for each in line)


def text_of(line: Iterable[Piece]) -> str:
    """Return a line without its styles."""
    return "".join(each.text for each in line)


def fitted(line: Iterable[Piece], columns: int) -> Line:
    """Cut a line to so many columns."""
    left, shown = columns, []
    for each in line:
        if left <= 0:
            break
        kept = cut(each.text, left)
        shown.append(Piece(kept, each.style))
        left -= width(kept)
        if kept != each.text:
            break
    return tuple(shown)


def flow(items: Iterable[Item], columns: int, gap: int = GAP) -> list[Line]:
    """Put items side by side, on as many lines as it takes; one that is wider than a line is cut."""
    lines: list[list[Piece]] = []
    used = 0
    for item in items:
        shown = fitted(item, columns)
        needed = columns_of(shown)
        if lines and used + gap + needed <= columns:
            lines[-1] += [Piece(" " * gap), *shown]
            used += gap + needed
        else:
            lines.append([*shown])
            used = needed
    return [tuple(line) for line in lines]
