"""How a supervisor comes to an upgrade: the look, and the moment of rest. Without workers."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from manyhands.supervisor.template_process import CopyOfThis
from manyhands.supervisor.upgrading import (
    ANSWER_TIME,
    BETWEEN_PAUSES,
    MOST_PAUSE,
    REST_TIMEOUT,
    Upgrading,
)


class Acts:
    """What is watched, in the place of a `Polling`."""

    def __init__(self) -> None:
        self.acts: dict[int, Callable[[int], object]] = {}

    def watch(self, descriptor: int, act: Callable[[int], object]) -> None:
        self.acts[descriptor] = act

    def forget(self, descriptor: int) -> None:
        self.acts.pop(descriptor, None)


class Fleet:
    """What it needs of the fleet, as the test says."""

    def __init__(self) -> None:
        self.polling: Any = Acts()
        self.is_stopping = False
        self.is_at_rest = True
        self.in_flight = 0
        self.is_changing = False
        self.has_its_controls = True
        self.takes_none = False

    def recall_controls(self, *, value: bool) -> None: ...

    def take_none(self, *, value: bool) -> None:
        self.takes_none = value

    def answer(self, *_: object) -> None: ...

    def note_ready(self, _template: object) -> str:
        return ""


def would_do(channel: socket.socket) -> None:
    """Tell that it would do, as the process that looks, and end."""
    channel.send(json.dumps({"kind": "ready", "threads": 1}).encode())
    os._exit(0)


class Asked:
    """An upgrade that was asked for, which has come as far as that the new program would do."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.execs = self.given_up = 0
        self.failure: Exception | None = None
        self.told: list[str | None] = []
        self.upgrading = Upgrading(self.fleet, self._exec_new, self._give_up, lambda: 60.0)
        self.upgrading.starter = CopyOfThis(would_do)
        self.now = time.monotonic()
        self.begin()

    def begin(self) -> None:
        self.upgrading.begin(self.told.append)
        os.waitid(os.P_PID, self.upgrading.pid, os.WEXITED | os.WNOWAIT)
        [*_, note_end] = self.fleet.polling.acts.values()
        note_end(0)
        self.now = max(self.now, time.monotonic())

    def _exec_new(self) -> None:
        self.execs += 1
        if self.failure is not None:
            raise self.failure

    def _give_up(self) -> None:
        self.given_up += 1

    def look(self, after: float = 0.0) -> None:
        self.now += after
        self.upgrading.look(self.now)

    def look_for(self, seconds: float) -> Iterator[None]:
        """Look whenever it is due, for so long."""
        until = self.now + seconds
        while (left := self.upgrading.seconds_left(self.now)) is not None and self.now < until:
            self.look(max(left, 0.001))
            yield


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_who_has_asked_is_told_and_then_the_new_program_begins(asked: Asked) -> None:
    asked.look()
    assert (asked.told, asked.execs, asked.fleet.takes_none) == ([None], 0, False)
    asked.look(ANSWER_TIME)
    assert (asked.execs, asked.given_up, asked.fleet.takes_none) == (1, 0, True)


def test_clients_wait_a_moment_at_a_time_for_a_worker_that_begins_nothing(asked: Asked) -> None:
    asked.fleet.is_at_rest, asked.fleet.in_flight = False, 3
    paused, pauses, began_at = 0.0, 0, asked.now
    before = asked.now, False
    for _ in asked.look_for(2 * REST_TIMEOUT):
        paused += (asked.now - before[0]) if before[1] else 0.0
        pauses += asked.fleet.takes_none and not before[1]
        before = asked.now, asked.fleet.takes_none
    assert asked.told == ["a worker does not begin what was dealt to it"]
    assert asked.now - began_at >= REST_TIMEOUT
    assert pauses > 1
    assert paused <= (MOST_PAUSE + 0.01) * (1 + REST_TIMEOUT / (MOST_PAUSE + BETWEEN_PAUSES))
    assert (asked.execs, asked.given_up, asked.fleet.takes_none) == (0, 1, False)


def test_they_wait_on_while_workers_begin_what_they_have(asked: Asked) -> None:
    asked.fleet.is_at_rest = False
    for in_flight in range(10, 0, -1):
        asked.fleet.in_flight = in_flight
        asked.look(MOST_PAUSE - 0.01)
        assert asked.fleet.takes_none
    asked.fleet.is_at_rest, asked.fleet.in_flight = True, 0
    asked.look(0.005)
    assert asked.told == [None]


def test_workers_that_are_to_come_are_waited_for_and_nobody_else_waits(asked: Asked) -> None:
    asked.look()
    asked.fleet.is_changing = True
    asked.look(ANSWER_TIME)
    assert (asked.execs, asked.fleet.takes_none) == (0, False)
    asked.fleet.is_changing = False
    asked.look(0.05)
    assert asked.execs == 1


def test_an_upgrade_is_refused_where_workers_are_replaced_all_the_time(asked: Asked) -> None:
    asked.fleet.is_changing = True
    for _ in asked.look_for(2 * REST_TIMEOUT):
        assert not asked.fleet.takes_none
    assert asked.told == ["workers are being replaced just now: ask again when they serve"]


@pytest.mark.parametrize("failure", [OSError(7, "Argument list too long"), TypeError("not JSON")])
def test_whatever_keeps_the_new_program_from_beginning_leaves_the_old_one(
    asked: Asked, failure: Exception
) -> None:
    asked.failure = failure
    for _ in asked.look_for(REST_TIMEOUT):
        pass
    assert (asked.execs, asked.fleet.takes_none) == (1, False)
    asked.failure = None
    asked.begin()
    for _ in asked.look_for(1.0):
        pass
    assert asked.execs > 1
