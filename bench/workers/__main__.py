"""The command: ``python -m bench.workers``."""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence

from bench.processes import MeasurementError, set_up
from bench.workers import __doc__ as what
from bench.workers import changes, costs

Figures = dict[str, float]

MEASUREMENTS: dict[str, Callable[[float], Figures]] = {
    "dealing": costs.dealing,
    "memory": costs.memories,
    "idle": costs.idleness,
    "scaling": costs.scaling,
    "balance": changes.balance,
    "successor": changes.successor,
    "reloads": changes.reloads,
}

MULTITUDE = "multitude"

FIGURES = (
    ("dealing_us", "supervisor, connect, echo, close: CPU per connection, µs", "12"),
    ("bare_us", "a dealer that does nothing else, in the same run, µs", ""),
    ("dealing_ratio", "the supervisor / that", ""),
    ("supervisor_rss", "supervisor, resident, MB", "20"),
    ("supervisor_pss", "supervisor, proportional, MB", "20"),
    ("worker_pss", "one of four workers, proportional, MB", ""),
    ("worker_own", "of that its own, beyond what it shares with its template, MB", "10"),
    ("all_pss", "all processes of four workers, proportional, MB", ""),
    ("idle_supervisor", "supervisor with nothing to do, % of a core", "0"),
    ("idle_workers", "two workers with nothing to do, % of a core", ""),
    ("scaling_compute", "two workers / one process, requests that compute", "1.9"),
    ("scaling_echo", "two workers / one process, echo", "1.9"),
    ("scaling_calls", "two workers / one process, connect, echo, close", "1.75"),
    ("balance", "2,000 long connections over 4 workers, most / mean", "1.02"),
    ("balance_after", "2,000 more after a reload, most / mean", "1.02"),
    ("successor_ms", "from kill -9 of the only worker to an answer of its successor, ms", "100"),
    ("reload_ms", "a reload of two workers under load, ms", ""),
    ("reload_slowest_ms", "the slowest of ten, ms", ""),
    ("reload_errors", "errors of 2,000 calls a second and of 200 long connections meanwhile", "0"),
    ("reload_slowest_call_ms", "the slowest call meanwhile, from when it was due, ms", "250"),
    ("upgrade_ms", "an upgrade of these under load, until the new workers serve, ms", ""),
    ("upgrade_slowest_ms", "the slowest of three, ms", ""),
    ("upgrade_errors", "errors of as many calls, and of the long connections, meanwhile", "0"),
    ("upgrade_slowest_call_ms", "the slowest call meanwhile, from when it was due, ms", "250"),
    ("multitude", "connections at once, over six workers, each echoing", "100000"),
    ("multitude_seconds", "until all were there, s", ""),
    ("multitude_mb", "memory of all processes of the server, MB", ""),
    ("multitude_kb_each", "of that for each connection, kB", ""),
    ("multitude_books_bytes", "of that in the supervisor, bytes", ""),
    ("multitude_descriptors", "descriptors that the supervisor has for them", "0"),
    ("multitude_balance", "most / mean", "1.02"),
)
"""The figures, their titles and what is to be reached."""


def rows(rounds: Sequence[Figures]) -> Iterator[str]:
    """Yield the rows of what was measured."""
    for name, title, bound in FIGURES:
        values = sorted(each[name] for each in rounds if name in each)
        if not values:
            continue
        spread = f"{statistics.median(values):,.2f}"
        if len(values) > 1:
            spread += f" ({values[0]:,.2f}–{values[-1]:,.2f})"
        yield f"| {title} | {spread} | {bound} |"


def _measured(only: Sequence[str], asked: argparse.Namespace) -> Iterator[Figures]:
    """Measure in turn what was asked for; say each figure when it is there."""
    for _ in range(asked.rounds):
        for name, measure in MEASUREMENTS.items():
            if name in only:
                yield _told(measure(asked.idle if name == "idle" else asked.seconds))
    if MULTITUDE in only:
        yield _told(changes.multitude(asked.multitude))


def _told(figures: Figures) -> Figures:
    shown = {name: round(value, 3) for name, value in figures.items()}
    print(shown, file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Run the command; return 2 when a measurement cannot be made."""
    names = (*MEASUREMENTS, MULTITUDE)
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=what)
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help=f"of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (4)")
    parser.add_argument("--idle", type=float, default=30.0, help="seconds of idling (30)")
    parser.add_argument("--multitude", type=int, default=100_000, help="connections (100000)")
    asked = parser.parse_args()
    only = asked.only.split(",")
    for name in only:
        if name not in names:
            parser.error(f"--only {name}: there are {', '.join(names)}")
    set_up()
    try:
        measured = list(_measured(only, asked))
    except (MeasurementError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(["| | median | to be reached |", "|---|---|---|", *rows(measured)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
