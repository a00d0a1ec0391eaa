"""Whether the machine was quiet enough for the figures to be worth something."""

from collections.abc import Sequence

from bench.contestants import LIMIT
from bench.statistics import Record, Spread, spread

SPREAD = 0.15
"""The C loop does the same work in every round: a spread over this share of its median is the machine's."""

OTHERS = 0.10
"""The share of a core that other programs may take on the two cores that are measured on."""

LOAD = 0.90
"""The share of its core at which the load generator is taken for the limit, not the server."""


def complaints(records: Sequence[Record], order: Sequence[str]) -> list[str]:
    """Return a sentence for each reason to distrust the run; none when it was quiet."""
    found = []
    for workload in order:
        limit = spread(records, workload, LIMIT, "cpu_us")
        if limit and limit.width > SPREAD:
            found.append(
                f"{workload}: the C loop's own figures lie {limit.width:.0%} apart "
                f"({limit.least:.1f} to {limit.greatest:.1f} µs)"
            )
    others = Spread.of(
        record["figures"]["others_share"]
        for record in records
        if record["figures"] and "others_share" in record["figures"]
    )
    if others and others.median > OTHERS:
        found.append(
            f"other programs took {others.median:.0%} of a core meanwhile (median; at most "
            f"{others.greatest:.0%})"
        )
    return found


def load_was_the_limit(records: Sequence[Record], workload: str, contestant: str) -> bool:
    """Tell whether the load generator had no time left, so that a throughput is its, not the server's."""
    share = spread(records, workload, contestant, "load_share")
    return share is not None and share.median > LOAD
