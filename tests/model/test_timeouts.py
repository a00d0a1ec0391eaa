"""When a connection has been silent, stuck or open for too long."""

import itertools
import math
from dataclasses import dataclass

import pytest

from manyhands.model.connection_states import Reason
from manyhands.model.timeouts import (
    MEMBER_SILENT_FOR,
    NONE,
    SILENT_FOR,
    TICK,
    Deadlines,
    Seen,
    Stall,
    interval,
    is_idle,
    longest_age,
    overdue,
    seconds_of_rest,
    stall_of,
)


@dataclass
class Flow:
    silent: float = 0.0
    acknowledged: int = 0
    waits_for_peer: bool = False


def verdict(
    deadlines: Deadlines, flow: Flow | None = None, stall: Stall | None = None, age: float = 1e9
) -> Reason | None:
    return overdue(deadlines, Seen(flow, stall, age, number=1, now=100.0))


def test_without_deadlines_nothing_is_ever_overdue() -> None:
    flow = Flow(silent=1e9, waits_for_peer=True)
    assert verdict(NONE, flow, Stall(0, -1e9), age=1e9) is None


def test_a_client_silent_for_longer_than_idle_timeout_is_idle() -> None:
    deadlines = Deadlines(idle_timeout=10)
    assert verdict(deadlines, Flow(silent=10)) is None
    assert verdict(deadlines, Flow(silent=10.1)) is Reason.IDLE


def test_the_time_in_the_backlog_is_no_silence() -> None:
    deadlines = Deadlines(idle_timeout=10)
    assert verdict(deadlines, Flow(silent=60), age=5) is None
    rest = seconds_of_rest(deadlines, Seen(Flow(silent=60), None, 5.0, number=1, now=100.0))
    assert rest == 5.0


def test_what_is_sent_to_the_peer_does_not_make_it_less_idle() -> None:
    flow = Flow(silent=10.1, acknowledged=10**9, waits_for_peer=True)
    assert verdict(Deadlines(idle_timeout=10, write_timeout=10), flow) is Reason.IDLE


def test_a_client_that_acknowledges_nothing_of_what_waits_is_stuck() -> None:
    deadlines = Deadlines(write_timeout=5)
    flow = Flow(acknowledged=7, waits_for_peer=True)
    assert verdict(deadlines, flow, Stall(7, since=95.0)) is None
    assert verdict(deadlines, flow, Stall(7, since=94.9)) is Reason.WRITE_STALLED


def test_a_stuck_peer_that_is_silent_too_is_stuck() -> None:
    deadlines = Deadlines(idle_timeout=5, write_timeout=5)
    flow = Flow(silent=50, waits_for_peer=True)
    assert verdict(deadlines, flow, Stall(0, since=0)) is Reason.WRITE_STALLED


def test_without_traffic_only_the_age_counts() -> None:
    deadlines = Deadlines(idle_timeout=1, write_timeout=1, max_age=50)
    assert verdict(deadlines, age=40) is None
    assert verdict(deadlines, age=60) is Reason.TOO_OLD


def test_a_stall_begins_when_something_is_first_seen_to_wait() -> None:
    assert stall_of(None, Flow(acknowledged=3, waits_for_peer=True), 8.0) == Stall(3, 8.0)


def test_a_stall_goes_on_while_nothing_is_acknowledged() -> None:
    begun = Stall(3, 8.0)
    assert stall_of(begun, Flow(acknowledged=3, waits_for_peer=True), 20.0) is begun


def test_one_acknowledged_byte_ends_a_stall() -> None:
    assert stall_of(Stall(3, 8.0), Flow(acknowledged=4, waits_for_peer=True), 20.0) == Stall(
        4, 20.0
    )


def test_there_is_no_stall_where_nothing_waits() -> None:
    assert stall_of(Stall(3, 8.0), Flow(acknowledged=3), 20.0) is None


def test_ages_differ_by_a_tenth_at_most_and_spread_evenly() -> None:
    ages = sorted(longest_age(1000, number) for number in range(1, 101))
    assert 900 <= ages[0] < 905
    assert 1095 < ages[-1] <= 1100
    assert max(later - sooner for sooner, later in itertools.pairwise(ages)) < 6


def test_a_connection_has_the_same_longest_age_whenever_it_is_asked() -> None:
    assert longest_age(60, 12345) == longest_age(60, 12345)


@pytest.mark.parametrize(
    ("deadlines", "flow", "stall", "rest"),
    [
        (Deadlines(idle_timeout=10), Flow(silent=4), None, 6.0),
        (Deadlines(write_timeout=16), Flow(), None, 1.0),
        (Deadlines(write_timeout=16), Flow(waits_for_peer=True), Stall(0, 99.0), 0.0),
        (Deadlines(idle_timeout=3, write_timeout=160), Flow(), None, 3.0),
        (Deadlines(idle_timeout=3600), Flow(), None, 16.0),
    ],
)
def test_a_connection_that_cannot_be_overdue_yet_need_not_be_looked_at(
    deadlines: Deadlines, flow: Flow, stall: Stall | None, rest: float
) -> None:
    assert seconds_of_rest(deadlines, Seen(flow, stall, 4.0, number=1, now=100.0)) == rest


def test_by_its_age_a_connection_is_looked_at_when_it_is_due() -> None:
    rest = seconds_of_rest(Deadlines(max_age=10), Seen(None, None, 9.0, number=3, now=100.0))
    assert rest == pytest.approx(longest_age(10, 3) - 9.0)


def test_looks_are_a_second_apart_and_closer_where_a_deadline_is_short() -> None:
    assert interval(300) == 1.0
    assert interval(4) == 1.0
    assert interval(0.2) == pytest.approx(0.05)
    assert interval(1e-6) == 0.01


def test_the_shortest_deadline_is_told() -> None:
    assert Deadlines(30, 20, None).shortest == 20
    assert NONE.shortest is None


@pytest.mark.parametrize(
    ("received_ago", "sent_ago", "has_received", "expected"),
    [
        (3.0, 1.0, True, True),
        (1.0, 1.0, True, True),
        (1.0, 3.0, True, False),
        (1.0, 0.0, False, False),
        (SILENT_FOR, 0.0, False, True),
        (SILENT_FOR, 60.0, True, True),
    ],
    ids=[
        "answered",
        "answered in the same moment",
        "data came since the answer",
        "only greeted",
        "silent for long, and only greeted",
        "silent for long, and not answered",
    ],
)
def test_idle_is_a_client_that_was_answered_or_is_silent_for_long(
    received_ago: float, sent_ago: float, has_received: bool, expected: bool
) -> None:
    found = is_idle(
        received_ago=received_ago, sent_ago=sent_ago, has_received=has_received, has_sent=True
    )
    assert found is expected


@pytest.mark.parametrize(
    ("received_ago", "told_ago", "has_received", "expected"),
    [
        (MEMBER_SILENT_FOR, 0.5, True, True),
        (MEMBER_SILENT_FOR, MEMBER_SILENT_FOR + TICK / 2, True, True),
        (MEMBER_SILENT_FOR, MEMBER_SILENT_FOR + 0.5, True, False),
        (MEMBER_SILENT_FOR, math.inf, True, False),
        (MEMBER_SILENT_FOR / 2, 0.0, True, False),
        (MEMBER_SILENT_FOR, math.inf, False, True),
        (MEMBER_SILENT_FOR / 2, math.inf, False, False),
        (MEMBER_SILENT_FOR, None, False, False),
    ],
    ids=[
        "the others were told what came",
        "the others were told in the same moment",
        "data came since the others were told",
        "the others were told nothing of what came",
        "data came just now",
        "only listens",
        "has come just now",
        "in no room",
    ],
)
def test_a_member_of_a_room_is_idle_that_has_nothing_to_say_or_has_said_it(
    received_ago: float, told_ago: float | None, has_received: bool, expected: bool
) -> None:
    found = is_idle(
        received_ago=received_ago, sent_ago=math.inf, has_received=has_received, has_sent=False,
        told_ago=told_ago,
    )  # fmt: skip
    assert found is expected


def test_what_a_member_of_a_room_was_sent_is_an_answer_only_once_it_is_silent() -> None:
    # Until then it may be what others have sent.
    for received_ago, expected in ((MEMBER_SILENT_FOR / 2, False), (MEMBER_SILENT_FOR, True)):
        found = is_idle(
            received_ago=received_ago, sent_ago=0.0, has_received=True, has_sent=True,
            told_ago=math.inf,
        )  # fmt: skip
        assert found is expected
