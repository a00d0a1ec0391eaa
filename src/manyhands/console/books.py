"""The books of one server, or of all servers of a process: how many came, are there, went, and why."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manyhands.console.figures import Server
from manyhands.model.connection_states import REFUSALS

_REFUSALS = frozenset(reason.value for reason in REFUSALS)


@dataclass(frozen=True, slots=True)
class Books:
    """Sums. `accepted` is `open` and `closed` together, and `refused` is a part of `closed`.

    Attributes
    ----------
    accepted, open, closed, refused : int
        Connections.
    states : mapping of str to int
        Those that are open, by state.
    refusals, ends : mapping of str to int
        Those that are closed, by reason: the refused ones, and all others.
    dropped : mapping of str to int
        Datagrams that were dropped, by reason.
    bytes_in, bytes_out : int or None
        Received and sent; None where the server does not add them up.
    """

    accepted: int
    open: int
    closed: int
    refused: int
    states: Mapping[str, int]
    refusals: Mapping[str, int]
    ends: Mapping[str, int]
    dropped: Mapping[str, int]
    bytes_in: int | None
    bytes_out: int | None


def books_of(servers: Iterable[Server]) -> Books:
    """Add up the books of servers."""
    states: Counter[str] = Counter()
    closed: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    accepted, received, sent = 0, [], []
    for server in servers:
        accepted += server.accepted
        states.update(server.open)
        closed.update(server.closed)
        dropped.update(server.dropped)
        received.append(server.bytes_in)
        sent.append(server.bytes_out)
    refusals = {reason: number for reason, number in closed.items() if reason in _REFUSALS}
    return Books(
        accepted,
        states.total(),
        closed.total(),
        sum(refusals.values()),
        states,
        refusals,
        {reason: number for reason, number in closed.items() if reason not in _REFUSALS},
        dropped,
        _sum(received),
        _sum(sent),
    )


def _sum(numbers: list[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def by_number(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return what was counted, the most frequent first, without what never was."""
    return sorted(((n, c) for n, c in counts.items() if c), key=lambda each: (-each[1], each[0]))
