"""The share of the time that the thread of a control socket keeps to."""

import pytest

from manyhands.control.time_share import TimeShare


def left(share: TimeShare, now: float, used: float) -> float:
    """Return the seconds for which a thread has to stop that has used so much by now."""
    share.note(now, used)
    return share.seconds_left(now)


def test_a_thread_that_uses_less_than_its_share_never_stops() -> None:
    share = TimeShare(0.25, 0.01)
    assert [left(share, 5 + turn / 100, turn / 500) for turn in range(100)] == [0.0] * 100


def test_what_a_thread_uses_beyond_its_share_it_makes_up_for() -> None:
    share = TimeShare(0.25, 0.01)
    assert left(share, 5.0, 0.0) == 0
    # It was ahead for a hundredth of a second, that is for 2.5 ms of its own.
    assert left(share, 5.0, 0.002) == 0
    assert left(share, 5.0, 0.004) == pytest.approx(0.006)
    assert share.seconds_left(5.004) == pytest.approx(0.002)
    assert share.seconds_left(5.007) == 0


def test_a_thread_that_waits_uses_nothing() -> None:
    share = TimeShare(0.25, 0.01)
    assert left(share, 5.0, 0.001) == 0
    assert left(share, 9.0, 0.001) == 0


def test_a_thread_stops_for_no_longer_than_it_may() -> None:
    share = TimeShare(0.25, 0.01)
    assert left(share, 5.0, 3.0) == pytest.approx(0.01)
    assert share.seconds_left(5.02) == 0
    # Nor does it work the more for a long rest.
    assert left(share, 70.0, 3.0) == 0
    assert left(share, 70.0, 3.004) == pytest.approx(0.006)
