"""The open connections, filtered, sorted and cut into pages."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from manyhands.connections.connection import Connection
from manyhands.control.connection_order import Key, Look, Order, Shortlist, listener_of
from manyhands.control.messages import Refusal, written
from manyhands.control.protocol import Code
from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.slices import slices
from manyhands.serving.info import connection_info

ROWS_AT_ONCE = 20
"""Rows that are made and written before the clock is looked at: ten microseconds each."""

MOST_ROOMS, LONGEST_ROOMS = 20, 2000
"""Rooms of a connection that a list names, and the characters of their names, written in ASCII."""


class Entry(NamedTuple):
    """A connection, and the number of its server."""

    server: int
    connection: Connection


class Page(NamedTuple):
    """Some of the connections that match.

    Attributes
    ----------
    items : list of Entry
        Those of this page.
    next : str or None
        The cursor of the next page; None where this is the last one.
    total : int
        How many match.
    open : int
        How many are open.
    keys : list of Key
        By what each of `items` is sorted.
    """

    items: list[Entry]
    next: str | None
    total: int
    open: int
    keys: list[Key]


def page_of(
    looks: Iterable[tuple[Look, list[Connection]]],
    where: Mapping[str, Any],
    sort: str,
    limit: int,
    after: str | None,
) -> Page:
    """Return a page of connections.

    Parameters
    ----------
    looks
        All of them, server by server.
    where
        What they have to be like, by field.
    sort
        The field to sort by, with ``-`` before it in descending order; what is not known comes last.
    limit
        The most on a page.
    after
        The cursor of the page before, with the same `sort`; None for the first page.

    Raises
    ------
    Refusal
        A network or a cursor is none.
    """
    order, tests = Order(sort), [_TESTS[name](wanted) for name, wanted in where.items()]
    # One more than the page has: it tells whether there is another page.
    shortlist = Shortlist(order, limit + 1, None if after is None else order.read(after))
    total = count = 0
    for look, connections in looks:
        count += len(connections)
        for chunk in slices(connections):
            for test in tests:
                chunk = list(filter(test(look), chunk))  # noqa: PLW2901 - fewer each time
            total += len(chunk)
            shortlist.show(look, chunk)
    best = shortlist.first()
    items = [Entry(server, connection) for *_, server, connection in best[:limit]]
    following = order.cursor(best[limit - 1]) if len(best) > limit else None
    return Page(items, following, total, count, [each[:3] for each in best[:limit]])


_Test: TypeAlias = Callable[[Look], Callable[[Connection], bool]]


def _plain(test: Callable[[Connection], bool]) -> _Test:
    return lambda _: test


def _peer(wanted: str) -> _Test:
    if "/" in wanted and wanted[0] in "0123456789abcdefABCDEF:":
        try:
            networks = Networks.parse(wanted)
        except Mistake as mistake:
            raise Refusal(Code.BAD_PARAMS, f"where.peer: {mistake}") from None
        return _plain(lambda connection: connection.client_address in networks)
    return _plain(lambda connection: wanted in format_address(connection.client_address))


def _text(wanted: str) -> _Test:
    def test(connection: Connection) -> bool:
        return (
            wanted in format_address(connection.client_address)
            or wanted in connection.handler
            or wanted in str(connection.number)
        )

    return _plain(test)


def _idle_over(seconds: float) -> _Test:
    def test_in(look: Look) -> Callable[[Connection], bool]:
        told_of, latest = look.traffic.of, time.monotonic() - seconds

        def test(connection: Connection) -> bool:
            since = told_of(connection).silent_since
            return since is not None and since < latest

        return test

    return test_in


_TESTS: dict[str, Callable[[Any], _Test]] = {
    "state": lambda wanted: _plain(lambda connection: connection.state.value == wanted),
    "peer": _peer,
    "listener": lambda wanted: _plain(lambda connection: listener_of(connection) == wanted),
    "handler": lambda wanted: _plain(lambda connection: connection.handler == wanted),
    "room": lambda wanted: _plain(lambda connection: wanted in _rooms(connection)),
    "server": lambda wanted: lambda look: lambda _: look.server == wanted,
    "idle_over": _idle_over,
    "age_over": lambda wanted: _plain(lambda connection: connection.age > wanted),
    "text": _text,
}
"""What connections can be filtered by, and what each makes of the value that is wanted."""


def _rooms(connection: Connection) -> list[str]:
    return connection.core.rooms.rooms_of(connection)


def rows_of(page: Page) -> list[str]:
    """Return the connections of a page as a list has them, written."""
    return [written(row_of(each)) for some in slices(page.items, ROWS_AT_ONCE) for each in some]


def row_of(entry: Entry) -> dict[str, object]:
    """Return a connection as a list has it, with what is known of it now."""
    connection = entry.connection
    info, rooms = connection_info(connection), _rooms(connection)
    return {
        "id": str(info.number),
        "server": entry.server,
        "peer": info.peer,
        "listener": info.listener,
        "handler": info.handler,
        "state": info.state,
        "age": round(info.age, 3),
        "silent": None if info.silent_for is None else round(info.silent_for, 3),
        "in": info.bytes_in,
        "out": info.bytes_out,
        "waiting": connection.waiting,
        "missed": connection.missed,
        "rooms": _first_of(rooms),
        "rooms_total": len(rooms),
        "reason": info.reason,
    }


def _first_of(rooms: list[str]) -> list[str]:
    """Return the first rooms, and at least one: where clients name them, one could be in thousands."""
    shown: list[str] = []
    length = 0
    for room in rooms[:MOST_ROOMS]:
        length += len(ascii(room))
        if shown and length > LONGEST_ROOMS:
            break
        shown.append(room)
    return shown
