"""Watching: stats at an interval, of which the latest counts, and events as they come."""

import json
import time
from typing import Any

import pytest

from manyhands import events
from manyhands.control.client import Client, Refused
from manyhands.control.event_feed import MOST_BYTES, MOST_WAITING, EventFeed
from manyhands.control.process import ControlledProcess
from manyhands.control.watching import SAME_MOMENT, Watch
from manyhands.testing import read_line
from tests.support import bound, call, wait_until

from .conftest import Controlled

WATCH = '{"jsonrpc":"2.0","id":1,"method":"watch","params":%s}\n'


def test_stats_come_at_once_and_then_at_the_interval(controlled: Controlled) -> None:
    with controlled() as server:
        client = server.client()
        client.watch("stats", every=0.1)
        first, second = client.receive(5), client.receive(5)
        assert first is not None
        assert second is not None
        assert (first.kind, first.params["seq"], second.params["seq"]) == ("stats", 1, 2)
        assert first.params["rates"] is None
        with call(bound(server.server)) as peer:
            peer.sendall(b"hello\n")
            read_line(peer)
            rates = []
            while not any(rates):
                told = client.receive(5)
                assert told is not None
                rates.append(told.params["rates"]["accepted"])
        assert told.params["books"]["accepted"] == 1
        # Once, in the time since the stats before: never less than counts as one moment.
        assert 0 < rates[-1] <= 1 / SAME_MOMENT


def test_the_end_of_a_connection_is_told_as_an_event(controlled: Controlled) -> None:
    with controlled() as server:
        client = server.client()
        client.watch("events")
        with call(bound(server.server)) as peer:
            peer.sendall(b"hello\n")
            read_line(peer)
            host, port = peer.getsockname()
        told = client.receive(5)
        assert told is not None
        assert (told.kind, told.params["dropped"]) == ("events", 0)
        [event] = told.params["items"]
        assert (event["event"], event["peer"]) == ("ConnectionClosed", f"{host}:{port}")
        assert event["reason"] == "peer_closed"
        assert event["at"].startswith("20")


def test_a_client_is_told_of_what_happens_from_the_answer_on(controlled: Controlled) -> None:
    before = events.hub.hears_of_ends
    with controlled() as server:
        for _ in range(50):
            with Client(server.place) as client:
                client.watch("events")
                assert events.hub.hears_of_ends
            wait_until(lambda: events.hub.hears_of_ends == before)


def test_watching_nothing_ends_it_and_costs_no_connection_an_event(controlled: Controlled) -> None:
    before = events.hub.hears_of_ends
    with controlled() as server:
        client = server.client()
        client.watch("events", "stats", every=0.1)
        wait_until(lambda: events.hub.hears_of_ends)
        assert client.call("watch", what=[])["watching"] == []
        wait_until(lambda: events.hub.hears_of_ends == before)
        while client.receive(0.3) is not None:
            pass
        client.watch("events")
        wait_until(lambda: events.hub.hears_of_ends)
        client.close()
        wait_until(lambda: events.hub.hears_of_ends == before)


def test_a_client_that_does_not_read_gets_the_latest_stats_and_a_count_of_events(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.control.served_client.MOST_UNSENT", 20_000)
    with controlled() as server, call(server.place) as peer, peer.makefile("rb") as lines:
        lines.readline()
        what = json.dumps({"what": ["stats", "events"], "every": 0.1})
        peer.sendall((WATCH % what).encode())
        assert "result" in json.loads(lines.readline())
        wait_until(lambda: events.hub.hears_of_ends)
        emitted = 0
        began = time.monotonic()
        # Far more than the connection and the queue hold together.
        while time.monotonic() - began < 1.0:
            for _ in range(100):
                events.hub.emit(events.SignalIgnored("x" * 3000))
                emitted += 1
            time.sleep(0.05)
        received = dropped = 0
        stats: list[int] = []
        kind = ""
        while received + dropped < emitted or kind != "stats":
            told = json.loads(lines.readline())
            kind = told["method"]
            if kind == "stats":
                stats.append(told["params"]["seq"])
            else:
                received += len(told["params"]["items"])
                dropped += told["params"]["dropped"]
        assert received + dropped == emitted
        assert received
        assert dropped
        assert stats == sorted(set(stats))
        # The interval went on, and those that were not read are not there.
        assert len(stats) < stats[-1] - stats[0] + 1


def test_a_status_that_raises_is_reported_once_and_holds_up_no_other(
    controlled: Controlled, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fail(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise ZeroDivisionError

    with controlled() as server:
        watching, other = server.client(), server.client()
        other.watch("events")
        monkeypatch.setattr(ControlledProcess, "status", fail)
        watching.watch("stats", every=0.1)
        wait_until(lambda: len(asked) > 2)
        # Events are told after the stats of the same turn.
        events.hub.emit(events.SignalIgnored("x"))
        told = other.receive(5)
        assert told is not None
        assert told.params["items"]
        monkeypatch.undo()
        again = watching.receive(5)
        assert again is not None
        assert again.params["rates"] is None
        assert capfd.readouterr().err.count("Traceback") == 1
        # What fails later is another thing to hear of; where it is told of for each client as well.
        asked.clear()
        monkeypatch.setattr(Watch, "stats", fail)
        wait_until(lambda: len(asked) > 2)
        monkeypatch.undo()
        while (again := watching.receive(5)) is not None and not again.params["rates"]:
            pass
        assert again is not None
    assert capfd.readouterr().err.count("Traceback") == 1


class Odd(events.Event):
    """An event of a program's own that cannot be told."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_event_that_cannot_be_written_is_counted_and_the_others_are_told(
    controlled: Controlled, capfd: pytest.CaptureFixture[str]
) -> None:
    with controlled() as server:
        client = server.client()
        client.watch("events")
        for event in (events.SignalIgnored("a"), Odd(), Odd(), events.SignalIgnored("b")):
            events.hub.emit(event)
        told, dropped = [], 0
        while len(told) < 2 or dropped < 2:
            batch = client.receive(5)
            assert batch is not None
            told += [item["message"] for item in batch.params["items"]]
            dropped += batch.params["dropped"]
    assert ["a" in told[0], "b" in told[1], dropped] == [True, True, 2]
    # Reported once for its class, however many come.
    assert capfd.readouterr().err.count("Traceback") == 1


def test_what_there_was_no_place_for_is_told_after_what_came_before_it() -> None:
    feed = EventFeed()
    feed.is_watched = True
    for _ in range(MOST_WAITING + 7):
        feed(events.SignalIgnored("x" * 1000))
    batches = [feed.take()]
    feed(events.SignalIgnored("last"))
    while sum(batch.missed for batch in batches) < 7:
        batches.append(feed.take())
    *before, after = batches
    assert len(before) > 1
    assert sum(len(batch.items) for batch in before) == MOST_WAITING
    assert [after.missed, "last" in "".join(after.items), len(after.items)] == [7, True, 1]


def test_a_batch_has_a_bound_in_bytes_and_the_rest_is_in_the_next() -> None:
    feed = EventFeed()
    feed.is_watched = True
    for _ in range(100):
        feed(events.SignalIgnored("x" * 10_000))
    sizes = []
    while (batch := feed.take()).items:
        sizes.append(sum(map(len, batch.items)))
        assert batch.missed == 0
    assert len(sizes) > 1
    assert max(sizes) < MOST_BYTES + 20_000
    assert sum(sizes) > 1_000_000


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "what is missing: it must be a list"),
        ({"what": ["all"]}, "what must be a list of at most 2, each stats or events"),
        ({"what": "stats"}, "what must be a list"),
        ({"what": ["stats"], "every": 0}, "every must be a number from 0.1 to 60, not 0"),
    ],
)
def test_what_cannot_be_watched_is_refused(
    controlled: Controlled, params: dict[str, object], sentence: str
) -> None:
    with controlled() as server, pytest.raises(Refused, match=sentence):
        server.client().request("watch", params)


def told_at(watch: Watch, now: float, accepted: int, received: int | None, age: float) -> Any:
    """Return the rates that a watch tells at a moment, of a server that has accepted and received so much."""
    books = {"accepted": accepted, "open": 0, "closed": accepted, "refused": 0}
    servers = [{"bytes_in": received, "bytes_out": received, "bytes_age": age}]
    line = watch.stats({"books": books, "servers": servers}, now, is_behind=False)
    assert line is not None
    return json.loads(line)["params"]["rates"]


def test_the_rate_of_bytes_stays_until_they_are_added_up_again() -> None:
    watch = Watch(["stats"], 1.0)
    assert told_at(watch, 100.0, 10, 1000, age=0.0) is None
    rates = told_at(watch, 102.0, 30, 5000, age=0.0)
    assert (rates["accepted"], rates["bytes_in"]) == (10, 2000)
    # Not added up again: a sum of before is no standstill.
    rates = told_at(watch, 103.0, 30, 5000, age=1.0)
    assert (rates["accepted"], rates["bytes_in"]) == (0, 2000)
    rates = told_at(watch, 106.0, 30, 5000, age=0.0)
    assert rates["bytes_in"] == 0
    # Another server has come that does not count, and a sum that went back is of a server that has gone.
    assert told_at(watch, 107.0, 30, None, age=0.0)["bytes_in"] is None
    assert told_at(watch, 108.0, 20, 900, age=0.0)["accepted"] == 0
