"""Slices of long lists, and the pauses between them."""

import time

import pytest

from manyhands.runtime.slices import MOST_PAUSE, SHARE, SWITCH, WORK, slices, whole


class Clock:
    """The processor time of a thread, the time, and its pauses."""

    def __init__(self) -> None:
        self.used = self.now = 100.0
        self.pauses: list[float] = []
        self.late = 0.0
        """How much longer than it is to a pause lasts, since other threads compute."""

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds + self.late


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "thread_time", lambda: clock.used)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr("manyhands.runtime.slices._sleep", clock.sleep)
    return clock


def test_all_items_come_in_slices(clock: Clock) -> None:
    assert list(slices([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(slices([], 2)) == []
    assert clock.pauses == []


def test_a_pause_comes_once_there_was_enough_work_and_leaves_others_their_share(
    clock: Clock,
) -> None:
    for number, _ in enumerate(slices(range(12), 2)):
        assert len(clock.pauses) == number // 2
        clock.used += WORK / 2 * 1.01
    assert clock.pauses == pytest.approx([1.01 * WORK * (1 / SHARE - 1)] * 3)


@pytest.mark.parametrize(("late", "allowed"), [(0.001, WORK), (SWITCH, SWITCH)])
def test_where_others_compute_it_works_for_as_long_as_each_of_them(
    clock: Clock, late: float, allowed: float
) -> None:
    clock.late = late
    worked = []
    for _ in slices(range(1000), 1):
        clock.used += WORK / 3 * 1.001
        if len(clock.pauses) == 1:
            worked.append(WORK / 3)
    assert sum(worked) == pytest.approx(allowed, rel=0.1)


def test_a_pause_has_a_bound(clock: Clock) -> None:
    for _ in slices([1], 1):
        clock.used += 60
    assert clock.pauses == [MOST_PAUSE]


def test_a_thread_that_may_be_a_fiber_pauses_in_its_own_way(clock: Clock) -> None:
    pauses: list[float] = []
    for _ in slices([1], 1, pauses.append):
        clock.used += 1.01 * WORK
    assert len(pauses) == 1
    assert clock.pauses == []


def test_a_thread_that_holds_others_up_does_not_pause(clock: Clock) -> None:
    for items in whole([1, 2, 3]):
        assert items == [1, 2, 3]
        clock.used += 60
    assert clock.pauses == []


def test_what_takes_long_is_paused_in_for_real(monkeypatch: pytest.MonkeyPatch) -> None:
    # The system's own, also where a program has put another one in its place.
    monkeypatch.setattr(time, "sleep", pytest.fail)
    began, used = time.monotonic(), time.thread_time()
    for _ in slices(range(10), 1):
        until = time.thread_time() + 0.002
        while time.thread_time() < until:
            pass
    used = time.thread_time() - used
    # No more than its share, up to what the clocks cannot tell.
    assert used < 1.1 * SHARE * (time.monotonic() - began)
