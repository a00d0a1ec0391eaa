"""A server's figures, read when they are scraped."""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from manyhands.connections.registry import BOUNDS, Ends
from manyhands.connections.tcp_info import backlog_of
from manyhands.model.connection_states import Reason, State
from manyhands.model.events import ConnectionClosed, Event, hub, kinds
from manyhands.runtime.unpatched import brief_lock
from manyhands.server import Server

if TYPE_CHECKING:
    from manyhands.serving.core import EngineRoom

HUB_PATIENCE = 1.0
"""Seconds that a scrape waits for the hub to turn; one that takes longer is late enough."""


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
        self._room: EngineRoom = server._room if isinstance(server, Server) else server._engine_room
        self._books = self._room.books
        self._books.are_detailed = True
        self._books.ends = self._books.ends or Ends()
        # Of connections that end, others tell more.
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
        yield from self._connections()
        yield from self._bytes()
        yield self._handler_seconds()
        yield from self._engines()
        yield from self._backlogs()
        yield self._event_counts()

    def _connections(self) -> Iterator[Metric]:
        accepted, states, ended = self._books.census()
        by_state = GaugeMetricFamily(
            "manyhands_connections",
            "Connections that are open now, by their state",
            labels=["state"],
        )
        for state in State:
            if state is not State.CLOSED:
                by_state.add_metric([state.value], states[state])
        yield by_state
        yield CounterMetricFamily(
            "manyhands_connections_accepted", "Connections that were accepted", value=accepted
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
            family.add_metric([reason.value], ended[reason])
        yield closed
        yield refused

    def _bytes(self) -> Iterator[Metric]:
        received, sent = self._bytes_in_all()
        # One that ends between the two readings is in neither, and a counter never goes back.
        self._received = max(self._received, received)
        self._sent = max(self._sent, sent)
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

    def _bytes_in_all(self) -> tuple[int, int]:
        ends = self._books.ends
        _, _, received, sent = (ends or Ends()).sums()
        for connection in self._books.values():
            traffic = connection.traffic
            # Of one that is closed nobody knows whether the peer's FIN was counted; its end will tell.
            if traffic is not None and not traffic.was_reset:
                received += traffic.bytes_in
                sent += traffic.bytes_out
        return received, sent

    def _handler_seconds(self) -> Metric:
        sums = (self._books.ends or Ends()).sums()
        bounds = [*map(floatToGoString, BOUNDS), "+Inf"]
        return HistogramMetricFamily(
            "manyhands_handler_seconds",
            "Seconds from a connection's acceptance to its handler's end",
            buckets=list(zip(bounds, accumulate(sums.by_duration), strict=True)),
            sum_value=sums.seconds,
        )

    def _engines(self) -> Iterator[Metric]:
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
        for engine in self._room.engines:
            running.add_metric([engine.name], engine.running())
            if engine.limit is not None:
                limit.add_metric([engine.name], engine.limit)
            delay = engine.hub_delay(HUB_PATIENCE)
            if delay is not None:
                late.add_metric([], delay)
        yield from (running, limit, late)

    def _backlogs(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily(
            "manyhands_backlog", "Connections that wait to be accepted, of TCP", labels=["listener"]
        )
        limit = GaugeMetricFamily(
            "manyhands_backlog_limit",
            "Connections that may wait to be accepted",
            labels=["listener"],
        )
        for listener in self._listeners():
            backlog = backlog_of(getattr(listener, "socket", None))
            if backlog is not None:
                name = listener._describe_listener()
                waiting.add_metric([name], backlog.waiting)
                limit.add_metric([name], backlog.limit)
        yield from (waiting, limit)

    def _listeners(self) -> list[Any]:
        is_of_ours = isinstance(self._server, Server)
        return list(self._server._listeners) if is_of_ours else [self._server]

    def _event_counts(self) -> Metric:
        events = CounterMetricFamily(
            "manyhands_events",
            "What was told of in this process, by the kind of event",
            labels=["event"],
        )
        for kind, count in self._events.copy().items():
            events.add_metric([kind.__name__], count)
        return events
