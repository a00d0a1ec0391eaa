"""The share of the time that the thread of a control socket keeps to."""

import pytest

from manyhands.control.time_share import TimeShare


def test_a_thread_that_uses_less_than_its_share_never_stops() -> None:
    share = TimeShare(0.25, 0.01)
    assert [share.seconds_left(5 + turn / 100, turn / 500) for turn in range(100)] == [0.0] * 100


def test_what_a_thread_uses_beyond_its_share_it_makes_up_for() -> None:
    share = TimeShare(0.25, 0.01)
    assert share.seconds_left(5.0, 0.0) == 0
    # It was ahead for a hundredth of a second, that is for 2.5 ms of its own.
    assert share.seconds_left(5.0, 0.002) == 0
    assert share.seconds_left(5.0, 0.004) == pytest.approx(0.006)
    assert share.seconds_left(5.004, 0.004) == pytest.approx(0.002)
    assert share.seconds_left(5.006, 0.004) == pytest.approx(0)


def test_a_thread_that_waits_uses_nothing() -> None:
    share = TimeShare(0.25, 0.01)
    assert share.seconds_left(5.0, 0.001) == 0
    assert share.seconds_left(9.0, 0.001) == 0


def test_a_thread_stops_for_no_longer_than_it_may() -> None:
    share = TimeShare(0.25, 0.01)
    assert share.seconds_left(5.0, 3.0) == pytest.approx(0.01)
    assert share.seconds_left(5.01, 3.0) == pytest.approx(0)
    # Nor does it work the more for a long rest.
    assert share.seconds_left(70.0, 3.0) == 0
    assert share.seconds_left(70.0, 3.004) == pytest.approx(0.006)
