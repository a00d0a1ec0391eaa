"""How many columns of a terminal a text takes, and tables that stay straight with Chinese in them."""

import unicodedata

_MOST_PER_COLUMN = 8
"""Characters: a mark on a letter takes no column, and a client may send a thousand of them."""


def width(text: str) -> int:
    """Return how many columns a text takes (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """Shorten a text to so many columns; an ellipsis at its end says that it was.

    Parameters
    ----------
    text : str
        One line, without control characters (`model.escaping.escape` writes them out).
    columns : int
        At least 1.
    """
    if len(text) <= columns * _MOST_PER_COLUMN and width(text) <= columns:
        return text
    left = columns - 1  # of the ellipsis
    for position, character in enumerate(text):
        left -= _width(character)
        if left < 0 or position >= columns * _MOST_PER_COLUMN:
            return f"{text[:position]}…"
    return text


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """Cut a text to so many columns, and fill it up with blanks: behind it, or before it with `right`."""
    shown = cut(text, columns)
    blanks = " " * (columns - width(shown))
    return blanks + shown if right else shown + blanks
