"""What a supervisor and its workers cost: dealing, memory, idle time, and what two cores give."""

import statistics
import time

from bench.processes import MeasurementError, load
from bench.workers.fleet import CORES, Fleet, bare_dealer, cost, memory, processor_time, serving

Figures = dict[str, float]

STORM = {"connections": 64, "sources": 16}
"""Of a storm of short connections: so many are under way at any time, which no two workers have to refuse."""

ECHO = {"connections": 100}

COMPUTE = {"connections": 32}

WORKERS = 4
"""Of the measurements of memory."""

TURNS = 4
"""How often two servers have the load by turns within a round."""

SETTLING = 1.0
"""Seconds after the start of a server until its memory is looked at."""


def dealing(seconds: float) -> Figures:
    """Measure what a storm of connections costs the supervisor, beside a dealer that does nothing else."""
    ours, bare = [], []
    with serving() as server, bare_dealer() as other:
        for _ in range(TURNS):
            ours.append(cost(server, [server.pid], "churn", seconds / TURNS, **STORM))
            bare.append(cost(other, [other.pid], "churn", seconds / TURNS, **STORM))
    return {
        "dealing_us": statistics.median(ours),
        "bare_us": statistics.median(bare),
        "dealing_ratio": statistics.median(
            one / other for one, other in zip(ours, bare, strict=True)
        ),
    }


def memories(_seconds: float) -> Figures:
    """Measure the memory of a server with workers that has nothing to do."""
    with serving(workers=WORKERS) as server:
        time.sleep(SETTLING)
        supervisor = memory(server.pid)
        of_workers = [memory(pid) for pid in server.pids_of_workers()]
        alone = sum(memory(pid)["pss"] for pid in server.processes())
    return {
        "supervisor_rss": supervisor["rss"],
        "supervisor_pss": supervisor["pss"],
        "worker_pss": statistics.median(each["pss"] for each in of_workers),
        "worker_own": statistics.median(each["own"] for each in of_workers),
        "all_pss": alone,
    }


def idleness(seconds: float) -> Figures:
    """Measure what a server with workers takes of a core that has nothing to do."""
    with serving() as server:
        time.sleep(SETTLING)
        workers = server.pids_of_workers()
        before = processor_time(server.pid), processor_time(*workers), time.monotonic()
        time.sleep(seconds)
        lasted = (time.monotonic() - before[2]) / 100
        return {
            "idle_supervisor": (processor_time(server.pid) - before[0]) / lasted,
            "idle_workers": (processor_time(*workers) - before[1]) / lasted,
        }


def scaling(seconds: float) -> Figures:
    """Measure what two workers give on two cores, compared with one process on one.

    Where a request computes, by the rates: the load takes a hundredth of what the workers do. Where it only
    moves bytes the load would take one of the cores; so by processor time: what the cores could do, were they
    the server's alone, is their number by the time of all its processes for each request.
    """
    with serving("Compute", None) as one, serving("Compute", 2) as two:
        rates = [_rate(two, seconds / TURNS) / _rate(one, seconds / TURNS) for _ in range(TURNS)]
    echoes, calls = [], []
    with serving(workers=None) as one, serving(workers=2) as two:
        for _ in range(TURNS):
            echoes.append(_capacity(one, two, "echo", seconds / TURNS, **ECHO))
            calls.append(_capacity(one, two, "churn", seconds / TURNS, **STORM))
    return {
        "scaling_compute": statistics.median(rates),
        "scaling_echo": statistics.median(echoes),
        "scaling_calls": statistics.median(calls),
    }


def _rate(server: Fleet, seconds: float) -> float:
    result = load("echo", server, CORES, warmup=0.2, seconds=seconds, **COMPUTE)
    if not result["requests"]:
        raise MeasurementError("not one request was answered")
    return float(result["requests"] / result["seconds"])


def _capacity(one: Fleet, two: Fleet, mode: str, seconds: float, **settings: int) -> float:
    single = cost(one, one.processes(), mode, seconds, **settings)
    return 2 * single / cost(two, two.processes(), mode, seconds, **settings)
