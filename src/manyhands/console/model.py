"""What `manyhands top` shows: all of it but the screen. What its keys ask of the server is in `actions`."""

from collections.abc import Sequence

from manyhands.console.books import books_of
from manyhands.console.details import lines_of
from manyhands.console.figures import Connection, Json, Page, Server, Status
from manyhands.console.history import History
from manyhands.console.look import Snapshot, Wanted
from manyhands.console.spans import Line, fitted, labelled, span
from manyhands.console.summary import Summary, hub_delay
from manyhands.console.table import Column, fitting
from manyhands.console.view import View
from manyhands.model.quantities import age, count

ACTIONS = {
    "look": "connections.get",
    "close": "connections.close",
    "suspend": "listeners.suspend",
    "limits": "limits.get",
    "tell": "rooms.tell",
}
"""What a person can do with a server beside looking at its connections, and the verb that it takes."""

_WRITING = {"close", "suspend", "tell"}
"""Those that a socket for reading does not do. (Limits may be read.)"""


_LONG = 2.0
"""Seconds between two looks at the connections after which figures are not taken for those of now."""


class Model:
    """The state of the screen. For one thread.

    Parameters
    ----------
    view : View
        Which connections are shown.

    Attributes
    ----------
    view : View
        The same.
    details_of : str or None
        The connection whose details are shown.
    said : str
        What came of the last thing that was asked for.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.details_of: str | None = None
        self.said = ""
        self._snapshot = Snapshot()
        self._histories: dict[int | None, History] = {}

    # What is taken in.

    def take(self, snapshot: Snapshot) -> None:
        """Take the latest snapshot."""
        before, self._snapshot = self._snapshot, snapshot
        if before.session not in {0, snapshot.session}:
            self._begin_anew(snapshot)
        if snapshot.status is not None and snapshot.status is not before.status:
            self._remember(snapshot.status, snapshot.at)

    def _begin_anew(self, snapshot: Snapshot) -> None:
        self._histories.clear()
        self.view.limit_to(None)
        self.details_of = None
        self.said = f"the server has been started anew: {snapshot.hello}"

    def _remember(self, status: Status, at: float) -> None:
        scopes = {None, *(server.number for server in self.all_servers)}
        for gone in self._histories.keys() - scopes:
            del self._histories[gone]
        for scope in scopes:
            servers = self._servers_of(scope)
            self._histories.setdefault(scope, History()).look(
                books_of(servers),
                status.process.cpu_seconds,
                hub_delay(servers),
                at,
            )
        if self.view.scope not in scopes:
            self.view.limit_to(None)

    # What is shown.

    @property
    def session(self) -> int:
        """Which process is shown."""
        return self._snapshot.session

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """The servers of the process."""
        return self._snapshot.status.servers if self._snapshot.status else ()

    @property
    def servers(self) -> tuple[Server, ...]:
        """Those of them that are shown."""
        return self._servers_of(self.view.scope)

    def _servers_of(self, scope: int | None) -> tuple[Server, ...]:
        return tuple(server for server in self.all_servers if scope in {None, server.number})

    @property
    def trouble(self) -> str:
        """Why the figures are old, in a sentence; ``""`` while they are not."""
        return self._snapshot.trouble

    def summary(self, columns: int, most: int, *, has_sparklines: bool = True) -> list[Line]:
        """Return the lines above the table."""
        snapshot = self._snapshot
        if snapshot.hello is None or snapshot.status is None:
            return []
        summary = Summary(
            snapshot.hello,
            snapshot.status,
            self.servers,
            books_of(self.servers),
            self._histories[self.view.scope],
        )
        return summary.lines(columns, most, has_sparklines=has_sparklines)

    def heading(self, columns: int, rest: float = 0.0) -> Line:
        """Return the line that says which connections are in the table.

        Parameters
        ----------
        columns : int
            How wide it may be.
        rest : float
            Seconds until the server is asked for them again, where that is to be said.
        """
        page, view = self.page, self.view
        if page is None:
            return fitted([span(self._snapshot.refusal, "bad")], columns)
        shown: list[Line] = [self._which(page)]
        if page.total != page.open:
            shown.append((span(f", {count(page.open)} open"),))
        direction = "falling" if view.is_descending else "rising"
        shown.append(labelled("  by", f"{view.sort}, {direction}"))
        if view.words:
            shown.append(labelled("  filter", view.words, "warning"))
        if rest >= _LONG:
            shown.append(labelled("  every", age(rest)))
        return fitted([each for item in shown for each in item], columns)

    def _which(self, page: Page) -> Line:
        many = f"{count(page.total)} connection{'' if page.total == 1 else 's'}"
        if self.view.page_number == 1 and page.next is None:
            return (span(many, "strong"),)
        return (span(f"{len(page.items)} of {many}, page {self.view.page_number}", "strong"),)

    @property
    def page(self) -> Page | None:
        """The connections; None before they are there, or when the server refuses to list them so."""
        return self._snapshot.page

    @property
    def is_current(self) -> bool:
        """Whether the page is the one that the view asks for, be it of another length, and not one before."""
        asked = self._snapshot.wanted
        return asked is not None and _place(asked.connections) == _place(self.view.params())

    @property
    def connections(self) -> Sequence[Connection]:
        """Those on the page."""
        return self._snapshot.page.items if self._snapshot.page else ()

    def columns(self, columns: int) -> Sequence[Column]:
        """Return the columns of the table on a screen that is so wide."""
        has_servers = len(self.all_servers) > 1 and self.view.scope is None
        return fitting(columns, self.view.sort, has_servers=has_servers)

    def details(self) -> list[Line]:
        """Return the lines about the connection whose details are shown."""
        snapshot = self._snapshot
        is_asked = snapshot.wanted is not None and snapshot.wanted.details_of == self.details_of
        if not is_asked or self.details_of is None:
            return []
        if snapshot.ending:
            return [(span(snapshot.ending, "warning"),)]
        return lines_of(snapshot.details or {})

    # What is asked for.

    def wanted(self) -> Wanted:
        """Return what a look is to ask for."""
        return Wanted(self.view.params(), self.details_of)

    def may(self, action: str) -> bool:
        """Tell whether the server does one of `ACTIONS`, over this socket."""
        hello, verbs = self._snapshot.hello, self._snapshot.verbs
        if hello is None or (verbs and ACTIONS[action] not in verbs):
            return False
        return action not in _WRITING or self.may_write

    @property
    def may_write(self) -> bool:
        """Whether this socket lets its clients change anything."""
        return self._snapshot.hello is not None and "write" in self._snapshot.hello.may

    def turn(self, step: int) -> bool:
        """Show the next page, with -1 the one before, with 0 the first; return False where there is none."""
        if step == 0:
            self.view.go_to_first()
            return True
        if not self.is_current:
            return False  # its cursor is of another order
        if step < 0:
            return self.view.turn_back()
        return self.view.turn_on(self.page.next if self.page else None)

    def sort_by_neighbour(self, step: int, columns: int) -> None:
        """Sort by the column that stands so many further to the right, of those on so wide a screen."""
        fields = [column.field for column in self.columns(columns) if column.field]
        position = fields.index(self.view.sort) if self.view.sort in fields else 0
        self.view.sort_by(fields[(position + step) % len(fields)])

    def next_scope(self) -> None:
        """Show the next server of the process; after the last one, all of them."""
        numbers = [None, *(server.number for server in self.all_servers)]
        if len(numbers) > 2:
            self.view.limit_to(numbers[(numbers.index(self.view.scope) + 1) % len(numbers)])


def _place(params: Json) -> dict[str, object]:
    """Return where a page is: all but its length."""
    return {name: value for name, value in params.items() if name != "limit"}
