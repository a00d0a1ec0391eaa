"""What clients can cause as often as they like is in a log once, and then in a summary."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from manyhands import Server, events, logs
from manyhands.logs.rate import KINDS, Rate
from manyhands.logs.records import RecordQueue
from manyhands.model.connection_states import Reason
from manyhands.model.events import RepeatedEvents
from manyhands.runtime.error_reports import report
from tests.support import Echo, bound, call, everything, wait_until

PEERS = [("192.0.2.1", 50000 + number) for number in range(5)]


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("manyhands")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    end = logs.to_logging()
    try:
        yield records
    finally:
        end()
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_the_first_is_told_at_once_and_the_others_together() -> None:
    with logged() as records:
        for peer in PEERS:
            events.hub.emit(events.BadProxyHeader(peer, "no"))
        wait_until(lambda: len(records) == 1)
    first, summary = records
    assert first.event == events.BadProxyHeader(PEERS[0], "no")
    assert summary.event == RepeatedEvents("BadProxyHeader", 4, (PEERS[1],), summary.event.seconds)
    assert summary.levelname == "WARNING"


def test_each_kind_each_listener_and_each_handler_has_a_first() -> None:
    told = [
        events.HandshakeFailed(PEERS[0], "timed out"),
        events.BadProxyHeader(PEERS[0], "no"),
        events.EngineFull("127.0.0.1:1", "threads", 3),
        events.EngineFull("127.0.0.1:2", "threads", 3),
        events.HubBlocked("Report", PEERS[0], 1.0, ""),
        events.HubBlocked("Search", PEERS[0], 1.0, ""),
    ]
    with logged() as records:
        for event in [*told, *told]:
            events.hub.emit(event)
        wait_until(lambda: len(records) == len(told))
        assert [record.event for record in records] == told


def test_a_subscriber_gets_each(seen: list[events.Event]) -> None:
    with logged():
        for peer in PEERS:
            events.hub.emit(events.BadProxyHeader(peer, "no"))
    assert len(seen) == len(PEERS)


def test_what_only_the_server_causes_is_told_each_time() -> None:
    with logged() as records:
        for _ in range(5):
            events.hub.emit(events.NothingToReload("SIGHUP"))
    assert len(records) == 5


def test_the_summary_comes_without_another_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyhands.logs.rate.INTERVAL", 0.05)
    with logged() as records:
        for peer in PEERS:
            events.hub.emit(events.BadProxyHeader(peer, "no"))
        wait_until(lambda: len(records) == 2)
        assert records[1].event.count == 4


def test_what_a_summary_tells_has_the_level_of_its_kind() -> None:
    with logged() as records:
        for peer in PEERS:
            events.hub.emit(events.HandshakeFailed(peer, "no"))
            events.hub.emit(events.WorkerFailed("threads", peer, "no"))
    assert [record.levelname for record in records[2:]] == ["INFO", "ERROR"]
    line = logs.TextLines().format(records[-1])
    assert " error RepeatedEvents: WorkerFailed, 4 times more within " in line


def test_however_many_kinds_there_are_they_take_no_more_memory() -> None:
    rate = Rate()
    told = [rate.note(f"kind {number}", logging.ERROR, None) for number in range(3 * KINDS)]
    assert sum(repeated is not None for repeated in told) == KINDS + 1
    [(rest, _)] = list(rate.rest())
    assert (rest.kind, rest.count) == ("other events", 2 * KINDS - 1)


def fails(number: int) -> None:
    if number % 2:
        raise ValueError(f"secret {number}")
    raise KeyError(number)


def test_failures_of_one_place_in_the_program_are_one_kind() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.TextLines())
    queue = RecordQueue(handler.handle)
    end = logs.take_over(queue.put)
    try:
        for number in range(10):
            try:
                fails(number)
            except (KeyError, ValueError):
                report(PEERS[0])
    finally:
        end()
        queue.close()
    text = stream.getvalue()
    assert text.count("Traceback") == 2
    assert text.count(", 4 times more within ") == 2


@pytest.mark.filterwarnings("ignore:.*fork")
def test_refusals_of_handlers_processes_are_held_to_a_rate_too() -> None:
    """Behind a balancer each reads its client's address, and refuses it, by itself."""
    options: dict[str, Any] = {"proxy_protocol": True, "proxy_trusted": "127.0.0.1"}
    with (
        logged() as records,
        Server(
            Echo, "tcp://127.0.0.1:0", engine="processes", deny="192.0.2.0/24", **options
        ) as server,
    ):
        for _ in range(5):
            with call(bound(server)) as peer:
                peer.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
                assert everything(peer) == b""
        wait_until(lambda: server.connections.closed.get(Reason.REFUSED_DENIED) == 5)
    told = [record.event for record in records if not is_of_forks(record.event)]
    assert [type(event) for event in told] == [events.ConnectionsRefused, RepeatedEvents]
    assert told[1].count == 4


def is_of_forks(event: events.Event) -> bool:
    return isinstance(event, events.ForkedWithThreads)


@pytest.mark.parametrize(
    "event",
    [
        events.DatagramsFull("127.0.0.1:1", 3),
        events.ServerFull("127.0.0.1:1", 3),
        events.BacklogRefused("127.0.0.1:1", 3, "no descriptor"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_crowds_are_held_to_a_rate(event: events.Event) -> None:
    with logged() as records:
        for _ in range(3):
            events.hub.emit(event)
        wait_until(lambda: len(records) == 1)
    assert [type(record.event) for record in records] == [type(event), RepeatedEvents]
