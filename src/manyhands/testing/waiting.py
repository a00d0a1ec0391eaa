"""Waiting for a condition, never for time to pass."""

import time
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds after which what has not come about is taken for what never will: far more than any test needs."""

_LOOK_AGAIN = 0.005


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
        time.sleep(_LOOK_AGAIN)
