"""Waiting for a condition, never for time to pass."""

import time
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds after which a condition that has not come about is taken for one that never will."""


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"it never came about in {timeout} s"
        time.sleep(0.005)
