"""The open connections, filtered, sorted and cut into pages."""

import base64
import heapq
import json
import time
from collections.abc import Callable, Iterable, Mapping
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, NamedTuple, TypeAlias

from manyhands.connections.connection import Connection
from manyhands.control.messages import Refusal
from manyhands.control.protocol import Code
from manyhands.model.networks import Networks
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.unpatched import original
from manyhands.serving.info import connection_info

AT_ONCE = 200
"""Connections that are looked at before the threads of the servers get their turn."""

PAUSE = 0.00005
"""Seconds of that turn, at least: a thread that yields the interpreter without a wait has it back at once."""

Entry: TypeAlias = tuple[int, Connection]
"""A connection, and the number of its server."""


def _listener(entry: Entry) -> str:
    return format_address(getattr(entry[1].server, "server_address", None))


def _rooms(entry: Entry) -> list[str]:
    connection = entry[1]
    return connection.core.rooms.rooms_of(connection)


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


def _traffic(name: str) -> Callable[[Entry], Any]:
    def value(entry: Entry) -> Any:
        traffic = entry[1].traffic
        return None if traffic is None else getattr(traffic, name)

    return value


_silent = _traffic("silent")


def _silent_since(entry: Entry) -> float | None:
    silent: float | None = _silent(entry)
    return None if silent is None else round(silent - time.monotonic(), 3)


_KEYS: dict[str, Callable[[Entry], Any]] = {
    "id": lambda entry: entry[1].number,
    "server": lambda entry: entry[0],
    "peer": lambda entry: _address_key(entry[1].client_address),
    "listener": _listener,
    "handler": lambda entry: entry[1].handler,
    "state": lambda entry: entry[1].state.value,
    # By the moment, which stays where it is from one page to the next.
    "age": lambda entry: -entry[1].opened_at,
    "silent": _silent_since,
    "in": _traffic("bytes_in"),
    "out": _traffic("bytes_out"),
    "waiting": lambda entry: entry[1].waiting,
    "missed": lambda entry: entry[1].missed,
    "reason": lambda entry: entry[1].reason.value if entry[1].reason is not None else None,
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
    best: list[tuple[Any, Entry]] = []
    total = count = 0
    for chunk in _in_chunks(entries):
        count += len(chunk)
        matching = [entry for entry in chunk if all(test(entry) for test in tests)]
        total += len(matching)
        keyed = [(order.key(entry), entry) for entry in matching]
        if cursor is not None:
            keyed = [each for each in keyed if order.is_after(each[0], cursor)]
        # One more than the page has: it tells whether there is another page.
        best = order.first(limit + 1, [*best, *keyed])
    items = [entry for _, entry in best[:limit]]
    following = order.write(best[limit - 1][0]) if len(best) > limit else None
    return Page(items, following, total, count)


def _in_chunks(entries: Iterable[Entry]) -> Iterable[list[Entry]]:
    everything = list(entries)
    sleep = original(time, "sleep")
    for start in range(0, len(everything), AT_ONCE):
        if start:
            sleep(PAUSE)
        yield everything[start : start + AT_ONCE]


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
        return int(is_known is self._is_descending), value if is_known else 0, entry[1].number

    def is_after(self, key: _Key, cursor: _Key) -> bool:
        return key < cursor if self._is_descending else key > cursor

    def first(self, count: int, keyed: list[tuple[_Key, Entry]]) -> list[tuple[_Key, Entry]]:
        choose = heapq.nlargest if self._is_descending else heapq.nsmallest
        return choose(count, keyed, key=lambda each: each[0])

    def write(self, key: _Key) -> str:
        return base64.urlsafe_b64encode(json.dumps([self._sort, *key]).encode()).decode()

    def read(self, cursor: str) -> _Key:
        try:
            sort, rank, value, number = json.loads(base64.b64decode(cursor, b"-_", validate=True))
        except (ValueError, TypeError, RecursionError):
            raise Refusal(Code.BAD_PARAMS, "after must be the next of the page before") from None
        of_texts = {"peer", "listener", "handler", "state", "reason"}
        kinds = str if sort.removeprefix("-") in of_texts else int | float
        if sort != self._sort:
            raise Refusal(
                Code.BAD_PARAMS, f"after is of a page that is sorted by {sort!r}: sort by the same"
            )
        fits = isinstance(value, kinds) or (value == 0 and rank != int(self._is_descending))
        if not fits or rank not in {0, 1} or not isinstance(number, int):
            raise Refusal(Code.BAD_PARAMS, "after must be the next of the page before")
        return rank, value, number


_Test: TypeAlias = Callable[[Entry], bool]


def _tests(where: Mapping[str, Any]) -> list[_Test]:
    return [_TESTS[name](wanted) for name, wanted in where.items()]


def _peer(wanted: str) -> _Test:
    if "/" in wanted and wanted[0] in "0123456789abcdefABCDEF:":
        try:
            networks = Networks.parse(wanted)
        except Mistake as mistake:
            raise Refusal(Code.BAD_PARAMS, f"where.peer: {mistake}") from None
        return lambda entry: entry[1].client_address in networks
    return lambda entry: wanted in format_address(entry[1].client_address)


def _text(wanted: str) -> _Test:
    def test(entry: Entry) -> bool:
        connection = entry[1]
        return (
            wanted in format_address(connection.client_address)
            or wanted in connection.handler
            or wanted in str(connection.number)
        )

    return test


def _idle_over(seconds: float) -> _Test:
    return lambda entry: (_silent(entry) or 0.0) > seconds


_TESTS: dict[str, Callable[[Any], _Test]] = {
    "state": lambda wanted: lambda entry: entry[1].state.value == wanted,
    "peer": _peer,
    "listener": lambda wanted: lambda entry: _listener(entry) == wanted,
    "handler": lambda wanted: lambda entry: entry[1].handler == wanted,
    "room": lambda wanted: lambda entry: wanted in _rooms(entry),
    "server": lambda wanted: lambda entry: entry[0] == wanted,
    "idle_over": _idle_over,
    "age_over": lambda wanted: lambda entry: entry[1].age > wanted,
    "text": _text,
}
"""What connections can be filtered by, and what each makes of the value that is wanted."""


def row_of(entry: Entry) -> dict[str, object]:
    """Return a connection as a list has it."""
    number, connection = entry
    info = connection_info(connection)
    return {
        "id": str(info.number),
        "server": number,
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
        "rooms": _rooms(entry),
        "reason": info.reason,
    }
