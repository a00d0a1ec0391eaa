"""Slices of long lists, and the pauses between them."""

import time

import pytest

from manyhands.runtime import slices as module
from manyhands.runtime.slices import MOST_PAUSE, SHARE, WORK, slices, whole


class Clock:
    """The processor time of a thread, and its pauses."""

    def __init__(self) -> None:
        self.used = 100.0
        self.pauses: list[float] = []

    def thread_time(self) -> float:
        return self.used


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "thread_time", clock.thread_time)
    monkeypatch.setattr(time, "sleep", clock.pauses.append)
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
    monkeypatch.setattr(module, "WORK", 0.002)
    began, used = time.monotonic(), time.thread_time()
    for _ in slices(range(10), 1):
        until = time.thread_time() + 0.002
        while time.thread_time() < until:
            pass
    used = time.thread_time() - used
    # No more than its share, up to what the clocks cannot tell.
    assert used < 1.1 * SHARE * (time.monotonic() - began)
