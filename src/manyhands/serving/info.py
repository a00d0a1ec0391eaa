"""A snapshot of one server as plain data, for metrics, a control socket, or the program itself.

Nothing in it is live or refers to the server: it holds numbers, texts, and None where the system does not
tell. `dataclasses.asdict` makes dicts and lists of it, as JSON has them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import attrgetter

from manyhands.connections.connection import Connection
from manyhands.connections.registry import DURATION_BOUNDS, Registry, Totals
from manyhands.connections.traffic import Traffic, backlog_of, dropped_datagrams
from manyhands.model.connection_states import State
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.slices import Slicing, whole
from manyhands.serving.core import ServerCore, core_of
from manyhands.serving.request_hooks import Listener

PAGE = 100
"""Connections on one page unless the caller says how many: more than a screen has lines."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The load of one engine.

    Attributes
    ----------
    name : str
        ``"threads"`` and so on.
    running : int
        Tasks that its workers serve now, datagrams too.
    limit : int or None
        The most tasks that it serves at once; None where there is no bound.
    """

    name: str
    running: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class ListenerInfo:
    """One listener.

    Attributes
    ----------
    address : str
        The address on which it listens, as ``127.0.0.1:8008``.
    is_suspended : bool
        Whether the accept loop leaves it alone.
    waiting, backlog : int or None
        Connections that wait to be accepted, and the most that may; None where the system does not tell.
    dropped : int or None
        Datagrams of UDP that the kernel has dropped, since its buffer was full; None where it does not tell.
    """

    address: str
    is_suspended: bool
    waiting: int | None
    backlog: int | None
    dropped: int | None


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """One open connection.

    Attributes
    ----------
    number : int
        Its number, by which `connections` of the server has it.
    peer : str
        The client's address.
    listener : str
        The address of the listener that the client called.
    state : str
        Where it is in its life: ``"open"`` and so on.
    handler : str
        The name of its handler class or function.
    age : float
        Seconds since it was accepted.
    silent_for : float or None
        Seconds since the last byte was received; None where that is not known.
    bytes_in, bytes_out : int or None
        Bytes received and sent; None where they are not counted.
    reason : str or None
        Why it is about to end, where that is decided.
    rooms : tuple of str
        The rooms that it has joined.
    waiting : int
        Bytes that others have sent to it, and that its client has not read: what is in its outbox.
    missed : int
        Pieces that were dropped, since its client did not read.
    """

    number: int
    peer: str
    listener: str
    state: str
    handler: str
    age: float
    silent_for: float | None
    bytes_in: int | None
    bytes_out: int | None
    reason: str | None
    rooms: tuple[str, ...]
    waiting: int
    missed: int


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """Some of the open connections, in the order of their numbers.

    Attributes
    ----------
    items : tuple of ConnectionInfo
        The connections of this page.
    next : int or None
        The `after` of the next page; None where this is the last one.
    total : int
        How many are open.
    """

    items: tuple[ConnectionInfo, ...]
    next: int | None
    total: int


@dataclass(frozen=True, slots=True)
class TotalsInfo:
    """What has been added up over a server's connections; of those that have ended, since metrics count them.

    Attributes
    ----------
    bytes_in, bytes_out : int
        Bytes received and sent on the connections that are open, and on those that have ended. One that ends
        while the snapshot is taken may be missing: a counter that never goes back takes the highest so far.
    seconds : float
        How long the connections lasted that have ended, from acceptance to end, added up. Here and below only
        those count whose handler began.
    bounds : tuple of float
        Upper bounds of classes by duration, in seconds.
    by_duration : tuple of int
        How many are in each class: they lasted as long as its bound or less, and longer than the bound
        before. One more at the end counts those that lasted longer than any bound.
    """

    bytes_in: int
    bytes_out: int
    seconds: float
    bounds: tuple[float, ...]
    by_duration: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A server at one moment.

    Attributes
    ----------
    listeners : tuple of ListenerInfo
        Its listeners; empty when it does not listen.
    engines : tuple of EngineInfo
        The engines that were needed so far.
    options : mapping of str to object
        The options of a `manyhands.Server` by their names, as they are now; empty for drop-in classes. A
        value that is no plain data is represented by its name: a handler's, or ``"SSLContext"``.
    accepted : int
        Connections accepted so far; always the sum of those that are open and those that are closed.
    open, closed : mapping of str to int
        How many are open in each state, and how many closed for each reason.
    dropped : mapping of str to int
        How many datagrams were received and dropped for each reason.
    rooms : int
        How many rooms have members.
    missed : int
        How many pieces were sent to connections and dropped, since their clients did not read.
    is_draining : bool
        Whether it drains.
    connections : ConnectionPage
        Some of the open connections.
    totals : TotalsInfo or None
        Bytes and durations, added up; None where they were not asked for, and of a server without metrics.
    certificates : mapping of str to float
        When each certificate expires, in seconds since 1970, by its file. Of an `ssl_context` that is not
        known.
    """

    listeners: tuple[ListenerInfo, ...]
    engines: tuple[EngineInfo, ...]
    options: Mapping[str, object] = field(repr=False)
    accepted: int
    open: Mapping[str, int]
    closed: Mapping[str, int]
    dropped: Mapping[str, int]
    rooms: int
    missed: int
    is_draining: bool
    connections: ConnectionPage = field(repr=False)
    totals: TotalsInfo | None
    certificates: Mapping[str, float]


def info_of(  # noqa: PLR0913 - what `Server.info` takes, and what it is about
    core: ServerCore,
    listeners: Iterable[Listener],
    options: Mapping[str, object] | None = None,
    *,
    certificates: Mapping[str, float] | None = None,
    first: int = PAGE,
    after: int = 0,
    totals: bool = False,
) -> ServerInfo:
    """Take the snapshot of a server. Thread-safe.

    Parameters
    ----------
    core
        The server's core.
    listeners
        Its listeners; for a drop-in class, the server itself.
    options
        Its options.
    certificates
        When each of its certificates expires, by its file.
    first, after
        The page of connections: so many, of those whose numbers are higher than `after`.
    totals
        Whether to add up bytes and durations, where `count_totals` was called. It asks the kernel about each
        open connection: 2 ms for a thousand, while all else takes a tenth of one.
    """
    accepted, states, closed = core.registry.census()
    return ServerInfo(
        tuple(map(_listener, listeners)),
        tuple(EngineInfo(each.name, each.running(), each.limit) for each in core.engines),
        {name: plain(value) for name, value in (options or {}).items()},
        accepted,
        {state.value: states[state] for state in State if state is not State.CLOSED},
        {reason.value: count for reason, count in closed.items()},
        {reason.value: count for reason, count in core.registry.dropped.items()},
        len(core.rooms),
        core.registry.missed,
        core.is_draining,
        _page(core, first, after),
        totals_of(core.registry) if totals else None,
        certificates or {},
    )


def plain(value: object) -> object:
    """Return what JSON has for the value of an option; of what is no plain data its name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return getattr(value, "__qualname__", type(value).__name__)


def _listener(listener: Listener) -> ListenerInfo:
    backlog = backlog_of(getattr(listener, "socket", None))
    return ListenerInfo(
        format_address(listener.server_address),
        core_of(listener).is_suspended,
        None if backlog is None else backlog.waiting,
        None if backlog is None else backlog.limit,
        dropped_datagrams(getattr(listener, "socket", None)),
    )


def _page(core: ServerCore, first: int, after: int) -> ConnectionPage:
    if first <= 0:
        return ConnectionPage((), None, len(core.registry))
    # Numbers grow, and the registry has its connections in the order of their acceptance.
    still_open = core.registry.snapshot()
    following = (each for each in still_open if each.number > after)
    items = tuple(islice(following, first))
    is_last = next(following, None) is None
    following_page = None if is_last or not items else items[-1].number
    return ConnectionPage(tuple(map(connection_info, items)), following_page, len(still_open))


def connection_info(connection: Connection) -> ConnectionInfo:
    """Take the snapshot of one connection. Thread-safe."""
    # Once: each look at `traffic` asks the kernel, and figures of two looks would not fit together.
    traffic, reason = connection.traffic, connection.reason
    return ConnectionInfo(
        connection.number,
        format_address(connection.client_address),
        format_address(getattr(connection.server, "server_address", None)),
        connection.state.value,
        connection.handler,
        connection.age,
        None if traffic is None else traffic.silent,
        None if traffic is None else traffic.bytes_in,
        None if traffic is None else traffic.bytes_out,
        None if reason is None else reason.value,
        tuple(connection.core.rooms.rooms_of(connection)) if connection.outbox is not None else (),
        connection.waiting,
        connection.missed,
    )


def count_totals(registry: Registry) -> None:
    """Have ended connections added up from now on: it costs a look into the kernel at the end of each."""
    registry.are_detailed = True
    registry.totals = registry.totals or Totals()


def totals_of(
    registry: Registry,
    traffic_of: Callable[[Connection], Traffic | None] = attrgetter("traffic"),
    *,
    in_slices: Slicing[Connection] = whole,
) -> TotalsInfo | None:
    """Add up bytes and durations, as of `info_of`; None of a registry without metrics. Thread-safe.

    `traffic_of` tells the traffic of a connection; `in_slices` may have others run between two slices.
    """
    if registry.totals is None:
        return None
    # The ended ones first: in the other order, a connection that ends in between would count twice.
    ended = registry.totals.sums()
    received, sent = ended.bytes_in, ended.bytes_out
    for connection in chain.from_iterable(in_slices(registry.snapshot())):
        traffic = traffic_of(connection)
        # After a reset the state no longer says whether the kernel has counted the peer's FIN as a byte, so
        # the connection counts once it has ended.
        if traffic is not None and not traffic.was_reset:
            received += traffic.bytes_in
            sent += traffic.bytes_out
    return TotalsInfo(received, sent, ended.seconds, DURATION_BOUNDS, ended.by_duration)
