"""What manyhands has set itself to reach, and whether it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.contestants import CONTESTANTS
from bench.statistics import Record, Spread, ratio, values

ROUNDING = 1e-9
"""What a quotient of floating-point numbers may be off, as a share."""

FIBERS, THREADS = "manyhands-fibers", "manyhands-threads"
PROCESSES = "manyhands-processes"


@dataclass(frozen=True)
class Target:
    """A bound on a figure, or on its ratio to another contestant's."""

    what: str
    workload: str
    figure: str
    bound: float
    contestant: str = FIBERS
    against: str | None = None
    sense: Literal["at most", "at least"] = "at most"
    unit: str = "×"
    scale: float = 1
    """What the figure is divided by to be in that unit."""
    worst: bool = False
    """Whether the worst round counts, not the median: what must never happen."""

    def measured(self, records: Sequence[Record]) -> Spread | None:
        """Return what was measured, in the target's unit; None when it was not."""
        if self.against:
            return ratio(records, self.workload, self.figure, self.contestant, self.against)
        return Spread.of(
            value / self.scale
            for value in values(records, self.workload, self.contestant, self.figure).values()
        )

    def value(self, measured: Spread) -> float:
        """Return the value that counts."""
        if not self.worst:
            return measured.median
        return measured.greatest if self.sense == "at most" else measured.least

    def bound_text(self) -> str:
        """Say the bound, such as "at most 1.4 × the C epoll loop"."""
        against = f" {CONTESTANTS[self.against].title}" if self.against else ""
        return f"{self.sense} {self.bound:g} {self.unit}{against}"

    def verdict(self, records: Sequence[Record]) -> str:
        """Say whether it was reached, or by how much it was missed, or that it was not measured."""
        measured = self.measured(records)
        if measured is None:
            return "not measured"
        value = self.value(measured)
        over = value / self.bound - 1 if self.sense == "at most" else 1 - value / self.bound
        return f"missed by {over:.0%}" if over > ROUNDING else "reached"


def _cpu(workload: str, title: str, bound: float, against: str) -> Target:
    return Target(f"CPU per echo, {title}, on fibers", workload, "cpu_us", bound, against=against)


TARGETS = (
    *(
        _cpu(workload, title, bound, against)
        for workload, title in (
            ("echo-64-100", "100 connections"),
            ("echo-64-1000", "1,000 connections"),
        )
        for bound, against in ((1.0, "uvloop-protocol"), (1.4, "epoll"), (0.5, "gevent"))
    ),
    *(
        Target(
            f"CPU per {title}, limits, deadlines, books, metrics and a watched control socket on",
            workload,
            "cpu_us",
            bound,
            contestant="manyhands-guarded",
            against=FIBERS,
        )
        for workload, title, bound in (
            ("echo-64-100", "echo, 100 connections", 1.03),
            ("echo-64-1000", "echo, 1,000 connections", 1.03),
            # A connection is looked up in limits, asked of the kernel, added up, and told of.
            ("churn-32", "connect, echo, close", 1.5),
        )
    ),
    Target(
        "CPU per line, rfile and wfile on fibers",
        "lines-100",
        "cpu_us",
        0.6,
        against="uvloop-streams",
    ),
    Target(
        "latency, 99.9th percentile, 1,000 connections, fibers",
        "echo-64-1000",
        "p99.9",
        2.0,
        against="epoll",
    ),
    Target(
        "latency, the longest of all, 1,000 connections, fibers (worst round)",
        "echo-64-1000",
        "max",
        1000,
        unit="ms",
        scale=1000,
        worst=True,
    ),
    *(
        Target(
            f"{what}, median, {title}",
            workload,
            "p50",
            1,
            contestant=contestant,
            unit="ms",
            scale=1000,
        )
        for what, workload in (
            ("first answer over TLS", "tls-first"),
            ("answer in two writes", "two-writes-1"),
        )
        for contestant, title in ((FIBERS, "fibers"), (THREADS, "threads"))
    ),
    Target(
        "memory per idle connection, fibers",
        "idle-15000",
        "memory_bytes",
        6.5,
        unit="kB",
        scale=1000,
    ),
    Target(
        "connect, echo, close per second, fibers",
        "churn-32",
        "per_second",
        1.0,
        against="uvloop-protocol",
        sense="at least",
    ),
    Target(
        "connect, echo, close per second, threads",
        "churn-32",
        "per_second",
        1.5,
        contestant=THREADS,
        against="stdlib",
        sense="at least",
    ),
    *(
        Target(
            f"CPU per {what}, drop-in without a mix-in, {title}",
            f"{service}-{kind}",
            "cpu_us",
            1.1,
            contestant="manyhands-in-turn",
            against="stdlib-in-turn",
        )
        for service, title in (("in-turn", "serve_forever"), ("requests", "handle_request"))
        for kind, what in (("churn", "connection"), ("udp", "datagram"))
    ),
    Target(
        "100 busy among 15,000 idle, against the 100 alone, fibers",
        "idle-15000",
        "slowdown",
        1.15,
    ),
    *(
        Target(
            f"CPU to tell each of 10,000 members{where}, {title}",
            workload,
            "cpu_us",
            1.3,
            contestant=contestant,
            against="epoll",
        )
        for workload, where in (("tell-10000", ""), ("tell-stalled", ", one more stalled"))
        for contestant, title in ((FIBERS, "fibers"), (THREADS, "threads"))
    ),
    *(
        # A guard: the handler's process of each has to be woken, which took 18 times as long when measured.
        Target(
            f"CPU to tell each of 500 members in as many processes, by {teller}",
            workload,
            "cpu_us",
            22,
            contestant=PROCESSES,
            against="epoll",
        )
        for workload, teller in (("tell-500", "a handler"), ("tell-500-program", "the program"))
    ),
    Target("time to stop, fibers (the slowest)", "stop", "max_ms", 10, unit="ms", worst=True),
    Target(
        "time to stop, threads (the slowest)",
        "stop",
        "max_ms",
        10,
        contestant=THREADS,
        unit="ms",
        worst=True,
    ),
)
