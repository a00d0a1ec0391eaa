"""Which connections are asked for: the filter, the order and the page. The server filters, sorts and cuts."""

import re
import shlex
from collections.abc import Callable, Mapping

from manyhands.model.quantities import read_seconds
from manyhands.model.usage_errors import Mistake, closest

_FROM_THE_HIGHEST = {"age", "silent", "in", "out", "waiting", "missed"}
"""Fields whose greatest values are what is looked for."""

MOST_ROWS = 1000
"""As many connections as the protocol has on one page."""

FILTERS = "room:red idle:60 age:5m state:open peer:10.0.0.0/8 listener:127.0.0.1:8008 handler:Echo server:1"
"""An example of each word of a filter."""


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(text)
    return int(text)


_WORDS: Mapping[str, tuple[str, Callable[[str], object], str]] = {
    "room": ("room", str, "a name"),
    "idle": ("idle_over", read_seconds, "seconds, or 5m, 2h"),
    "age": ("age_over", read_seconds, "seconds, or 5m, 2h"),
    "state": ("state", str, "a state, as open"),
    "peer": ("peer", str, "a part of an address, or a network as 10.0.0.0/8"),
    "listener": ("listener", str, "its address, as 127.0.0.1:8008"),
    "handler": ("handler", str, "its name"),
    "server": ("server", _number, "its number"),
}
"""The words of a filter: what the protocol calls them, how they are read, and what they take."""


def where(text: str) -> dict[str, object]:
    """Read a filter: words as ``room:red``, and a text that peer, handler or number has.

    Raises
    ------
    Mistake
        A word that looks like one of the filter's is none, or does not have the value that it takes.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise Mistake(f"a quotation mark is missing in {text!r}") from None
    found: dict[str, object] = {}
    rest = []
    for word in words:
        name, colon, value = word.partition(":")
        if colon and name in _WORDS:
            key, read, expected = _WORDS[name]
            try:
                found[key] = read(value) if value else _refuse()
            except ValueError:
                raise Mistake(f"{name}: takes {expected}, not {value!r}") from None
        elif colon and (meant := closest(name, _WORDS)):
            raise Mistake(f"there is no {name}: in a filter; did you mean {meant}:?")
        else:
            rest.append(word)
    if rest:
        found["text"] = " ".join(rest)
    return found


def _refuse() -> object:
    raise ValueError


class View:
    """What is on the table now. Not thread-safe.

    Attributes
    ----------
    words : str
        The filter, as it was typed.
    sort : str
        The field that the server sorts by.
    is_descending : bool
        Whether the greatest comes first.
    scope : int or None
        The number of the server that is shown; None: all of the process.
    """

    def __init__(self) -> None:
        self.words = ""
        self.sort = "id"
        self.is_descending = False
        self.scope: int | None = None
        self._where: dict[str, object] = {}
        self._size = 20
        self._pages: list[str | None] = [None]

    def filter(self, words: str) -> None:
        """Show only those that a filter lets through, from the first page on; a `Mistake` changes nothing."""
        self._where = where(words)
        self.words = words.strip()
        self.go_to_first()

    def order(self, by: str) -> None:
        """Sort by a field as the protocol has it: with ``-`` before it the greatest comes first."""
        self.sort = by.removeprefix("-")
        self.is_descending = by.startswith("-")
        self.go_to_first()

    def sort_by(self, field: str) -> None:
        """Sort by a field; the other way round, if it is the one already."""
        if field == self.sort:
            self.is_descending = not self.is_descending
        else:
            self.sort = field
            self.is_descending = field in _FROM_THE_HIGHEST
        self.go_to_first()

    def limit_to(self, server: int | None) -> None:
        """Show the connections of one server only, or of all."""
        self.scope = server
        self.go_to_first()

    def fit(self, rows: int) -> bool:
        """Have so many rows on a page; return whether that is a change."""
        before, self._size = self._size, min(max(rows, 1), MOST_ROWS)
        return before != self._size

    @property
    def page_number(self) -> int:
        """Which page it is, from 1."""
        return len(self._pages)

    def go_to_first(self) -> None:
        """Show the first page."""
        self._pages = [None]

    def turn_on(self, cursor: str | None) -> bool:
        """Show the next page, which begins at the cursor; return False where there is none."""
        if cursor is None:
            return False
        self._pages.append(cursor)
        return True

    def turn_back(self) -> bool:
        """Show the page before; return False on the first one."""
        if len(self._pages) == 1:
            return False
        self._pages.pop()
        return True

    def params(self) -> dict[str, object]:
        """Return the parameters of `connections.list`."""
        scope = {} if self.scope is None else {"server": self.scope}
        cursor = self._pages[-1]
        return {
            "where": {**scope, **self._where},
            "sort": f"-{self.sort}" if self.is_descending else self.sort,
            "limit": self._size,
            **({} if cursor is None else {"after": cursor}),
        }
