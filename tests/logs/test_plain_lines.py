"""Plain lines, for people at a terminal: what a peer is called begins none, whatever tells of it."""

import dataclasses
from typing import Any

import pytest

from manyhands.logs.lines import PlainLines
from manyhands.logs.records import record_of
from manyhands.logs.uncaught import take_over
from manyhands.model.events import Event
from manyhands.runtime.error_reports import report
from tests.model.test_events import EXAMPLES

FORGED = "/tmp/\x1b[2Jx\nmanyhands: all is well"
"""A client may bind its Unix socket to any path."""


def forged(event: Event) -> Event:
    """Return the event as it is of a peer with a forged name."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(event):
        if field.name in {"peer", "peers"}:
            changes[field.name] = FORGED if field.name == "peer" else (FORGED, FORGED)
    return dataclasses.replace(event, **changes)


@pytest.mark.parametrize("event", [example for example, _ in EXAMPLES], ids=repr)
def test_no_event_lets_a_peer_begin_a_line(event: Event) -> None:
    lines = PlainLines().format(record_of("manyhands", forged(event))).split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("manyhands: ")] == lines[:1]


def test_neither_does_the_report_of_an_error() -> None:
    records: list[Any] = []
    end = take_over(records.append)
    try:
        int("four")
    except ValueError:
        report(FORGED)
    finally:
        end()
    first, second, *_ = PlainLines().format(records[0]).split("\n")
    assert first.endswith("all is well")
    assert second.startswith("Traceback")
