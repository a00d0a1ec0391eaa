"""Two contestants by turns, for differences of a few percent: ``python -m bench.compare FIRST SECOND``.

Both servers stand side by side while short loads are put on the one and on the other, so whatever the machine
does meanwhile meets both. One may be another version of manyhands: ``NAME@FOLDER`` is the contestant NAME on
the source tree in FOLDER.
"""

import argparse
import dataclasses
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.attended import attended
from bench.contestants import CONTESTANTS, Contestant
from bench.processes import Cores, MeasurementError, set_up
from bench.workloads import WORKLOADS, Effort, Workload, load_settings, measure_load, put

SERVERS = 3
"""How often both servers are started anew: where memory happens to lie costs a process percents, too."""

RESAMPLES = 2000

COMPARED = {name: each for name, each in WORKLOADS.items() if each.measure is measure_load}
"""Workloads that are one load on a server that may have had others before."""


class Compared(NamedTuple):
    """A median of ratios, and the interval in which it lies in 95 of 100 such runs."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        """Return it for a table."""
        return f"{self.median:.3f} ({self.least:.3f}–{self.greatest:.3f})"


def compared(ratios: Sequence[float]) -> Compared:
    """Return the median of some ratios, and how sure it is: by drawing from them again and again."""
    chance = random.Random(1)
    drawn = sorted(
        statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES)
    )
    return Compared(statistics.median(ratios), drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40])


def by_turns(
    pair: tuple[Contestant, Contestant],
    workload: Workload,
    effort: Effort,
    rounds: int,
    tell: Callable[[int, float], object] = lambda *_: None,
) -> list[tuple[float, float]]:
    """Measure two contestants by turns; return what the workload's figure was of each, round by round."""
    settings, cores = load_settings(workload, effort), Cores.choose()
    measured = []
    for begun in range(SERVERS):
        ours, theirs = map(workload.service_of, pair)
        assert ours
        assert theirs
        with attended(pair[0], ours, cores) as first, attended(pair[1], theirs, cores) as second:
            for number in range(begun, rounds, SERVERS):
                # A B, B A: whichever comes first finds the core cooler.
                order = (first, second) if number % 2 else (second, first)
                found = {
                    server.pid: put(server, effort, cores, **settings)[workload.figure]
                    for server in order
                }
                measured.append((found[first.pid], found[second.pid]))
                tell(len(measured), found[first.pid] / found[second.pid])
    return measured


def contestant(text: str) -> Contestant:
    """Read ``NAME`` or ``NAME@FOLDER``."""
    name, _, tree = text.partition("@")
    if name not in CONTESTANTS:
        raise argparse.ArgumentTypeError(
            f"there is no contestant {name!r}; there are {', '.join(CONTESTANTS)}"
        )
    title = CONTESTANTS[name].title + (f" of {tree}" if tree else "")
    return dataclasses.replace(CONTESTANTS[name], tree=tree, title=title)


def main() -> int:
    """Run the command; return 2 when a measurement cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("pair", type=contestant, nargs=2, metavar="CONTESTANT")
    parser.add_argument("--only", default="echo-64-100", metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--crowd-share", type=float, default=1.0)
    asked = parser.parse_args()
    set_up()
    effort = Effort(warmup=0.15, seconds=asked.seconds, crowd_share=asked.crowd_share)
    if asked.only not in COMPARED:
        parser.error(f"--only {asked.only}: those that can be compared are {', '.join(COMPARED)}")
    workload, (first, second) = COMPARED[asked.only], asked.pair
    for each in (first, second):
        if not workload.service_of(each):
            parser.error(f"{each.title} takes no part in {workload.name}")

    def tell(number: int, ratio: float) -> None:
        print(f"[{number}/{asked.rounds}] {ratio:.3f}", file=sys.stderr, flush=True)

    try:
        measured = by_turns((first, second), workload, effort, asked.rounds, tell)
    except (MeasurementError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    ours, theirs = (statistics.median(each) for each in zip(*measured, strict=True))
    print(f"{workload.name}, {workload.figure}: {first.title} / {second.title}")
    print(f"{ours:.2f} / {theirs:.2f} = {compared([one / other for one, other in measured])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
