"""What is made of the figures of several rounds: medians with their spread, and ratios round by round.

A *record* is one measurement: ``{"round", "workload", "contestant", "figures", "fault"}``; its `figures` are
None when it failed, and `fault` then says how.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A median, and the least and the greatest."""

    median: float
    least: float
    greatest: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """Return the spread of some values; None when there are none."""
        known = list(values)
        if not known:
            return None
        return cls(statistics.median(known), min(known), max(known), len(known))

    @property
    def width(self) -> float:
        """How far the values lie apart, as a share of the median."""
        return (self.greatest - self.least) / self.median if self.median else 0.0


def values(
    records: Sequence[Record], workload: str, contestant: str, figure: str
) -> dict[int, float]:
    """Return a figure by round; rounds that failed are not in it."""
    return {
        record["round"]: record["figures"][figure]
        for record in records
        if record["workload"] == workload
        and record["contestant"] == contestant
        and record["figures"]
        and figure in record["figures"]
    }


def spread(records: Sequence[Record], workload: str, contestant: str, figure: str) -> Spread | None:
    """Return a figure's median and spread."""
    return Spread.of(values(records, workload, contestant, figure).values())


def ratio(
    records: Sequence[Record], workload: str, figure: str, contestant: str, against: str
) -> Spread | None:
    """Return contestant / against: the ratio of each round, then their median and spread.

    The two of one round were measured within minutes of each other, so what the machine did meanwhile weighs
    less than in a ratio of medians.
    """
    above = values(records, workload, contestant, figure)
    below = values(records, workload, against, figure)
    return Spread.of(above[i] / below[i] for i in above if below.get(i))


def faults(records: Sequence[Record]) -> list[Record]:
    """Return the records of measurements that failed."""
    return [record for record in records if record["fault"]]
