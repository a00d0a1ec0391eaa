"""A server's figures, read when they are scraped."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from manyhands.connections.registry import BOUNDS, Books, Ends, Sums
from manyhands.connections.tcp_info import Backlog, backlog_of
from manyhands.engines import Engine
from manyhands.model.connection_states import Reason, State
from manyhands.model.events import ConnectionClosed, Event, hub, kinds
from manyhands.runtime.unpatched import brief_lock
from manyhands.server import Server

if TYPE_CHECKING:
    from manyhands.serving.core import EngineRoom

HUB_PATIENCE = 1.0
"""Seconds that a scrape waits for the hub to turn; one that takes longer is late enough."""


class EngineFigures(NamedTuple):
    """The load of one engine."""

    name: str
    running: int
    """Tasks under way, datagrams too."""

    limit: int | None
    """Tasks that may be under way; None where there is no bound."""

    hub_delay: float | None
    """Seconds that a fiber which could go on waits for its turn; None where there is no hub."""


class Figures(NamedTuple):
    """What a scrape reads of a server: counts of connections, and bytes over TCP of all that there were."""

    accepted: int
    states: Mapping[State, int]
    ended: Mapping[Reason, int]
    """By the reason, refusals too."""

    ends: Sums
    bytes_in: int
    bytes_out: int
    engines: list[EngineFigures]
    backlogs: list[tuple[str, Backlog]]
    """Of the listeners of TCP, by their addresses as people write them."""


def figures_of(server: Any) -> Figures:
    """Read the figures of a `manyhands.Server` or of a drop-in server, which look the same from here on."""
    core, listeners = _parts_of(server)
    accepted, states, ended = core.books.census()
    ends = (core.books.ends or Ends()).sums()
    bytes_in, bytes_out = _bytes_of_open(core.books)
    return Figures(
        accepted,
        states,
        ended,
        ends,
        ends.bytes_in + bytes_in,
        ends.bytes_out + bytes_out,
        [
            EngineFigures(engine.name, engine.running(), engine.limit, _hub_delay(engine))
            for engine in core.engines
        ],
        [
            (listener._describe_listener(), backlog)
            for listener in listeners
            if (backlog := backlog_of(getattr(listener, "socket", None))) is not None
        ],
    )


def _parts_of(server: Any) -> "tuple[EngineRoom, list[Any]]":
    """Return what a server serves with, and its listeners. Nothing else here reaches into a server."""
    if isinstance(server, Server):
        return server._room, list(server._listeners)
    return server._engine_room, [server]


def _bytes_of_open(books: Books) -> tuple[int, int]:
    received = sent = 0
    for connection in books.values():
        traffic = connection.traffic
        # Once a connection is closed nothing tells whether the peer's FIN was counted; its end will.
        if traffic is not None and not traffic.was_reset:
            received += traffic.bytes_in
            sent += traffic.bytes_out
    return received, sent


def _hub_delay(engine: Engine) -> float | None:
    if engine.name != "fibers":
        return None
    from manyhands.engines.fibers import hub_latency  # noqa: PLC0415 - it needs gevent

    return hub_latency.delay(engine, HUB_PATIENCE)


class ServerCollector(Collector):
    """Collects the figures of one server for a registry. Thread-safe.

    From its making on, connections are counted as they end.

    Parameters
    ----------
    server : manyhands.Server or a server of `manyhands.socketserver`
        Whose figures.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        books = _parts_of(server)[0].books
        books.are_detailed = True
        books.ends = books.ends or Ends()
        # Connections that end have figures of their own, by reason.
        self._events = {kind: 0 for kind in kinds() if kind is not ConnectionClosed}
        self._lock = brief_lock()
        self._unsubscribe = hub.subscribe(self._count)
        self._received = self._sent = 0

    def close(self) -> None:
        """Count events no longer."""
        self._unsubscribe()

    def _count(self, event: Event) -> None:
        with self._lock:
            self._events[type(event)] = self._events.get(type(event), 0) + 1

    def describe(self) -> Iterable[Metric]:
        """Leave the registry without names: to learn them it would scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the figures."""
        figures = figures_of(self._server)
        yield from _connections(figures)
        yield from self._bytes(figures)
        yield _handler_seconds(figures)
        yield from _engines(figures)
        yield from _backlogs(figures)
        yield self._event_counts()

    def _bytes(self, figures: Figures) -> Iterator[Metric]:
        # A connection that ends between the two readings is in neither, and a counter never goes back.
        self._received = max(self._received, figures.bytes_in)
        self._sent = max(self._sent, figures.bytes_out)
        yield CounterMetricFamily(
            "manyhands_received_bytes",
            "Bytes received over TCP, TLS included, as the kernel counts them",
            value=self._received,
        )
        yield CounterMetricFamily(
            "manyhands_sent_bytes",
            "Bytes sent over TCP, TLS included, as the kernel counts them",
            value=self._sent,
        )

    def _event_counts(self) -> Metric:
        events = CounterMetricFamily(
            "manyhands_events",
            "What was told of in this process, by the kind of event",
            labels=["event"],
        )
        for kind, count in self._events.copy().items():
            events.add_metric([kind.__name__], count)
        return events


def _connections(figures: Figures) -> Iterator[Metric]:
    by_state = GaugeMetricFamily(
        "manyhands_connections",
        "Connections that are open now, by their state",
        labels=["state"],
    )
    for state in State:
        if state is not State.CLOSED:
            by_state.add_metric([state.value], figures.states[state])
    yield by_state
    yield CounterMetricFamily(
        "manyhands_connections_accepted", "Connections that were accepted", value=figures.accepted
    )
    closed = CounterMetricFamily(
        "manyhands_connections_closed",
        "Connections that have ended, by the reason",
        labels=["reason"],
    )
    refused = CounterMetricFamily(
        "manyhands_connections_refused",
        "Connections that were accepted and turned away unserved, by the reason",
        labels=["reason"],
    )
    for reason in Reason:
        family = refused if reason.is_refusal else closed
        family.add_metric([reason.value], figures.ended[reason])
    yield from (closed, refused)


def _handler_seconds(figures: Figures) -> Metric:
    bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
    return HistogramMetricFamily(
        "manyhands_handler_seconds",
        "Seconds from a connection's acceptance to its handler's end",
        # Prometheus wants each bucket to hold those of all smaller bounds too.
        buckets=list(zip(bounds, accumulate(figures.ends.by_duration), strict=True)),
        sum_value=figures.ends.seconds,
    )


def _engines(figures: Figures) -> Iterator[Metric]:
    running = GaugeMetricFamily(
        "manyhands_engine_running", "Tasks under way, datagrams too", labels=["engine"]
    )
    limit = GaugeMetricFamily(
        "manyhands_engine_limit",
        "Tasks that may be under way, where there is a bound",
        labels=["engine"],
    )
    late = GaugeMetricFamily(
        "manyhands_hub_delay_seconds",
        "Seconds that a fiber which could go on waits for its turn",
    )
    for engine in figures.engines:
        running.add_metric([engine.name], engine.running)
        if engine.limit is not None:
            limit.add_metric([engine.name], engine.limit)
        if engine.hub_delay is not None:
            late.add_metric([], engine.hub_delay)
    yield from (running, limit, late)


def _backlogs(figures: Figures) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "manyhands_backlog", "Connections that wait to be accepted, of TCP", labels=["listener"]
    )
    limit = GaugeMetricFamily(
        "manyhands_backlog_limit",
        "Connections that may wait to be accepted",
        labels=["listener"],
    )
    for name, backlog in figures.backlogs:
        waiting.add_metric([name], backlog.waiting)
        limit.add_metric([name], backlog.limit)
    yield from (waiting, limit)
