"""The command: ``python -m bench`` or ``make bench ARGS="..."``."""

import argparse
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench import report
from bench.build import CACHE, NoCompilerError
from bench.contestants import CONTESTANTS
from bench.machine import machine, versions
from bench.page import page
from bench.processes import Cores, set_up
from bench.rounds import pairs, run
from bench.statistics import Record
from bench.tables import Run
from bench.targets import TARGETS
from bench.workloads import WORKLOADS, Effort

QUICK = Effort(warmup=0.15, seconds=0.4, patience=5, crowd_share=0.1, stops=3)
QUICK_WORKLOADS = (
    "echo-64-100",
    "echo-64-1000",
    "lines-100",
    "churn-32",
    "tls-first",
    "two-writes-1",
    "idle-15000",
    "tell-10000",
    "tell-stalled",
    "tell-500",
    "tell-500-program",
    "stop",
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=...",
        description="What a request costs, on our servers and on others.",
    )
    add = parser.add_argument
    add(
        "--quick", action="store_true", help="about two minutes: what the targets speak of, briefly"
    )
    add("--rounds", type=int, help="how many times everything is measured (5; with --quick 3)")
    add("--only", type=_names(WORKLOADS, "workload"), help="workloads, separated by commas")
    add(
        "--contestants",
        type=_names(CONTESTANTS, "contestant"),
        help="who takes part, separated by commas",
    )
    add("--seconds", type=float, help="how long each measurement lasts (2)")
    add("--docs", action="store_true", help="write docs/benchmarks.md, its plots and its JSON")
    add("--from", dest="source", type=Path, metavar="FILE", help="show a run that a file holds")
    add("--list", action="store_true", help="name the workloads and the contestants")
    return parser.parse_args(arguments)


def _names(known: Iterable[str], what: str) -> Callable[[str], list[str]]:
    def parse_names(text: str) -> list[str]:
        for name in (names := text.split(",")):
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"there is no {what} {name!r}; there are {', '.join(known)}"
                )
        return names

    return parse_names


def _quick_contestants() -> list[str]:
    spoken_of = {name for target in TARGETS for name in (target.contestant, target.against)}
    return [name for name in CONTESTANTS if name in spoken_of]


class Teller:
    """Says on standard error how far the run is."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.began = time.monotonic()

    def __call__(self, record: Record) -> None:
        """Say what was measured, and how long the rest will take."""
        self.done += 1
        workload = WORKLOADS[record["workload"]]
        figures = record["figures"]
        shown = f"{workload.figure} {figures[workload.figure]:,.2f}" if figures else record["fault"]
        left = (time.monotonic() - self.began) / self.done * (self.total - self.done)
        print(
            f"[{self.done}/{self.total}, {left:.0f} s left] round {record['round']} "
            f"{record['workload']:16} {record['contestant']:18} {shown}",
            file=sys.stderr,
            flush=True,
        )


def measure_all(options: argparse.Namespace) -> Run:
    """Measure what the command line asks for."""
    set_up()
    quick = options.quick
    workloads = options.only or list(QUICK_WORKLOADS if quick else WORKLOADS)
    asked = options.contestants or (_quick_contestants() if quick else list(CONTESTANTS))
    missing = {name: reason for name in asked if (reason := CONTESTANTS[name].missing())}
    present = [name for name in asked if name not in missing]
    for name, reason in missing.items():
        print(f"missing: {CONTESTANTS[name].title}: {reason}", file=sys.stderr)
    effort = QUICK if quick else Effort()
    if options.seconds:
        effort = dataclasses.replace(effort, seconds=options.seconds)
    rounds = options.rounds or (3 if quick else 5)
    total = rounds * len(list(pairs(workloads, present)))
    cores = Cores.choose()
    return {
        "settings": {"rounds": rounds, "quick": quick, **dataclasses.asdict(effort)},
        "machine": machine(cores),
        "versions": versions(present),
        "workloads": workloads,
        "contestants": present,
        "missing": missing,
        "records": run(rounds, workloads, present, effort, Teller(total)),
    }


def keep(done: Run, *, in_docs: bool) -> None:
    """Write the run to a file, and into the documentation when that is wanted."""
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "results.json").write_text(report.dump(done), encoding="utf-8")
    if in_docs:
        report.write(done)


def main() -> int:
    """Run the command; return 1 when a measurement failed, 2 when none could be made."""
    options = parse()
    if options.list:
        print("workloads:", *WORKLOADS)
        print("contestants:", *CONTESTANTS)
        return 0
    # Ended from outside, it must still end the servers that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    try:
        done = report.read(options.source) if options.source else measure_all(options)
    except (NoCompilerError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    keep(done, in_docs=options.docs)
    print(page(done))
    return int(any(record["fault"] for record in done["records"]))


if __name__ == "__main__":
    sys.exit(main())
