"""Rates, and what they were a while ago: differences of two looks at the same server, and rings of these."""

from collections import deque
from collections.abc import Iterable, Sequence

from manyhands.console.books import Books

KEPT = 300
"""Looks: five minutes at one a second, more than most terminals have columns for."""

RATES = ("accepted", "closed", "refused", "bytes_in", "bytes_out", "processor")
"""What is counted up, and shown by the second. The processor's is a part of one core: 1 is all of it."""

_BARS = " ▁▂▃▄▅▆▇█"


class History:
    """The figures of the last looks. Not thread-safe."""

    def __init__(self) -> None:
        self._rings: dict[str, deque[float]] = {}
        self._before: tuple[float, dict[str, float]] | None = None

    def look(
        self, books: Books, processor: float | None, hub_delay: float | None, at: float
    ) -> None:
        """Take the figures of one more look.

        Parameters
        ----------
        books : Books
            What the server has counted.
        processor : float or None
            Seconds of processor time that its process has used.
        hub_delay : float or None
            How late the hub of its fibers is, in seconds.
        at : float
            When that was, in seconds of a clock that never goes back.
        """
        counted = (
            books.accepted,
            books.closed,
            books.refused,
            books.bytes_in,
            books.bytes_out,
            processor,
        )
        now = {name: n for name, n in zip(RATES, counted, strict=True) if n is not None}
        before, self._before = self._before, (at, now)
        if before is not None and at > before[0]:
            for name in now.keys() & before[1].keys():
                # Bytes fall where a connection ends between the looks at it and at the sums.
                grown = max(0.0, now[name] - before[1][name])
                self._keep(name, grown / (at - before[0]))
        if hub_delay is not None:
            self._keep("hub_delay", hub_delay)

    def _keep(self, name: str, value: float) -> None:
        self._rings.setdefault(name, deque(maxlen=KEPT)).append(value)

    def latest(self, name: str) -> float | None:
        """Return the last value of one of `RATES`, or of ``"hub_delay"``; None before there was one."""
        ring = self._rings.get(name)
        return ring[-1] if ring else None

    def of(self, name: str) -> Sequence[float]:
        """Return the values that are kept, the oldest first."""
        return tuple(self._rings.get(name, ()))


def sparkline(values: Iterable[float], columns: int) -> str:
    """Draw the last values, one in a column, the newest at the right; 0 has no bar, the highest a whole one.

    What is there at all is seen: the least of it has the lowest bar.
    """
    shown = [*values][-columns:]
    highest = max(shown, default=0.0)
    levels = len(_BARS) - 1
    bars = [_BARS[max(1, round(value / highest * levels)) if value > 0 else 0] for value in shown]
    return "".join(bars).rjust(columns)


def meter(part: float, columns: int) -> str:
    """Draw how full something is, from 0 to 1, as a bar of so many columns."""
    filled = round(min(max(part, 0.0), 1.0) * columns)
    if part > 0:
        filled = max(filled, 1)
    return "█" * filled + "░" * (columns - filled)
