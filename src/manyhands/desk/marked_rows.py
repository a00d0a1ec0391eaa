"""Long lines of callers, whose rows on a screen a person would take for lines of their own."""

from collections.abc import Callable, Iterator

from manyhands.desk.look_alikes import begins_as_a_line
from manyhands.model.columns import width

_MARK = "⋮ "


def with_marked_rows(
    text: str,
    column: int,
    columns: int,
    begins: Callable[[str], object] = begins_as_a_line,
    width: Callable[[str], int] = width,
) -> str:
    """Mark those rows of a long line that a person would take for a line of its own.

    Parameters
    ----------
    text : str
        What follows the label: a caller may have put blanks and another one's label into it.
    column : int
        Where on the screen it begins.
    columns : int
        How wide the screen is.
    begins : callable
        Tells whether a row begins as a line does.
    width : callable
        Returns how many columns a text takes.
    """
    if column + width(text) <= columns:
        return text
    return "".join(_marked(text, column, columns, begins, width))


def _marked(
    text: str,
    column: int,
    columns: int,
    begins: Callable[[str], object],
    width: Callable[[str], int],
) -> Iterator[str]:
    for position, character in enumerate(text):
        if column + width(character) > columns:
            column = 0
            if begins(_row(text, position, columns, width)):
                yield _MARK
                column = len(_MARK)
        yield character
        column += width(character)


def _row(text: str, position: int, columns: int, width: Callable[[str], int]) -> str:
    """Return what fits into one row from a position on, with what takes no room in it."""
    end = position
    while end < len(text) and (columns := columns - width(text[end])) >= 0:
        end += 1
    return text[position:end]
