"""How long to wait before what has ended is made again: the rule."""

import pytest

from manyhands.supervisor.backoff import FORGOTTEN_AFTER, LONGEST, Restarts


def pauses(lives: list[float], spread: float = 1.0) -> list[float]:
    restarts = Restarts(lambda: spread)
    return [restarts.pause(lived) for lived in lives]


def test_the_first_death_is_answered_at_once_and_each_further_one_later() -> None:
    assert pauses([0.0] * 5) == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.8])


def test_no_pause_is_longer_than_the_longest_however_many_deaths_there_were() -> None:
    every = pauses([0.0] * 10_000)
    assert max(every) == every[-1] == LONGEST


def test_those_that_die_together_do_not_come_back_together() -> None:
    assert pauses([0.0] * 12, 0.5)[-1] == LONGEST / 2
    assert pauses([0.0] * 12, 1.5)[-1] == LONGEST * 1.5


def test_a_long_life_has_earlier_deaths_forgotten_but_counted() -> None:
    restarts = Restarts(lambda: 1.0)
    for _ in range(6):
        restarts.pause(0.0)
    assert restarts.pause(FORGOTTEN_AFTER) == 0.0
    assert restarts.pause(FORGOTTEN_AFTER - 1) == pytest.approx(0.1)
    assert restarts.count == 8
