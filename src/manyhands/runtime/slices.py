"""Work on thousands of things, in slices between which the other threads have their turn."""

import time
from collections.abc import Iterator
from typing import TypeVar

from manyhands.runtime.unpatched import original

PAUSE = 0.00005
"""Seconds of that turn, at least: a thread that yields the interpreter without a wait has it back at once."""

T = TypeVar("T")


def slices(items: list[T], at_once: int) -> Iterator[list[T]]:
    """Yield so many items at once, with a pause before each slice but the first.

    A thread that goes on for milliseconds keeps the interpreter for all of them, and one that waits for
    clients again and again has to wait for it each time.
    """
    sleep = original(time, "sleep")
    for start in range(0, len(items), at_once):
        if start:
            sleep(PAUSE)
        yield items[start : start + at_once]
