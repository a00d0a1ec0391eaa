"""Events as lines: one for each, whatever a peer is called, and nothing in it that a client sent."""

import dataclasses
import json
import math
from typing import Any

import pytest

from manyhands.logs.lines import iso_time, json_line, measurements, text_line
from manyhands.model import events
from manyhands.model.connection_states import Reason
from manyhands.model.events import Event, RefusalSummary
from tests.model.test_events import EXAMPLES

#: 2026-03-01 12:00:00.250 UTC
WHEN = 1_772_366_400.25

#: A client may bind its Unix socket to any path.
FORGED = "/tmp/\x1b[2Jx\n2026 error EngineFull: \u202e"


@pytest.mark.parametrize(("event", "sentence"), EXAMPLES)
def test_an_event_is_one_json_object_on_one_line(event: Event, sentence: str) -> None:
    line = json_line(event, WHEN)
    assert line.isprintable()
    document = json.loads(line)
    assert document.pop("time") == "2026-03-01T12:00:00.250Z"
    assert document.pop("level") == event.level
    assert document.pop("event") == type(event).__name__
    assert document.pop("message") == sentence
    assert list(document) == [field.name for field in dataclasses.fields(event)]


@pytest.mark.parametrize(("event", "sentence"), EXAMPLES)
def test_a_peer_is_written_in_the_sentence_as_in_its_field(event: Event, sentence: str) -> None:
    document = json.loads(json_line(event, WHEN))
    peers = [document.get("peer"), *document.get("summary", {}).get("peers", [])]
    assert all(peer in sentence for peer in filter(None, peers))


def test_when_the_first_was_refused_is_a_moment_that_people_can_read() -> None:
    summary = RefusalSummary({Reason.REFUSED_FULL: 1}, (), WHEN, 1.0)
    document = json.loads(json_line(events.ConnectionsRefused("127.0.0.1:8008", summary), WHEN))
    assert document["summary"]["since"] == "2026-03-01T12:00:00.250Z"


@pytest.mark.parametrize(("event", "sentence"), EXAMPLES)
def test_an_event_is_one_line_of_text(event: Event, sentence: str) -> None:
    line = text_line(event, WHEN)
    assert line.isprintable()
    assert line.startswith(f"2026-03-01T12:00:00.250Z {event.level} {type(event).__name__}: ")


@pytest.mark.parametrize("kind", events.kinds())
def test_no_field_hides_what_every_line_has(kind: type[Event]) -> None:
    names = {field.name for field in dataclasses.fields(kind)}
    assert not names & {"time", "level", "event", "message"}


@pytest.mark.parametrize("write", [text_line, json_line])
def test_what_a_peer_is_called_begins_no_line_and_moves_no_cursor(write: Any) -> None:
    event = events.ConnectionClosed(1, "/run/echo.sock", FORGED, "idle", 1.0, None, None)
    assert write(event, WHEN).isprintable()


def test_a_json_line_reads_back_what_a_peer_is_called() -> None:
    event = events.ConnectionClosed(1, "/run/echo.sock", FORGED, "idle", 1.0, None, None)
    assert json.loads(json_line(event, WHEN))["peer"] == FORGED


@dataclasses.dataclass(frozen=True, slots=True)
class Odd(Event):
    peer: object
    peers: tuple[object, ...]
    counts: dict[Reason, int]
    seconds: float
    data: bytes
    other: object


def test_the_fields_become_what_json_has() -> None:
    peer = ("::1", 40000, 0, 0)
    event = Odd(peer, (peer, "\0bus"), {Reason.IDLE: 3}, math.inf, b"secret", {1.5})
    assert measurements(event) == {
        "peer": "[::1]:40000",
        "peers": ["[::1]:40000", "@bus"],
        "counts": {"idle": 3},
        "seconds": None,
        "data": "6 bytes",
        "other": [1.5],
    }


@pytest.mark.parametrize(
    ("when", "written"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1772366399.9994, "2026-03-01T11:59:59.999Z"),
        (1772366399.9999999, "2026-03-01T12:00:00.000Z"),
        (-0.25, "1969-12-31T23:59:59.750Z"),
    ],
)
def test_a_moment_is_written_to_the_millisecond(when: float, written: str) -> None:
    assert iso_time(when) == written
