"""The columns of the table of connections: which fit, how wide each is, and what stands in its cells."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from manyhands.console.figures import Connection
from manyhands.model.columns import cut, padded
from manyhands.model.escaping import escape
from manyhands.model.quantities import age, count, size


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes
    ----------
    field : str
        What the protocol sorts by; ``""`` where it does not sort by this.
    title : str
        Its heading.
    columns : int
        How wide it is on the screen at least.
    cell : callable
        Returns the text of a cell.
    is_figure : bool
        Whether it stands at the right.
    most : int
        How wide it is at most, where there is room.
    """

    field: str
    title: str
    columns: int
    cell: Callable[[Connection], str]
    is_figure: bool = False
    most: int = 0

    def text(self, connection: Connection) -> str:
        """Return a cell, filled up or cut to the width of the column, with nothing that a terminal obeys."""
        return padded(escape(self.cell(connection)), self.columns, right=self.is_figure)

    def heading(self, sort: str, *, is_descending: bool) -> str:
        """Return the heading, with an arrow if the connections are sorted by this field."""
        arrow = ("▼" if is_descending else "▲") if self.field and self.field == sort else ""
        title = cut(
            f"{arrow}{self.title}" if self.is_figure else f"{self.title}{arrow}", self.columns
        )
        return padded(title, self.columns, right=self.is_figure)


def _state(connection: Connection) -> str:
    return f"{connection.state}: {connection.reason}" if connection.reason else connection.state


def _missed(connection: Connection) -> str:
    return count(connection.missed)


_COLUMNS = (
    Column("id", "id", 7, lambda c: c.id, is_figure=True),
    Column("server", "s", 2, lambda c: str(c.server), is_figure=True),
    Column("peer", "peer", 21, lambda c: c.peer, most=47),
    Column("handler", "handler", 10, lambda c: c.handler, most=30),
    Column("state", "state", 8, _state, most=20),
    Column("age", "age", 9, lambda c: age(c.age), is_figure=True),
    Column("silent", "silent", 9, lambda c: age(c.silent), is_figure=True),
    Column("in", "in", 6, lambda c: size(c.bytes_in), is_figure=True),
    Column("out", "out", 6, lambda c: size(c.bytes_out), is_figure=True),
    Column("waiting", "waiting", 8, lambda c: size(c.waiting), is_figure=True),
    Column("missed", "missed", 7, _missed, is_figure=True),
    Column("", "rooms", 10, lambda c: c.rooms, most=30),
    Column("listener", "listener", 15, lambda c: c.listener, most=30),
)
"""All, from the left."""

_BY_IMPORTANCE = (
    "id",
    "peer",
    "age",
    "silent",
    "in",
    "out",
    "state",
    "waiting",
    "handler",
    "s",
    "rooms",
    "missed",
    "listener",
)
"""Titles: what is left out first on a narrow terminal stands last."""


def fitting(columns: int, sort: str, *, has_servers: bool) -> Sequence[Column]:
    """Return the columns for a table that is so wide, one blank between two of them.

    Parameters
    ----------
    columns : int
        The width.
    sort : str
        The field that is sorted by; its column is always shown.
    has_servers : bool
        Whether connections are of several servers.
    """
    by_title = {column.title: column for column in _COLUMNS}
    wanted = [by_title[title] for title in _BY_IMPORTANCE if has_servers or title != "s"]
    wanted.sort(key=lambda column: column.title != "id" and column.field != sort)
    left = columns + 1
    chosen: list[str] = []
    for column in wanted:
        if chosen and column.columns + 1 > left:
            break
        chosen.append(column.title)
        left -= column.columns + 1
    return _widened([column for column in _COLUMNS if column.title in chosen], left)


def _widened(columns: list[Column], left: int) -> list[Column]:
    """Give the room that is left to the columns that can use it, a column of the screen to each in turn."""
    more = [0] * len(columns)
    while left > 0:
        growing = [n for n, c in enumerate(columns) if c.columns + more[n] < c.most]
        if not growing:
            break
        for n in growing[:left]:
            more[n] += 1
        left -= len(growing[:left])
    return [
        Column(c.field, c.title, c.columns + n, c.cell, c.is_figure, c.most)
        for c, n in zip(columns, more, strict=True)
    ]
