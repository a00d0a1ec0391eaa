"""Medians, spreads, and ratios that are taken round by round."""

import pytest
from bench.statistics import Spread, faults, ratio, spread


def records(**figures):
    """One record for each round of each contestant; None is a measurement that failed."""
    return [
        {
            "round": number,
            "workload": "echo",
            "contestant": name,
            "figures": None if value is None else {"cpu_us": value},
            "fault": "1 × reset" if value is None else None,
        }
        for name, values in figures.items()
        for number, value in enumerate(values, 1)
    ]


def test_a_spread_is_the_median_with_the_least_and_the_greatest():
    assert spread(records(a=[3.0, 1.0, 9.0]), "echo", "a", "cpu_us") == Spread(3.0, 1.0, 9.0, 3)


def test_the_width_is_a_share_of_the_median():
    assert Spread(2.0, 1.0, 4.0, 3).width == 1.5


@pytest.mark.parametrize(
    "asked", [("udp", "a", "cpu_us"), ("echo", "b", "cpu_us"), ("echo", "a", "p50")]
)
def test_what_was_not_measured_has_no_spread(asked):
    assert spread(records(a=[1.0]), *asked) is None


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    # The machine was ten times slower in the second round; in a ratio of medians that would weigh.
    found = ratio(records(a=[2.0, 30.0, 2.0], b=[1.0, 10.0, 2.0]), "echo", "cpu_us", "a", "b")
    assert found == Spread(2.0, 1.0, 3.0, 3)


def test_a_round_in_which_either_failed_has_no_ratio():
    found = ratio(records(a=[2.0, None, 6.0], b=[1.0, 1.0, None]), "echo", "cpu_us", "a", "b")
    assert found == Spread(2.0, 2.0, 2.0, 1)


def test_failed_measurements_are_kept():
    assert [record["round"] for record in faults(records(a=[1.0, None]))] == [2]
