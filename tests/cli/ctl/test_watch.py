"""`manyhands ctl watch`: what a server tells is printed as it comes, until one of the two ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pexpect
import pytest

from manyhands.model.columns import width
from tests.cli.ctl.conftest import Ctl
from tests.control.kit import Wire
from tests.support import Program, wait_until
from tests.support.processes import state_of
from tests.support.programs import environment

AT = "2026-11-30T01:02:03.456Z"


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def event(message: str, level: str = "info") -> dict[str, object]:
    return {"event": "ConnectionClosed", "at": AT, "level": level, "message": message, "number": 7}


class Watched:
    """A server that is watched: what was asked of it, and what it tells."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self._wire: Wire | None = None
        self._is_watched = threading.Event()
        self._is_over = threading.Event()

    def script(self, wire: Wire) -> None:
        wire.hello()
        for request in wire.requests():
            self.asked.append(request["params"])
            wire.answer(request, {})
            self._wire = wire
            self._is_watched.set()

    def wire(self) -> Wire:
        assert self._is_watched.wait(30)
        assert self._wire is not None
        return self._wire

    def tell_events(self, *items: dict[str, object], dropped: int = 0) -> None:
        self.wire().tell("events", {"seq": 1, "items": items, "dropped": dropped})


@pytest.fixture
def watched(ctl: Ctl) -> Watched:
    watched = Watched()
    ctl.serve(watched.script)
    return watched


def telling(*told: tuple[str, dict[str, object]]) -> Callable[[Wire], None]:
    """Return a script that tells something to a client that watches, and ends."""

    def script(wire: Wire) -> None:
        wire.hello()
        request = next(wire.requests())
        wire.answer(request, request["params"])
        for kind, params in told:
            wire.tell(kind, params)

    return script


ENDED = "manyhands: the server (process 71, serve shop:Echo) has closed the connection\n"


def test_events_are_lines_and_the_end_of_the_server_is_a_failure(ctl: Ctl) -> None:
    items = [event("#7 \x1b[2J ended"), {"event": "Draining", "at": "soon", "seconds": 3}]
    ctl.serve(telling(("events", {"items": items, "dropped": 12})))
    assert ctl.says("watch", status=1).splitlines() == [
        r"01:02:03 ConnectionClosed: #7 \x1b[2J ended",
        "soon Draining: seconds=3",
        "-- 12 events were not told, for they came too fast",
    ]
    assert ctl.errors == ENDED


def test_stats_are_lines(ctl: Ctl) -> None:
    books = {"accepted": 12_345, "open": 120, "closed": 1, "refused": 30}
    rates = {"accepted": 12.0, "closed": 1.0, "refused": 0.0, "bytes_in": 1200.0, "bytes_out": 5.0}
    first = {"at": AT, "books": books, "rates": None}
    unmeasured = first | {"rates": rates | {"bytes_in": None}}
    ctl.serve(telling(("stats", first), ("stats", first | {"rates": rates}), ("stats", unmeasured)))
    assert ctl.says("watch", "stats", status=1).splitlines() == [
        "01:02:03 120 open, 12,345 accepted, 30 refused",
        "01:02:03 120 open, 12,345 accepted (12/s), 30 refused (0/s), in 1.2 kB/s, out 5 B/s",
        "01:02:03 120 open, 12,345 accepted (12/s), 30 refused (0/s)",
    ]


def test_programs_get_each_notification_as_a_line_of_json(ctl: Ctl) -> None:
    told: list[tuple[str, dict[str, object]]] = [
        ("events", {"seq": 1, "items": [event("x")], "dropped": 0}),
        ("stats", {"seq": 1}),
    ]
    ctl.serve(telling(*told))
    lines = ctl.says("watch", "events", "stats", "--json", status=1).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"method": kind, "params": params} for kind, params in told
    ]


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ([], {"what": ["events"]}),
        (["stats", "events", "stats"], {"what": ["stats", "events"]}),
        (["stats", "--every", "0.5"], {"what": ["stats"], "every": 0.5}),
    ],
)
def test_what_is_watched_is_asked_for(
    ctl: Ctl, watched: Watched, words: list[str], params: dict[str, object]
) -> None:
    ending = threading.Thread(target=lambda: watched.wire().end())
    ending.start()
    ctl.says("watch", *words, status=1)
    ending.join()
    assert watched.asked == [params]


@contextmanager
def watching(ctl: Ctl, *words: str) -> Iterator[Program]:
    with Program(["-m", "manyhands", "ctl", "--control", ctl.place, "watch", *words]) as program:
        yield program


def test_an_event_is_printed_when_it_comes_and_ctrl_c_ends_it(ctl: Ctl, watched: Watched) -> None:
    with watching(ctl) as program:
        watched.tell_events(event("first"))
        assert program.line() == "01:02:03 ConnectionClosed: first"
        watched.tell_events(event("second"))
        assert program.line() == "01:02:03 ConnectionClosed: second"
        program.send(signal.SIGINT)
        assert program.wait() == 128 + signal.SIGINT
        assert program.errors() == ""


def test_it_ends_when_its_reader_has_gone_even_if_nothing_happens(
    ctl: Ctl, watched: Watched
) -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "manyhands", "ctl", "--control", ctl.place, "watch"]
    with subprocess.Popen(
        command, stdout=writing, stderr=subprocess.PIPE, env=environment()
    ) as process:
        os.close(writing)
        watched.tell_events(event("first"))
        assert os.read(reading, 100) == b"01:02:03 ConnectionClosed: first\n"
        os.close(reading)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (128 + signal.SIGPIPE, b"")


SIGNALLED_ELSEWHERE = """
import signal, sys, threading, time
from manyhands.cli import main

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

def take():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    time.sleep(3600)

threading.Thread(target=take, daemon=True).start()
sys.exit(main())
"""
"""The command, beside a thread that takes Ctrl-C: its wait is not interrupted, as by one just before."""


def test_ctrl_c_is_not_lost_in_the_wait(ctl: Ctl, watched: Watched) -> None:
    command = [sys.executable, "-c", SIGNALLED_ELSEWHERE, "ctl", "--control", ctl.place, "watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        watched.tell_events(event("first"))
        assert process.stdout.readline() == b"01:02:03 ConnectionClosed: first\n"
        wait_until(lambda: state_of(process.pid) == "S")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (128 + signal.SIGINT, b"")


def at_a_terminal(
    ctl: Ctl, *words: str, columns: int = 80, **variables: str
) -> "pexpect.spawn[str]":
    return pexpect.spawn(
        sys.executable,
        ["-m", "manyhands", "ctl", "--control", ctl.place, *words],
        dimensions=(24, columns),
        env={**environment(), "TERM": "xterm", **variables},
        encoding="utf-8",
        timeout=30,
    )


@pytest.mark.parametrize(
    ("variables", "before", "after"),
    [
        ({"NO_COLOR": ""}, "\x1b[33m", "\x1b[0m"),
        ({"NO_COLOR": "1"}, "", ""),
        ({"TERM": "dumb"}, "", ""),
    ],
)
def test_at_a_terminal_what_is_wrong_is_in_colour_where_that_is_wanted(
    ctl: Ctl, watched: Watched, variables: dict[str, str], before: str, after: str
) -> None:
    with at_a_terminal(ctl, "watch", **variables) as terminal:
        watched.tell_events(event("fine"), event("late", "warning"))
        terminal.expect_exact(
            f"01:02:03 ConnectionClosed: fine\r\n{before}01:02:03 ConnectionClosed: late{after}\r\n"
        )
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
    assert terminal.exitstatus == 128 + signal.SIGINT
    assert terminal.before == "^C"


def test_a_table_is_cut_to_the_terminal(ctl: Ctl) -> None:
    room = {"server": 1, "room": "\N{CJK UNIFIED IDEOGRAPH-7D05}" * 40, "members": 5}
    ctl.answer({"rooms.list": {"items": [room]}})
    with at_a_terminal(ctl, "rooms", columns=40, NO_COLOR="1") as terminal:
        terminal.expect(pexpect.EOF)
        lines = (terminal.before or "").splitlines()
    assert [width(line) for line in lines] == [40, 40]
    assert lines[1].endswith("…        5")
