"""The run as tables of Markdown: targets first, then each workload, ratios before figures."""

from collections.abc import Iterable, Sequence
from typing import Any

from bench import noise
from bench.contestants import CONTESTANTS, LIMIT
from bench.statistics import Record, Spread, faults, ratio, spread
from bench.targets import FIBERS, TARGETS, THREADS
from bench.workloads import WORKLOADS, Workload

Run = dict[str, Any]
"""A whole run: its settings, the machine, the versions, who was missing, the records."""

#: What is shown of a workload, in this order: the figure, its heading, its divisor, its decimals.
COLUMNS = (
    ("crowd", "idle connections", 1, 0),
    ("cpu_us", "CPU, µs", 1, 1),
    ("system_us", "of it system, µs", 1, 1),
    ("per_second", "per second", 1, 0),
    ("p50", "p50, ms", 1e3, 2),
    ("p99", "p99, ms", 1e3, 2),
    ("p99.9", "p99.9, ms", 1e3, 2),
    ("max", "max, ms", 1e3, 1),
    ("cpu_us_alone", "CPU alone, µs", 1, 1),
    ("p50_alone", "p50 alone, ms", 1e3, 2),
    ("p99.9_alone", "p99.9 alone, ms", 1e3, 2),
    ("slowdown", "slow-down, CPU", 1, 2),
    ("slowdown_p50", "slow-down, p50", 1, 2),
    ("memory_bytes", "kB per idle connection", 1e3, 1),
    ("stop_ms", "mean, ms", 1, 1),
    ("max_ms", "slowest, ms", 1, 1),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown, its columns aligned for reading as text too."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def number(value: float, decimals: int = 2) -> str:
    """Write a number; thousands are separated, large ones lose their decimals."""
    return f"{value:,.{0 if abs(value) >= 1000 else decimals}f}"


def with_spread(measured: Spread | None, divisor: float = 1, decimals: int = 2) -> str:
    """Write a median with its spread."""
    if measured is None:
        return "–"
    median, least, greatest = (
        number(value / divisor, decimals)
        for value in (measured.median, measured.least, measured.greatest)
    )
    return median if measured.count == 1 else f"{median} ({least}–{greatest})"


def targets_table(records: Sequence[Record]) -> str:
    """Say what was to be reached, what was measured, and the verdict."""
    rows = [
        (
            target.what,
            target.bound_text(),
            with_spread(target.measured(records)),
            target.verdict(records),
        )
        for target in TARGETS
    ]
    return table(("what", "target", "measured, median (least–greatest)", "verdict"), rows)


def _cell(measured: Spread | None, leading: bool, scale: Sequence[float]) -> str:
    """Write a figure: the leading one with its spread; the others' is in the JSON."""
    divisor, decimals = scale
    if measured and not leading:
        measured = Spread(measured.median, measured.median, measured.median, 1)
    return with_spread(measured, divisor, int(decimals))


def _mark(records: Sequence[Record], workload: Workload, contestant: str) -> str:
    return " †" if noise.load_was_the_limit(records, workload.name, contestant) else ""


def _measures_of(workload: Workload) -> Sequence[str]:
    """Name those that the others are shown as multiples of."""
    # The C loop is the limit of what a request costs; it keeps next to nothing of a connection.
    return (LIMIT, FIBERS, THREADS) if workload.figure == "cpu_us" else (FIBERS, THREADS)


def workload_table(records: Sequence[Record], workload: Workload, names: Sequence[str]) -> str:
    """Show all who took part in a workload."""
    took_part = [
        name for name in names if spread(records, workload.name, name, workload.figure) is not None
    ]
    shown = [
        column
        for column in COLUMNS
        if any(spread(records, workload.name, name, column[0]) for name in took_part)
    ]
    against = [name for name in _measures_of(workload) if name in took_part]
    head = [
        "",
        *(f"/ {CONTESTANTS[name].title}" for name in against),
        *(heading for _, heading, _, _ in shown),
    ]
    rows = []
    for name in took_part:
        ratios = [
            with_spread(ratio(records, workload.name, workload.figure, name, other))
            for other in against
        ]
        figures = (
            _cell(spread(records, workload.name, name, figure), figure == workload.figure, scale)
            for figure, _, *scale in shown
        )
        title = CONTESTANTS[name].title + _mark(records, workload, name)
        rows.append((title, *ratios, *figures))
    return table(head, rows)


def absences(run: Run) -> list[str]:
    """Say for each contestant or service that is not in the run why it is not."""
    lines = [f"{CONTESTANTS[name].title}: {reason}" for name, reason in run["missing"].items()]
    for workload in run["workloads"]:
        absent = [
            CONTESTANTS[name].title
            for name in run["contestants"]
            if not WORKLOADS[workload].service_of(CONTESTANTS[name])
        ]
        if absent and workload != "stop":
            service = WORKLOADS[workload].service
            lines.append(f"{workload}: no “{service}” of their own have {', '.join(absent)}")
    return lines


def failures(records: Sequence[Record]) -> list[str]:
    """Say for each measurement that failed how it did."""
    return [
        f"round {record['round']}, {record['workload']}, "
        f"{CONTESTANTS[record['contestant']].title}: {record['fault']}"
        for record in faults(records)
    ]


def bullets(lines: Iterable[str]) -> str:
    """Return a list of Markdown."""
    return "\n".join(f"- {line}" for line in lines)
