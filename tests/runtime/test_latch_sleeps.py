"""A latch is waited for until it is set, whatever else ends a sleep before."""

import threading
import time

import pytest

from manyhands.runtime import locks
from manyhands.runtime.locks import Latch


class Restless:
    """Sleeps for moments only."""

    def __init__(self) -> None:
        self.asked: list[float | None] = []

    def sleep(self, seconds: float | None) -> None:
        self.asked.append(seconds)
        time.sleep(0.001)

    def wake(self) -> None:
        pass


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Restless:
    waiter = Restless()
    monkeypatch.setattr(locks, "_new_waiter", lambda: waiter)
    return waiter


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_sleep_that_ends_too_soon_is_slept_on(restless: Restless, timeout: float | None) -> None:
    latch = Latch()
    other = threading.Timer(0.05, latch.set)
    other.start()
    assert latch.wait(timeout)
    other.join()
    assert len(restless.asked) > 1
    assert (restless.asked[-1] is None) is (timeout is None)


def test_a_time_that_is_over_is_over(restless: Restless) -> None:
    assert not Latch().wait(0.01)
    assert restless.asked[0] == 0.01
    assert all(0 < seconds <= 0.01 for seconds in restless.asked if seconds is not None)
    assert not Latch().wait(0)
    assert restless.asked[-1] == 0
