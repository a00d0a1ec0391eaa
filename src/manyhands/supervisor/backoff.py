"""How long to wait before a process that has ended is made again."""

import time
from collections.abc import Callable

FIRST = 0.1
"""Seconds before the second try: the first one is made at once, for most deaths come alone."""

LONGEST = 30.0
"""Seconds between two tries at the most. There is no last one: what is wrong may be mended meanwhile."""

FORGOTTEN_AFTER = 60.0
"""Seconds of life after which earlier deaths count no more."""


def _by_chance() -> float:
    """Return a factor between 0.5 and 1.5: `random` would be half a megabyte of each supervisor."""
    return 0.5 + time.monotonic_ns() % 1_000_003 / 1_000_003


class Restarts:
    """The deaths of one process and its successors, and how long to wait after each. Knows no clock.

    Parameters
    ----------
    spread
        Returns a factor for each wait, so that several that die together do not come back together.
    """

    def __init__(self, spread: Callable[[], float] = _by_chance) -> None:
        self._spread = spread
        self._row = 0
        self.count = 0
        """How many deaths there were in all."""

    def pause(self, lived: float) -> float:
        """Note a death after so many seconds of life; return the seconds to wait before the next try."""
        self.count += 1
        if lived >= FORGOTTEN_AFTER:
            self._row = 0
        self._row += 1
        if self._row == 1:
            return 0.0
        # Bounded before it is raised to a power: there may be thousands.
        return min(LONGEST, FIRST * 2.0 ** min(self._row - 2, 20)) * self._spread()
