"""The open connections, filtered, sorted and cut into pages."""

import base64
import heapq
import json
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from operator import attrgetter
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Literal, NamedTuple, TypeAlias

from manyhands.connections.connection import Connection
from manyhands.connections.traffic import Traffic
from manyhands.control.messages import Refusal
from manyhands.control.protocol import Code
from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.unpatched import original
from manyhands.serving.info import connection_info

AT_ONCE = 500
"""Connections that are looked at before the threads of the servers get their turn: half a millisecond, or two
where the kernel is asked about each. A busy thread may keep the interpreter for five then."""

PAUSE = 0.00005
"""Seconds of that turn, at least: a thread that yields the interpreter without a wait has it back at once."""


class Entry:
    """A connection, and the number of its server; for one look at it."""

    __slots__ = ("_traffic", "connection", "server")

    def __init__(self, server: int, connection: Connection) -> None:
        self.server = server
        self.connection = connection
        self._traffic: Traffic | Literal["not asked"] | None = "not asked"

    @property
    def traffic(self) -> Traffic | None:
        """Its traffic: the kernel is asked once."""
        if self._traffic == "not asked":
            self._traffic = self.connection.traffic
        return self._traffic

    @property
    def silent_since(self) -> float | None:
        """Seconds since the last byte was received, less the time of now: so it stays from page to page."""
        traffic = self.traffic
        return None if traffic is None else round(traffic.silent - time.monotonic(), 3)

    @property
    def listener(self) -> str:
        """The address that its client called."""
        return format_address(getattr(self.connection.server, "server_address", None))

    @property
    def rooms(self) -> list[str]:
        """The rooms that it is in."""
        return self.connection.core.rooms.rooms_of(self.connection)


def _address_key(address: object) -> str:
    """Return what sorts addresses by their numbers; those without an address of IP come after these."""
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str):
        host = address[0].partition("%")[0]
        try:
            packed = inet_pton(AF_INET6 if ":" in host else AF_INET, host)
        except (OSError, ValueError):
            return f"~{format_address(address)}"
        return f"{len(packed):02}{packed.hex()}{address[1]:05}"
    return f"~{format_address(address)}"


_KEYS: dict[str, Callable[[Entry], Any]] = {
    "id": lambda entry: entry.connection.number,
    "server": attrgetter("server"),
    "peer": lambda entry: _address_key(entry.connection.client_address),
    "listener": attrgetter("listener"),
    "handler": lambda entry: entry.connection.handler,
    "state": lambda entry: entry.connection.state.value,
    # By the moment, which stays where it is from one page to the next.
    "age": lambda entry: -entry.connection.opened_at,
    "silent": attrgetter("silent_since"),
    "in": lambda entry: None if entry.traffic is None else entry.traffic.bytes_in,
    "out": lambda entry: None if entry.traffic is None else entry.traffic.bytes_out,
    "waiting": lambda entry: entry.connection.waiting,
    "missed": lambda entry: entry.connection.missed,
    "reason": lambda entry: (
        None if entry.connection.reason is None else entry.connection.reason.value
    ),
}
"""What connections can be sorted by, and how each is looked up."""

SORTS = tuple(f"{sign}{name}" for name in _KEYS for sign in ("", "-"))


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
    """

    items: list[Entry]
    next: str | None
    total: int
    open: int


def page_of(
    entries: Iterable[Entry],
    where: Mapping[str, Any],
    sort: str,
    limit: int,
    after: str | None,
) -> Page:
    """Return a page of connections.

    Parameters
    ----------
    entries
        All of them.
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
    order, tests = _Order(sort), _tests(where)
    cursor = None if after is None else order.read(after)
    found: list[tuple[_Key, Entry]] = []
    total = count = 0
    for chunk in _in_chunks(entries):
        count += len(chunk)
        matching = (
            [entry for entry in chunk if all(test(entry) for test in tests)] if tests else chunk
        )
        total += len(matching)
        keyed = [(order.key(entry), entry) for entry in matching]
        found += (
            keyed if cursor is None else [each for each in keyed if order.is_after(each[0], cursor)]
        )
    # One more than the page has: it tells whether there is another page.
    best = order.first(limit + 1, found)
    items = [entry for _, entry in best[:limit]]
    following = order.write(best[limit - 1][0]) if len(best) > limit else None
    return Page(items, following, total, count)


def _in_chunks(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    everything = iter(entries)
    sleep = original(time, "sleep")
    while chunk := list(islice(everything, AT_ONCE)):
        yield chunk
        sleep(PAUSE)


_Key: TypeAlias = tuple[int, Any, int]
"""Whether the value is known, so that what is not comes last; the value; and the number, which is unique."""


class _Order:
    def __init__(self, sort: str) -> None:
        self._sort = sort
        self._is_descending = sort.startswith("-")
        self._value = _KEYS[sort.removeprefix("-")]

    def key(self, entry: Entry) -> _Key:
        value = self._value(entry)
        is_known = value is not None
        return (
            int(is_known is self._is_descending),
            value if is_known else 0,
            entry.connection.number,
        )

    def is_after(self, key: _Key, cursor: _Key) -> bool:
        return key < cursor if self._is_descending else key > cursor

    def first(self, count: int, keyed: list[tuple[_Key, Entry]]) -> list[tuple[_Key, Entry]]:
        # No two have the same number, so entries themselves are never compared.
        choose = heapq.nlargest if self._is_descending else heapq.nsmallest
        return choose(count, keyed)

    def write(self, key: _Key) -> str:
        return base64.urlsafe_b64encode(json.dumps([self._sort, *key]).encode()).decode()

    def read(self, cursor: str) -> _Key:
        try:
            sort, rank, value, number = json.loads(base64.b64decode(cursor, b"-_", validate=True))
            name = sort.removeprefix("-")
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise _no_cursor() from None
        if sort != self._sort:
            raise Refusal(
                Code.BAD_PARAMS, f"after is of a page that is sorted by {sort!r}: sort by the same"
            )
        kinds = str if name in _OF_TEXTS else int | float
        is_unknown = value == 0 and rank != int(self._is_descending)
        if not (isinstance(value, kinds) or is_unknown) or rank not in {0, 1}:
            raise _no_cursor()
        if not isinstance(number, int):
            raise _no_cursor()
        return rank, value, number


_OF_TEXTS = frozenset({"peer", "listener", "handler", "state", "reason"})


def _no_cursor() -> Refusal:
    return Refusal(Code.BAD_PARAMS, "after must be the next of the page before")


_Test: TypeAlias = Callable[[Entry], bool]


def _tests(where: Mapping[str, Any]) -> list[_Test]:
    return [_TESTS[name](wanted) for name, wanted in where.items()]


def _peer(wanted: str) -> _Test:
    if "/" in wanted and wanted[0] in "0123456789abcdefABCDEF:":
        try:
            networks = Networks.parse(wanted)
        except Mistake as mistake:
            raise Refusal(Code.BAD_PARAMS, f"where.peer: {mistake}") from None
        return lambda entry: entry.connection.client_address in networks
    return lambda entry: wanted in format_address(entry.connection.client_address)


def _text(wanted: str) -> _Test:
    def test(entry: Entry) -> bool:
        connection = entry.connection
        return (
            wanted in format_address(connection.client_address)
            or wanted in connection.handler
            or wanted in str(connection.number)
        )

    return test


_TESTS: dict[str, Callable[[Any], _Test]] = {
    "state": lambda wanted: lambda entry: entry.connection.state.value == wanted,
    "peer": _peer,
    "listener": lambda wanted: lambda entry: entry.listener == wanted,
    "handler": lambda wanted: lambda entry: entry.connection.handler == wanted,
    "room": lambda wanted: lambda entry: wanted in entry.rooms,
    "server": lambda wanted: lambda entry: entry.server == wanted,
    "idle_over": lambda wanted: (
        lambda entry: entry.traffic is not None and entry.traffic.silent > wanted
    ),
    "age_over": lambda wanted: lambda entry: entry.connection.age > wanted,
    "text": _text,
}
"""What connections can be filtered by, and what each makes of the value that is wanted."""


def row_of(entry: Entry) -> dict[str, object]:
    """Return a connection as a list has it."""
    connection = entry.connection
    info = connection_info(connection)
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
        "rooms": entry.rooms,
        "reason": info.reason,
    }
