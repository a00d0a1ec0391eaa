"""Lines of a screen as spans of text, each with a style. A terminal shows all of it and obeys nothing."""

from collections.abc import Iterable
from typing import NamedTuple

from manyhands.model.columns import cut, width
from manyhands.model.escaping import escape

GAP = 3
"""Columns between two things that stand on one line."""


class Span(NamedTuple):
    """A text within one line, and how it looks.

    Attributes
    ----------
    text : str
        What a terminal can be given: `span` makes it of what cannot.
    style : str
        ``""``, ``"label"``, ``"strong"``, ``"drawn"``, ``"warning"`` or ``"bad"``.
    """

    text: str
    style: str = ""


Item = tuple[Span, ...]
"""Spans that stay together."""

Line = tuple[Span, ...]


def span(text: object, style: str = "") -> Span:
    """Return a span of what a server or its client said."""
    return Span(escape(str(text)), style)


def labelled(label: str, text: object, style: str = "") -> Item:
    """Return a figure with what it is before it."""
    return (span(f"{label} ", "label"), span(text, style))


def columns_of(line: Iterable[Span]) -> int:
    """Return how many columns a line takes."""
    return sum(width(each.text) for each in line)


def text_of(line: Iterable[Span]) -> str:
    """Return a line without its styles."""
    return "".join(each.text for each in line)


def fitted(line: Iterable[Span], columns: int) -> Line:
    """Cut a line to so many columns."""
    left, shown = columns, []
    for each in line:
        if left <= 0:
            break
        kept = cut(each.text, left)
        shown.append(Span(kept, each.style))
        left -= width(kept)
        if kept != each.text:
            break
    return tuple(shown)


def flow(items: Iterable[Item], columns: int, gap: int = GAP) -> list[Line]:
    """Put items side by side, on as many lines as it takes; one that is wider than a line is cut."""
    lines: list[list[Span]] = []
    used = 0
    for item in items:
        shown = fitted(item, columns)
        needed = columns_of(shown)
        if lines and used + gap + needed <= columns:
            lines[-1] += [Span(" " * gap), *shown]
            used += gap + needed
        else:
            lines.append([*shown])
            used = needed
    return [tuple(line) for line in lines]
