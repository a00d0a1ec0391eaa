"""What workers keep up: balance, and service while they are killed and replaced."""

import contextlib
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.processes import MeasurementError, crowd
from bench.workers.callers import PATIENCE
from bench.workers.fleet import CORES, Fleet, memory, serving

Figures = dict[str, float]

LONG = 2_000
"""Connections that are held, of the measurement of balance."""

HELD = 200
"""Connections that are held during the reloads and upgrades."""

RATE = 2_000
"""Calls a second meanwhile."""

RELOADS = 10

UPGRADES = 3

BETWEEN = 0.2
"""Seconds between two of these."""

SETTLING = 0.2
"""Seconds after which a supervisor has closed its copies of what workers have begun (`SETTLE_INTERVAL`)."""

STEADY = 1.0
"""Seconds for which calls come until the first one."""

LOOK = 0.0005
"""Seconds between two calls while a worker is away."""


def balance(_seconds: float) -> Figures:
    """Measure how evenly long connections are dealt, before a reload and after."""
    with serving(workers=4, reload_drain="stay") as server:
        with crowd(LONG, server, CORES):
            before = _evenness(server, 1)
            server.reload()
            with crowd(LONG, server, CORES):
                after = _evenness(server, 2)
        return {"balance": before, "balance_after": after}


def _evenness(server: Fleet, generation: int) -> float:
    """Return the most connections of a worker of a generation, compared with what all have on average."""
    held: list[int] = [
        each["open"] for each in server.workers() if each["generation"] == generation
    ]
    if sum(held) != LONG:
        raise MeasurementError(f"{LONG} connections are held, and the workers have {held}")
    return max(held) / statistics.mean(held)


def successor(_seconds: float) -> Figures:
    """Measure how long after the death of the only worker a client is answered by its successor."""
    with serving(workers=1) as server:
        [worker] = server.pids_of_workers()
        _call(server)
        began = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        # One that is dealt to the dying worker and begun by it is cut off: the next one is not.
        while not _call(server):
            time.sleep(LOOK)
        took = time.monotonic() - began
        if server.pids_of_workers() == [worker]:
            raise MeasurementError("the worker was not killed")
        return {"successor_ms": took * 1000}


def _call(server: Fleet) -> bool:
    """Connect and echo; tell whether the answer came."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as peer:
        try:
            peer.sendall(b"x")
            return peer.recv(1) == b"x"
        except ConnectionError:
            return False


def reloads(_seconds: float) -> Figures:
    """Measure what clients notice of reloads and upgrades: those that call, and those that stay."""
    with serving(workers=2, reload_drain="stay", max_generations=10) as server:
        with crowd(HELD, server, CORES):
            reloaded = _under_load(server, "reload", server.reload, RELOADS)
            upgraded = _under_load(server, "upgrade", server.upgrade, UPGRADES)
        _check_books(server, int(reloaded["reload_calls"] + upgraded["upgrade_calls"]))
    return {**reloaded, **upgraded}


def _under_load(server: Fleet, name: str, change: Callable[[], float], count: int) -> Figures:
    """Change a server several times while clients call; return what they noticed, by figures of a name."""
    with _calling(server) as callers:
        took = []
        for _ in range(count):
            took.append(change())
            time.sleep(BETWEEN)
        result: dict[str, Any] = json.loads(callers.communicate()[0])
    if result["errors"]:
        print(f"the first error: {result['first_error']}", file=sys.stderr)
    return {
        f"{name}_ms": statistics.median(took) * 1000,
        f"{name}_slowest_ms": max(took) * 1000,
        f"{name}_errors": result["errors"],
        f"{name}_calls": result["calls"],
        f"{name}_slowest_call_ms": result["slowest_ms"],
    }


@contextlib.contextmanager
def _calling(server: Fleet) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.workers.callers", str(server.port), str(RATE)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as callers:
        try:
            time.sleep(STEADY)
            yield callers
        finally:
            callers.kill()


def _check_books(server: Fleet, calls: int) -> None:
    deadline = time.monotonic() + PATIENCE
    expected = calls + HELD
    while (books := server.books())["closed"] != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    if books["accepted"] != expected or books["open"] or books["closed"] != expected:
        raise MeasurementError(f"there were {expected} connections, and the books say {books}")


def multitude(size: int) -> Figures:
    """Hold very many connections at once, each of which echoes at its beginning and at the end."""
    with serving(workers=6, max_connections=2 * size) as server:
        before = memory(server.pid), _pss(server), _descriptors(server.pid)
        began = time.monotonic()
        with crowd(size, server, CORES):
            took = time.monotonic() - began
            supervisor, all_of_it = memory(server.pid), _pss(server)
            held: list[int] = [each["open"] for each in server.workers()]
            if sum(held) != size:
                raise MeasurementError(f"{size} connections are held, and the workers have {held}")
            descriptors = _descriptors_at_rest(server.pid) - before[2]
        return {
            "multitude": size,
            "multitude_seconds": took,
            "multitude_mb": all_of_it,
            "multitude_kb_each": (all_of_it - before[1]) * 2**20 / 1000 / size,
            "multitude_books_bytes": (supervisor["pss"] - before[0]["pss"]) * 2**20 / size,
            "multitude_descriptors": descriptors,
            "multitude_balance": max(held) / statistics.mean(held),
        }


def _pss(server: Fleet) -> float:
    return sum(memory(pid)["pss"] for pid in server.processes())


def _descriptors_at_rest(pid: int) -> int:
    """Return how many descriptors a process has once it closes none any more."""
    latest, then = _descriptors(pid), math.inf
    while latest < then:
        time.sleep(SETTLING)
        latest, then = _descriptors(pid), latest
    return latest


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
