"""What connections can be sorted by, and the cursors that lead from one page to the next."""

import base64
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
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


Value: TypeAlias = Callable[[Connection], Any]
"""Looks a connection's value up; None where it is not known."""


def listener_of(connection: Connection) -> str:
    """Return the address that its client called."""
    return format_address(getattr(connection.server, "server_address", None))


def _address_key(connection: Connection) -> str:
    """Return what sorts addresses by their numbers; those without an address of IP come after these."""
    address = connection.client_address
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
        host = address[0].partition("%")[0]
        try:
            packed = inet_pton(AF_INET6 if ":" in host else AF_INET, host)
        except (OSError, ValueError):
            return f"~{format_address(address)}"
        return f"{len(packed):02}{packed.hex()}{address[1]:05}"
    return f"~{format_address(address)}"


def _bytes(name: str) -> Callable[[Look], Value]:
    position = Traffic._fields.index(name)

    def value_of(look: Look) -> Value:
        # Ten thousand of them are looked up each second: by position, and without a call where it is known.
        known, of = look.traffic.told.get, look.traffic.of

        def value(connection: Connection) -> float | None:
            traffic = (known(connection.number) or of(connection))[0]
            return None if traffic is None else traffic[position]

        return value

    return value_of


def _silent(look: Look) -> Value:
    told_of = look.traffic.of

    def value(connection: Connection) -> float | None:
        since = told_of(connection).silent_since
        return None if since is None else -since

    return value


def _reason(connection: Connection) -> str | None:
    reason = connection.reason
    return None if reason is None else reason.value


_VALUES: dict[str, Callable[[Look], Value]] = {
    "id": lambda _: attrgetter("number"),
    "server": lambda look: lambda _: look.server,
    "peer": lambda _: _address_key,
    "listener": lambda _: listener_of,
    "handler": lambda _: attrgetter("handler"),
    "state": lambda _: attrgetter("state.value"),
    # These two by the moment, which stays where it is from one page to the next.
    "age": lambda _: lambda connection: -connection.opened_at,
    "silent": _silent,
    "in": _bytes("bytes_in"),
    "out": _bytes("bytes_out"),
    "waiting": lambda _: attrgetter("waiting"),
    "missed": lambda _: attrgetter("missed"),
    "reason": lambda _: _reason,
}

_OF_TEXTS = frozenset({"peer", "listener", "handler", "state", "reason"})

SORTS = tuple(f"{sign}{name}" for name in _VALUES for sign in ("", "-"))
"""What connections can be sorted by, descending with ``-``."""

Key: TypeAlias = tuple[int, Any, int]
"""Whether the value is known, so that what is not comes last; the value; and the number, which is unique."""

Keyed: TypeAlias = tuple[int, Any, int, int, Connection]
"""A key, and what it stands for: the number of the server, and the connection."""


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
        self._value_of = _VALUES[sort.removeprefix("-")]

    def keyed(self, look: Look, connections: Iterable[Connection]) -> Iterator[Keyed]:
        """Yield connections with their keys."""
        known, unknown, server, value_of = (
            self._known,
            self._unknown,
            look.server,
            self._value_of(look),
        )
        for connection in connections:
            value = value_of(connection)
            number = connection.number
            if value is None:
                yield unknown, 0, number, server, connection
            else:
                yield known, value, number, server, connection

    def first(self, count: int, keyed: Sequence[Keyed]) -> list[Keyed]:
        """Return those that come first."""
        # No two have the same number, so connections themselves are never compared. They come in the order of
        # their numbers: backwards, one that is not better than those before it is passed over at once.
        if self._is_descending:
            return heapq.nlargest(count, reversed(keyed))
        return heapq.nsmallest(count, keyed)

    def after(self, cursor: Key, keyed: Iterable[Keyed]) -> Iterator[Keyed]:
        """Yield those that come after a cursor."""
        if self._is_descending:
            return (each for each in keyed if each[:3] < cursor)
        return (each for each in keyed if each[:3] > cursor)

    def cursor(self, last: Keyed) -> str:
        """Return the cursor of the page after one whose last connection is `last`."""
        return base64.urlsafe_b64encode(json.dumps([self._sort, *last[:3]]).encode()).decode()

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


def _no_cursor() -> Refusal:
    return Refusal(Code.BAD_PARAMS, "after must be the next of the page before")
