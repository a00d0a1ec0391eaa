"""A server's figures, read when they are scraped."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from manyhands.http.any_server import AnyServer
from manyhands.metrics.workers import Key
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import event_hub
from manyhands.model.events import ConnectionClosed, Event, kinds
from manyhands.runtime.unpatched import brief_lock
from manyhands.serving.controls import ServerControls, controls_of
from manyhands.serving.info import ServerInfo, TotalsInfo, count_totals

Elsewhere: TypeAlias = tuple[Mapping[Key, str], Iterable[Key]]
"""What workers tell, as text, by their keys; and the keys of those that there are."""

HUB_PATIENCE = 1.0
"""Seconds that a scrape waits for the hub to turn; one that takes longer is late enough."""


class ServerCollector(Collector):
    """Collects the figures of one server for a registry. Thread-safe.

    From its making on, connections are counted as they end.

    Parameters
    ----------
    server : manyhands.Server, a server of `manyhands.socketserver`, or their controls
        Whose figures.
    waits_for_hub : bool
        Whether a look waits for the hub to turn, for `HUB_PATIENCE`; else it tells what is known of that.
    """

    def __init__(self, server: AnyServer | ServerControls, *, waits_for_hub: bool = True) -> None:
        self._server = server if isinstance(server, ServerControls) else controls_of(server)
        self._waits_for_hub = waits_for_hub
        # From now on, also for connections that end before the first scrape.
        count_totals(self._server.core.registry)
        # Connections that end have figures of their own, by reason.
        self._events = {kind: 0 for kind in kinds() if kind is not ConnectionClosed}
        self._lock = brief_lock()
        self._unsubscribe = event_hub.subscribe(self._count)
        self._received = self._sent = 0

    def figures_elsewhere(self) -> Elsewhere | None:
        """Return what the server's workers tell now, in the process of their supervisor; None without any."""
        ask = self._server.core.figures_elsewhere
        return None if ask is None else ask()

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
        info = self._server.info(totals=True)
        yield from _connections(info)
        if info.totals is not None:  # they are counted: see above
            yield from self._bytes(info.totals)
            yield _handler_seconds(info.totals)
        yield from _engines(info, self._hub_delay())
        yield from _backlogs(info)
        yield from _datagrams(info)
        yield from _rooms(info)
        yield _certificates(info)
        yield self._event_counts()

    def _hub_delay(self) -> float | None:
        # Not in the snapshot, which never waits: only the hub itself can tell how late it is, when it turns.
        delays = (
            engine.hub_delay(HUB_PATIENCE) if self._waits_for_hub else engine.hub_lateness()
            for engine in self._server.core.engines
        )
        return next((delay for delay in delays if delay is not None), None)

    def _bytes(self, totals: TotalsInfo) -> Iterator[Metric]:
        # A connection that ends while the snapshot is taken may be missing, and a counter never goes back.
        self._received = max(self._received, totals.bytes_in)
        self._sent = max(self._sent, totals.bytes_out)
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


def _connections(info: ServerInfo) -> Iterator[Metric]:
    by_state = GaugeMetricFamily(
        "manyhands_connections",
        "Connections that are open now, by their state",
        labels=["state"],
    )
    for state, count in info.open.items():
        by_state.add_metric([state], count)
    yield by_state
    yield CounterMetricFamily(
        "manyhands_connections_accepted", "Connections that were accepted", value=info.accepted
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
        family.add_metric([reason.value], info.closed.get(reason.value, 0))
    yield from (closed, refused)


def _handler_seconds(totals: TotalsInfo) -> Metric:
    bounds = [*map(floatToGoString, totals.bounds), "+Inf"]
    return HistogramMetricFamily(
        "manyhands_handler_seconds",
        "Seconds from a connection's acceptance to its handler's end",
        # Prometheus wants each bucket to hold those of all smaller bounds too.
        buckets=list(zip(bounds, accumulate(totals.by_duration), strict=True)),
        sum_value=totals.seconds,
    )


def _engines(info: ServerInfo, hub_delay: float | None) -> Iterator[Metric]:
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
    for engine in info.engines:
        running.add_metric([engine.name], engine.running)
        if engine.limit is not None:
            limit.add_metric([engine.name], engine.limit)
    if hub_delay is not None:
        late.add_metric([], hub_delay)
    yield from (running, limit, late)


def _certificates(info: ServerInfo) -> Metric:
    expiry = GaugeMetricFamily(
        "manyhands_certificate_not_after_seconds",
        "When a certificate expires, in seconds since 1970",
        labels=["certfile"],
    )
    for file, not_after in info.certificates.items():
        expiry.add_metric([file], not_after)
    return expiry


def _backlogs(info: ServerInfo) -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "manyhands_backlog", "Connections that wait to be accepted, of TCP", labels=["listener"]
    )
    limit = GaugeMetricFamily(
        "manyhands_backlog_limit",
        "Connections that may wait to be accepted",
        labels=["listener"],
    )
    for listener in info.listeners:
        if listener.waiting is not None and listener.backlog is not None:
            waiting.add_metric([listener.address], listener.waiting)
            limit.add_metric([listener.address], listener.backlog)
    yield from (waiting, limit)


def _datagrams(info: ServerInfo) -> Iterator[Metric]:
    lost = CounterMetricFamily(
        "manyhands_datagrams_lost",
        "Datagrams of UDP that the kernel dropped, since its buffer was full",
        labels=["listener"],
    )
    for listener in info.listeners:
        if listener.dropped is not None:
            lost.add_metric([listener.address], listener.dropped)
    dropped = CounterMetricFamily(
        "manyhands_datagrams_dropped",
        "Datagrams that were received and dropped unserved, by the reason",
        labels=["reason"],
    )
    for reason, count in info.dropped.items():
        dropped.add_metric([reason], count)
    yield from (lost, dropped)


def _rooms(info: ServerInfo) -> Iterator[Metric]:
    yield GaugeMetricFamily("manyhands_rooms", "Rooms that have members", info.rooms)
    yield CounterMetricFamily(
        "manyhands_pieces_missed",
        "Pieces that were sent to connections and dropped, since their clients did not read",
        info.missed,
    )
