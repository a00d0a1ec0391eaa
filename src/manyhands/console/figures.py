"""What a server says of itself over its control socket, read into values with types.

A server of another version may leave out a figure, or have more of them: what is missing is None, 0 or empty.
All texts are as the server has them; they are escaped where they are shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

from manyhands.model.quantities import some_of

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Listener:
    """One listener; None where the system does not tell.

    Attributes
    ----------
    server : int
        The number of its server in the process.
    address : str
        Where it listens.
    is_suspended : bool
        Whether the accept loop leaves it alone.
    waiting, backlog : int or None
        Connections that wait to be accepted, and the most that may.
    dropped : int or None
        Datagrams that the kernel dropped.
    """

    server: int
    address: str
    is_suspended: bool
    waiting: int | None
    backlog: int | None
    dropped: int | None


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine: its load, its bound if there is one, and how late the hub of its fibers is, in seconds."""

    name: str
    running: int
    limit: int | None
    hub_delay: float | None


@dataclass(frozen=True, slots=True)
class Server:
    """One server of the process; `open` by state, `closed` and `dropped` (datagrams) by reason."""

    number: int
    kind: str
    handler: str
    listeners: tuple[Listener, ...]
    engines: tuple[Engine, ...]
    is_draining: bool
    accepted: int
    open: Mapping[str, int]
    closed: Mapping[str, int]
    dropped: Mapping[str, int]
    rooms: int
    bytes_in: int | None
    bytes_out: int | None


@dataclass(frozen=True, slots=True)
class Process:
    """The process; None where the system does not tell. Bytes, seconds."""

    cpu_seconds: float | None
    memory: int | None
    descriptors: int | None
    descriptor_limit: int | None
    threads: int | None


@dataclass(frozen=True, slots=True)
class Workers:
    """The worker processes: how many in each state, their generation, and which have not answered."""

    states: Mapping[str, int]
    generation: int | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The answer of `status`; without workers the server has none."""

    uptime: float | None
    servers: tuple[Server, ...]
    process: Process
    workers: Workers | None


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a page.

    Attributes
    ----------
    id : str
        Its name in the protocol.
    server : int
        The number of its server.
    peer, listener, handler, state : str
        As in `ServerInfo`.
    age, silent : float or None
        Seconds since it was accepted, and since a byte came.
    bytes_in, bytes_out, waiting, missed : int or None
        Received, sent, in its outbox, and pieces that its outbox dropped.
    rooms : str
        Where it has joined: the first of them, and how many more there are.
    reason : str or None
        Why it is about to end.
    """

    id: str
    server: int
    peer: str
    listener: str
    handler: str
    state: str
    age: float | None
    silent: float | None
    bytes_in: int | None
    bytes_out: int | None
    waiting: int | None
    missed: int | None
    rooms: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """The answer of `connections.list`: so many match, and so many are open."""

    items: tuple[Connection, ...]
    next: str | None
    total: int
    open: int


def status(answer: Json) -> Status:
    """Read the answer of `status`."""
    process = mapping(answer.get("process"))
    return Status(
        fraction(answer.get("uptime")),
        tuple(_server(mapping(each)) for each in items(answer.get("servers"))),
        Process(
            fraction(process.get("cpu_seconds")),
            whole(process.get("rss")),
            whole(process.get("descriptors")),
            whole(process.get("descriptor_limit")),
            whole(process.get("threads")),
        ),
        _workers(answer) if "workers" in answer else None,
    )


def _workers(answer: Json) -> Workers:
    states = Counter(text(mapping(each).get("state")) for each in items(answer.get("workers")))
    missing = tuple(text(each) for each in items(answer.get("missing")))
    return Workers(states, whole(answer.get("generation")), missing)


def page(answer: Json) -> Page:
    """Read the answer of `connections.list`."""
    following = answer.get("next")
    return Page(
        tuple(connection(mapping(each)) for each in items(answer.get("items"))),
        following if isinstance(following, str) else None,
        whole(answer.get("total")) or 0,
        whole(answer.get("open")) or 0,
    )


def connection(answer: Json) -> Connection:
    """Read one connection."""
    return Connection(
        text(answer.get("id")),
        whole(answer.get("server")) or 0,
        text(answer.get("peer")),
        text(answer.get("listener")),
        text(answer.get("handler")),
        text(answer.get("state")),
        fraction(answer.get("age")),
        fraction(answer.get("silent")),
        whole(answer.get("in")),
        whole(answer.get("out")),
        whole(answer.get("waiting")),
        whole(answer.get("missed")),
        some_of([*map(text, items(answer.get("rooms")))], whole(answer.get("rooms_total")) or 0),
        text(answer.get("reason")) or None,
    )


def listeners(answer: Json) -> tuple[Listener, ...]:
    """Read the listeners of an answer, each of which says its server."""
    return tuple(
        _listener(mapping(each), whole(mapping(each).get("server")) or 0)
        for each in items(answer.get("listeners"))
    )


def _server(answer: Json) -> Server:
    number = whole(answer.get("server")) or 0
    return Server(
        number,
        text(answer.get("kind")),
        text(answer.get("handler")),
        tuple(_listener(mapping(each), number) for each in items(answer.get("listeners"))),
        tuple(_engine(mapping(each)) for each in items(answer.get("engines"))),
        answer.get("is_draining") is True,
        whole(answer.get("accepted")) or 0,
        _counts(answer.get("open")),
        _counts(answer.get("closed")),
        _counts(answer.get("dropped")),
        whole(answer.get("rooms")) or 0,
        whole(answer.get("bytes_in")),
        whole(answer.get("bytes_out")),
    )


def _listener(answer: Json, server: int) -> Listener:
    return Listener(
        server,
        text(answer.get("address")),
        answer.get("is_suspended") is True,
        whole(answer.get("waiting")),
        whole(answer.get("backlog")),
        whole(answer.get("dropped")),
    )


def _engine(answer: Json) -> Engine:
    return Engine(
        text(answer.get("name")),
        whole(answer.get("running")) or 0,
        whole(answer.get("limit")),
        fraction(answer.get("hub_delay")),
    )


def mapping(value: object) -> Json:
    """Return a JSON object, or an empty one in the place of anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Iterable[object]:
    """Return a JSON array, or an empty one in the place of anything else."""
    return value if isinstance(value, list) else ()


def text(value: object) -> str:
    """Return a text; ``""`` in the place of null."""
    return "" if value is None else str(value)


def whole(value: object) -> int | None:
    """Return a number, or None in the place of anything else."""
    return int(value) if isinstance(value, int | float) and isfinite(value) else None


def fraction(value: object) -> float | None:
    """Return a number, or None in the place of anything else."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def _counts(value: object) -> dict[str, int]:
    return {name: whole(number) or 0 for name, number in mapping(value).items()}
