"""What is measured: each workload's name, its title, and how it is put on a contestant."""

import json
import statistics
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.attended import attended
from bench.contestants import Contestant
from bench.processes import Cores, MeasurementError, Result, Server, crowd, load, on_cores

Figures = dict[str, float]


@dataclass(frozen=True)
class Effort:
    """How long is measured, and how big a crowd is."""

    warmup: float = 0.5
    seconds: float = 2.0
    patience: float = 10.0
    crowd_share: float = 1.0
    stops: int = 10


@dataclass(frozen=True)
class Workload:
    """A kind of traffic; `figure` is the one that tables and ratios lead with."""

    name: str
    title: str
    service: str
    measure: Callable[[Contestant, "Workload", Effort, Cores], Figures]
    settings: Mapping[str, Any] = field(default_factory=dict)
    figure: str = "cpu_us"

    def service_of(self, contestant: Contestant) -> str | None:
        """Name the service that the contestant's program is run with; None when it has none for this."""
        # The C loop splits nothing: it is the limit of what moving the bytes costs.
        if self.service in {"lines", "halves"} and contestant.program.endswith(".c"):
            return "echo"
        return self.service if self.service in contestant.services else None


def figures_of(result: Result) -> Figures:
    """Turn the load generator's report into figures: microseconds, and shares of a core."""
    if not result["requests"]:
        raise MeasurementError(
            "not one request was answered within the window, nor within the patience after it"
        )
    per_request = 1e6 / result["requests"]
    ours = result["server_cpu"] + result["load_cpu"]
    return {
        "cpu_us": result["server_cpu"] * per_request,
        "system_us": result["server_cpu"] * per_request * _system_share(result),
        "per_second": result["requests"] / result["seconds"],
        **result["latency_us"],
        "fewest": result["fewest"],
        "most": result["most"],
        "load_share": result["load_cpu"] / result["seconds"],
        "server_share": result["server_cpu"] / result["seconds"],
        "others_share": max(0.0, result["cores_busy"] - ours) / result["seconds"],
    }


def _system_share(result: Result) -> float:
    """Return how much of the server's time was the kernel's, which the kernel itself keeps in whole ticks."""
    ticks = result["server_user"] + result["server_system"]
    return result["server_system"] / ticks if ticks else 0.0


def put(server: Server, effort: Effort, cores: Cores, mode: str, **settings: Any) -> Figures:
    """Put a load on a server."""
    result = load(
        mode,
        server,
        cores,
        warmup=effort.warmup,
        seconds=effort.seconds,
        patience=effort.patience,
        **settings,
    )
    return figures_of(result)


def load_settings(workload: Workload, effort: Effort) -> dict[str, Any]:
    """Return what the load generator is told: the mode, and its options."""
    settings = dict(workload.settings)
    if settings.get("mode") == "tell":
        settings["connections"] = max(2, int(settings["connections"] * effort.crowd_share))
    return settings


def measure_load(
    contestant: Contestant, workload: Workload, effort: Effort, cores: Cores
) -> Figures:
    """Put one load on a fresh server."""
    service = workload.service_of(contestant)
    assert service
    with attended(contestant, service, cores) as server:
        return put(server, effort, cores, **load_settings(workload, effort))


def measure_crowd(
    contestant: Contestant, workload: Workload, effort: Effort, cores: Cores
) -> Figures:
    """Put the same load on a server with nobody else there, then with an idle crowd: memory and slow-down."""
    settings = dict(workload.settings)
    size = int(settings.pop("crowd") * effort.crowd_share)
    with attended(contestant, workload.service, cores) as server:
        alone = put(server, effort, cores, **settings)
        before = server.memory()
        with crowd(size, server, cores):
            memory = (server.memory() - before) / size
            among = put(server, effort, cores, **settings)
    return {
        "crowd": size,
        "memory_bytes": memory,
        "slowdown": among["cpu_us"] / alone["cpu_us"],
        "slowdown_p50": among["p50"] / alone["p50"],
        "cpu_us": among["cpu_us"],
        "cpu_us_alone": alone["cpu_us"],
        "p50": among["p50"],
        "p50_alone": alone["p50"],
        "p99.9": among["p99.9"],
        "p99.9_alone": alone["p99.9"],
        "max": among["max"],
        "load_share": max(alone["load_share"], among["load_share"]),
        "others_share": max(alone["others_share"], among["others_share"]),
    }


def measure_stop(
    contestant: Contestant, workload: Workload, effort: Effort, cores: Cores
) -> Figures:
    """Time `shutdown()` of servers with connected clients, all in the contestant's process."""
    numbers = (str(effort.stops), str(workload.settings["clients"]))
    with on_cores(cores.server, cores.load):
        ran = subprocess.run(
            [*contestant.command("stop"), *numbers],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    if ran.returncode:
        raise MeasurementError(f"it could not be stopped: {ran.stderr.strip()[-200:]}")
    times = json.loads(ran.stdout)
    return {"stop_ms": statistics.mean(times), "max_ms": max(times), "min_ms": min(times)}


def _echo(name: str, title: str, **settings: Any) -> Workload:
    return Workload(name, title, "echo", measure_load, {"mode": "echo", **settings})


_TOLD = {"mode": "tell", "sources": 16, "size": 64}

WORKLOADS = {
    workload.name: workload
    for workload in (
        _echo("echo-64-1", "echo of 64 B, 1 connection", connections=1, size=64),
        _echo("echo-64-100", "echo of 64 B, 100 connections", connections=100, size=64),
        _echo("echo-64-1000", "echo of 64 B, 1,000 connections", connections=1000, size=64),
        _echo("echo-64-5000", "echo of 64 B, 5,000 connections", connections=5000, size=64),
        _echo("echo-16k-100", "echo of 16 KiB, 100 connections", connections=100, size=1 << 14),
        _echo("echo-1m-10", "echo of 1 MiB, 10 connections", connections=10, size=1 << 20),
        _echo(
            "pipelined-64-100",
            "echo of 64 B, 100 connections, 16 messages under way on each",
            connections=100,
            size=64,
            depth=16,
        ),
        Workload(
            "lines-100",
            "lines of 64 B, 100 connections (rfile and wfile, readline)",
            "lines",
            measure_load,
            {"mode": "lines", "connections": 100, "size": 64},
        ),
        Workload(
            "churn-32",
            "connect, echo, close; 32 calls at a time",
            "echo",
            measure_load,
            {"mode": "churn", "connections": 32, "size": 64, "sources": 100},
        ),
        Workload(
            "tls-first",
            "first answer of 64 B over TLS, after the handshake; one connection after the other",
            "tls",
            measure_load,
            {"mode": "tls", "connections": 1, "size": 64},
            figure="p50",
        ),
        Workload(
            "two-writes-1",
            "64 B answered in two writes, 1 connection",
            "halves",
            measure_load,
            {"mode": "echo", "connections": 1, "size": 64},
            figure="p50",
        ),
        Workload(
            "idle-15000",
            "100 busy connections among 15,000 idle ones",
            "echo",
            measure_crowd,
            {"mode": "echo", "connections": 100, "size": 64, "crowd": 15_000},
            figure="memory_bytes",
        ),
        Workload(
            "call-4000",
            "connect, echo, close, one after the other, among 4,000 idle connections",
            "echo",
            measure_crowd,
            {"mode": "churn", "connections": 1, "size": 64, "sources": 100, "crowd": 4000},
            figure="slowdown",
        ),
        Workload(
            "udp-100",
            "UDP echo of 64 B, 100 sockets",
            "udp",
            measure_load,
            {"mode": "udp", "connections": 100, "size": 64},
        ),
        Workload(
            "tell-10000",
            "a piece of 64 B told to 10,000 connections, each of them one request",
            "tell",
            measure_load,
            {**_TOLD, "connections": 10_000},
        ),
        Workload(
            "tell-stalled",
            "the same, and one more connection that reads nothing",
            "tell-stalled",
            measure_load,
            {**_TOLD, "connections": 10_000, "stalled": 1},
        ),
        # As many as there may well be processes.
        Workload(
            "tell-500",
            "a piece of 64 B told to 500 connections by the handler of one of them",
            "tell",
            measure_load,
            {**_TOLD, "connections": 500},
        ),
        Workload(
            "tell-500-program",
            "the same, told by the program",
            "tell-program",
            measure_load,
            {**_TOLD, "connections": 500, "datagram": 1},
        ),
        *(
            Workload(
                f"{service}-{kind}",
                f"{title}; {what}, one after the other",
                service + suffix,
                measure_load,
                {**settings, "size": 64},
            )
            for service, title in (("in-turn", "serve_forever"), ("requests", "handle_request"))
            for kind, suffix, what, settings in (
                (
                    "churn",
                    "",
                    "connect, echo, close",
                    {"mode": "churn", "connections": 1, "sources": 100},
                ),
                ("udp", "-udp", "UDP echo of 64 B", {"mode": "udp", "connections": 20}),
            )
        ),
        Workload(
            "stop",
            "shutdown() with 10 clients connected",
            "stop",
            measure_stop,
            {"clients": 10},
            figure="stop_ms",
        ),
    )
}
