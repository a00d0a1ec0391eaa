"""Time in tests: waiting for a condition, never for time to pass, and a clock that the test moves on."""

import time
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds after which what has not come about is taken for what never will: far more than any test needs."""

_POLL_INTERVAL = 0.005
"""Seconds between two looks at a condition."""


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Wait until `condition` returns something true.

    Parameters
    ----------
    condition : callable
        Asked every few milliseconds, without arguments.
    timeout : float
        Seconds after which it is given up.

    Raises
    ------
    AssertionError
        When it has not come about by then.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"it never came about in {timeout:g} s")
        time.sleep(_POLL_INTERVAL)


class FakeClock:
    """Stands in for `time.monotonic` wherever a clock can be given.

    Parameters
    ----------
    now : float
        The time that it tells first, in seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        Raises
        ------
        ValueError
            When they are negative: a monotonic clock does not go back.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock does not go back, not even {-seconds:g} s")
        self._now += seconds
