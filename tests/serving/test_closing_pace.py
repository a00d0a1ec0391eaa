"""How a drain spreads its closings where clients come back: rules without a server."""

import pytest

from manyhands.serving.closing_pace import FIRST, RATE, SHARE, have_had_their_turn


def test_few_connections_are_ended_at_once() -> None:
    assert have_had_their_turn(FIRST, 0.0, 30.0) == FIRST


def test_more_are_ended_at_a_steady_rate_from_those_on() -> None:
    assert have_had_their_turn(1000, 0.0, 30.0) == FIRST
    assert have_had_their_turn(1000, 2.0, 30.0) == FIRST + 2 * RATE
    assert have_had_their_turn(1000, 12.0, 30.0) == 1000


@pytest.mark.parametrize("count", [5_000, 100_000])
def test_however_many_there_are_each_has_a_part_of_the_time_left(count: int) -> None:
    half = have_had_their_turn(count, SHARE * 30.0 / 2, 30.0)
    assert abs(half - count / 2) <= FIRST
    assert have_had_their_turn(count, SHARE * 30.0, 30.0) == count


def test_without_time_all_are_ended_at_once() -> None:
    assert have_had_their_turn(1000, 0.0, 0.0) == 1000
