"""Measuring everything several times in turn: A B C, A B C, and not A A, B B, C C.

A machine that is slow for a minute is then slow for everybody, and ratios are taken round by round.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from bench.contestants import CONTESTANTS
from bench.processes import Cores, MeasurementError
from bench.statistics import Record
from bench.workloads import WORKLOADS, Effort

Listener = Callable[[Record], None]


def pairs(workloads: Sequence[str], contestants: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return what is measured in a round: workload by workload, and in each all that take part."""
    for workload in workloads:
        for contestant in contestants:
            if WORKLOADS[workload].service_of(CONTESTANTS[contestant]):
                yield workload, contestant


def measure(workload: str, contestant: str, effort: Effort, cores: Cores) -> Record:
    """Take one measurement; one that fails is a record too, with the fault."""
    record: Record = {
        "workload": workload,
        "contestant": contestant,
        "figures": None,
        "fault": None,
    }
    asked = WORKLOADS[workload]
    began = time.monotonic()
    try:
        record["figures"] = asked.measure(CONTESTANTS[contestant], asked, effort, cores)
    except MeasurementError as error:
        record["fault"] = str(error)
    record["took"] = round(time.monotonic() - began, 2)
    return record


def run(
    rounds: int,
    workloads: Sequence[str],
    contestants: Sequence[str],
    effort: Effort,
    tell: Listener,
) -> list[Record]:
    """Take all measurements of all rounds, telling of each as it is done."""
    cores = Cores.choose()
    records = []
    for number in range(1, rounds + 1):
        for workload, contestant in pairs(workloads, contestants):
            record = {"round": number, **measure(workload, contestant, effort, cores)}
            records.append(record)
            tell(record)
    return records
