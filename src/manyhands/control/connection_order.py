"""What connections can be sorted by, and the cursors that lead from one page to the next."""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, NamedTuple, TypeAlias

from manyhands.connections.connection import Connection
from manyhands.connections.traffic import Traffic
from manyhands.control.messages import Refusal
from manyhands.control.protocol import Code
from manyhands.control.recent_traffic import RecentTraffic
from manyhands.model.socket_addresses import format_address


class Look(NamedTuple):
    """A look at the connections of one server.

    Attributes
    ----------
    server : int
        The server's number.
    traffic : RecentTraffic
        What is known of their traffic.
    """

    server: int
    traffic: RecentTraffic


Values: TypeAlias = Callable[[Look, Sequence[Connection]], Iterable[Any]]
"""Looks the values of connections up; None where one is not known."""


def listener_of(connection: Connection) -> str:
    """Return the address that its client called."""
    return format_address(getattr(connection.server, "server_address", None))


def _address_key(connection: Connection) -> str:
    """Return what sorts addresses by their numbers; those without an address of IP come after these."""
    address = connection.client_address
    try:
        host, port = address[:2]
        if ":" in host:
            return f"16{inet_pton(AF_INET6, host.partition('%')[0]).hex()}{port:05}"
        return f"04{inet_pton(AF_INET, host).hex()}{port:05}"
    except (OSError, ValueError, TypeError, LookupError):
        # A name, a path, or a pair of numbers: none of IP.
        return f"~{format_address(address)}"


def _each(value_of: Callable[[Connection], Any]) -> Values:
    return lambda _, connections: map(value_of, connections)


def _server(look: Look, connections: Sequence[Connection]) -> Iterable[int]:
    return [look.server] * len(connections)


def _bytes(name: str) -> Values:
    position = Traffic._fields.index(name)

    def values(look: Look, connections: Sequence[Connection]) -> Iterable[Any]:
        told = look.traffic.of_all(connections)
        # By position: ten thousand of them are looked up each second.
        return [None if (traffic := each[0]) is None else traffic[position] for each in told]

    return values


def _silent(look: Look, connections: Sequence[Connection]) -> Iterable[float | None]:
    since = [each.silent_since for each in look.traffic.of_all(connections)]
    return [None if each is None else -each for each in since]


def _reason(connection: Connection) -> str | None:
    reason = connection.reason
    return None if reason is None else reason.value


_VALUES: dict[str, Values] = {
    "id": _each(attrgetter("number")),
    "server": _server,
    "peer": _each(_address_key),
    "listener": _each(listener_of),
    "handler": _each(attrgetter("handler")),
    "state": _each(attrgetter("state.value")),
    # These two by the moment, which stays where it is from one page to the next.
    "age": _each(lambda connection: -connection.opened_at),
    "silent": _silent,
    "in": _bytes("bytes_in"),
    "out": _bytes("bytes_out"),
    "waiting": _each(attrgetter("waiting")),
    "missed": _each(attrgetter("missed")),
    "reason": _each(_reason),
}

_OF_TEXTS = frozenset({"peer", "listener", "handler", "state", "reason"})

SORTS = tuple(f"{sign}{name}" for name in _VALUES for sign in ("", "-"))
"""What connections can be sorted by, descending with ``-``."""

Key: TypeAlias = tuple[int, Any, int]
"""Whether the value is known, so that what is not comes last; the value; and the number, which is unique."""

Keyed: TypeAlias = tuple[int, Any, int, int, Connection]
"""A key, and what it stands for: the number of the server, and the connection."""


def cursor_after(sort: str, last: Sequence[Any]) -> str:
    """Return the cursor of the page after one that is sorted like this and whose last key is `last`."""
    return base64.urlsafe_b64encode(json.dumps([sort, *last]).encode()).decode()


class Order:
    """One order of connections.

    Parameters
    ----------
    sort
        One of `SORTS`.
    """

    def __init__(self, sort: str) -> None:
        self._sort = sort
        self._is_descending = sort.startswith("-")
        self._known, self._unknown = (1, 0) if self._is_descending else (0, 1)
        self._values = _VALUES[sort.removeprefix("-")]

    def keyed(
        self, look: Look, connections: Sequence[Connection], bound: Keyed | None
    ) -> list[Keyed]:
        """Return connections with their keys; those that surely come after `bound` may be left out."""
        known, server = self._known, look.server
        values = self._values(look, connections)
        pairs = [(value, each) for value, each in zip(values, connections, strict=True)]
        if bound is not None and bound[0] == known:
            # What is not known comes after all that is.
            last = bound[1]
            if self._is_descending:
                pairs = [each for each in pairs if each[0] is not None and each[0] >= last]
            else:
                pairs = [each for each in pairs if each[0] is not None and each[0] <= last]
        return [
            (self._unknown, 0, each.number, server, each)
            if value is None
            else (known, value, each.number, server, each)
            for value, each in pairs
        ]

    def sort(self, keyed: list[Keyed]) -> None:
        """Put connections in their order."""
        # No two have the same number, so connections themselves are never compared.
        keyed.sort(reverse=self._is_descending)

    def after(self, cursor: Key, keyed: list[Keyed]) -> list[Keyed]:
        """Return those that come after a cursor."""
        if self._is_descending:
            return [each for each in keyed if each[:3] < cursor]
        return [each for each in keyed if each[:3] > cursor]

    def cursor(self, last: Keyed) -> str:
        """Return the cursor of the page after one whose last connection is `last`."""
        return cursor_after(self._sort, last[:3])

    def read(self, cursor: str) -> Key:
        """Read a cursor.

        Raises
        ------
        Refusal
            It is none, or of another order.
        """
        try:
            sort, rank, value, number = json.loads(base64.b64decode(cursor, b"-_", validate=True))
            name = sort.removeprefix("-")
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise _no_cursor() from None
        if sort != self._sort:
            raise Refusal(
                Code.BAD_PARAMS, f"after is of a page that is sorted by {sort!r}: sort by the same"
            )
        kind = str if name in _OF_TEXTS else int | float
        # What is not known stands behind a 0 of its own rank.
        fits = value == 0 if rank == self._unknown else isinstance(value, kind)
        if not fits or rank not in (0, 1) or not isinstance(number, int):
            raise _no_cursor()
        return rank, value, number


class Shortlist:
    """The first of all connections that it is shown, some at once, so that no step of it takes long.

    Parameters
    ----------
    order
        Their order.
    count
        How many.
    cursor
        What they come after, if anything.
    """

    def __init__(self, order: Order, count: int, cursor: Key | None) -> None:
        self._order = order
        self._count = count
        self._cursor = cursor
        self._found: list[Keyed] = []
        self._bound: Keyed | None = None

    def __len__(self) -> int:
        """Return how many it keeps now."""
        return len(self._found)

    def show(self, look: Look, connections: Sequence[Connection]) -> None:
        """Note some more."""
        keyed = self._order.keyed(look, connections, self._bound)
        self._found += keyed if self._cursor is None else self._order.after(self._cursor, keyed)
        if len(self._found) >= 2 * self._count:
            self.first()

    def first(self) -> list[Keyed]:
        """Return the first of those that were shown, in their order."""
        self._order.sort(self._found)
        del self._found[self._count :]
        if len(self._found) == self._count:
            self._bound = self._found[-1]
        return self._found


def _no_cursor() -> Refusal:
    return Refusal(Code.BAD_PARAMS, "after must be the next of the page before")
