"""What a browser gets of what is known: all at first, then what is new, and all again after a gap."""

import json
from typing import Any

import pytest

from manyhands.control.client import Notification
from manyhands.web.http_connection import Refusal
from manyhands.web.snapshot import HISTORY, RING, Snapshot
from manyhands.web.stream import Stream, resumed


def kept(*numbers: int) -> Snapshot:
    events = tuple((number, {"event": f"E{number}"}) for number in numbers)
    last = numbers[-1] if numbers else 0
    return Snapshot(incarnation="a", server={"may": ["write"]}, events=events, last=last)


def news(
    stream: Stream, now: Snapshot, *, may_write: bool = False
) -> list[tuple[str, str | None, Any]]:
    """Return the kind, the id and the data of each message."""
    found = []
    for message in stream.news(now, may_write=may_write).decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in message.split("\n"))
        found.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return found


def names(data: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in data]


def test_a_browser_gets_all_at_first_and_then_what_is_new() -> None:
    stream, first = resumed(None), kept(1, 2)
    ((kind, number, data),) = news(stream, first)
    assert (kind, number, names(data["events"])) == ("reset", "a:2:0", ["E1", "E2"])
    assert news(stream, first) == []
    stats = {"at": "now", "books": {"open": 5}}
    more = first.after(Notification("events", {"items": [{"event": "E3"}, {"event": "E4"}]}))
    assert news(stream, more.after(Notification("stats", stats))) == [
        # Numbered one by one: the stream may end between the two.
        ("events", "a:4:0", [{"event": "E3"}, {"event": "E4"}]),
        ("stats", "a:4:1", {"stats": stats, "points": [["now", 5, None, None, None, None, None]]}),
    ]


def test_a_browser_that_was_away_gets_the_points_that_its_charts_have_missed() -> None:
    now = kept(1)
    for count in range(HISTORY + 5):
        now = now.after(Notification("stats", {"at": str(count), "books": {"open": count}}))
    latest = HISTORY + 5
    for seen, missed in ((latest - 3, 3), (1, HISTORY)):
        (_, (kind, number, data)) = news(resumed(f"a:1:{seen}"), now)
        assert (kind, number) == ("stats", f"a:1:{latest}")
        assert [point[1] for point in data["points"]] == [*range(latest - missed, latest)]
        assert data["stats"]["books"]["open"] == latest - 1


def test_a_browser_that_comes_back_gets_what_it_has_missed() -> None:
    ((kind, _, _), (_, number, data)) = news(resumed("a:2:0"), kept(1, 2, 3))
    assert (kind, number, names(data)) == ("server", "a:3:0", ["E3"])


@pytest.mark.parametrize(
    ("last_id", "what"),
    [
        ("b:4:0", "another run"),
        ("a:1:0", "events that are kept no longer"),
        ("a:9:0", "events of the future"),
        ("a:5:1", "figures of the future"),
    ],
)
def test_a_browser_that_cannot_go_on_gets_all_anew(last_id: str, what: str) -> None:
    ((kind, number, _),) = news(resumed(last_id), kept(3, 4, 5))
    assert (kind, number) == ("reset", "a:5:0"), what


def test_a_browser_that_has_got_the_one_before_the_oldest_goes_on() -> None:
    assert [kind for kind, _, _ in news(resumed("a:2:0"), kept(3, 4))] == ["server", "events"]


@pytest.mark.parametrize(
    "last_id",
    [
        "a",
        "a:",
        "a:1",
        "a:1:",
        "a:-1:0",
        "a:x:0",
        "a:0:x",
        "a:" + "9" * 20 + ":0",
        "a:²:0",
        "a:0:²",
    ],
)
def test_an_id_that_is_none_of_the_page_s_is_refused(last_id: str) -> None:
    with pytest.raises(Refusal, match="RUN:EVENTS:FIGURES"):
        resumed(last_id)


@pytest.mark.parametrize(("is_admin", "may"), [(True, True), (False, False)])
def test_the_page_is_told_whether_it_may_change_anything(is_admin: bool, may: bool) -> None:
    ((_, _, data),) = news(Stream(), kept(1), may_write=is_admin)
    assert data["may_write"] is may


def test_an_admin_of_a_socket_for_reading_may_change_nothing() -> None:
    now = Snapshot(incarnation="a", server={"may": ["read"]})
    ((_, _, data),) = news(Stream(), now, may_write=True)
    assert data["may_write"] is False


def test_what_is_kept_has_a_bound_and_what_was_dropped_is_told() -> None:
    now = Snapshot()
    for number in range(RING + 10):
        now = now.after(Notification("events", {"items": [{"event": str(number)}], "dropped": 0}))
        now = now.after(Notification("stats", {"at": str(number), "books": {"open": number}}))
    assert len(now.events) == RING
    assert now.events[-1] == (RING + 10, {"event": str(RING + 9)})
    assert len(now.history) == HISTORY
    now = now.after(Notification("events", {"items": [{"event": "last"}], "dropped": 3}))
    assert [event for _, event in now.events[-2:]] == [
        {"event": "EventsDropped", "dropped": 3},
        {"event": "last"},
    ]


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("events", {"items": None, "dropped": None}),
        ("events", {"items": [None, 7]}),
        ("events", {}),
        ("stats", {"books": [], "rates": "none"}),
        ("stats", {}),
    ],
)
def test_what_a_later_server_tells_in_another_way_ends_nothing(
    kind: str, params: dict[str, Any]
) -> None:
    now = kept(1).after(Notification(kind, params))
    assert [number for number, _ in now.events] == [1]
    assert [point[1:] for point in now.history] == [[None] * 6] * (kind == "stats")
