"""Load: TLS connections one after the other, each with one message; the latency is that of its answer alone.

In Python, for OpenSSL's headers are on few machines. Its report has the form of the C load generator's, and
its client has Nagle's algorithm off, as that one's has.
"""

import argparse
import json
import os
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PERCENTILES = (50, 90, 99, 99.9)


class WrongAnswerError(Exception):
    """Other bytes came back than were sent."""


def cpu_of(pid: int) -> float:
    """Return the seconds of processor time that a process has used (clock_getcpuclockid(3), on Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


def split_of(pid: int) -> list[float]:
    """Return the same as user and system, which the kernel keeps in ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return [int(field) / os.sysconf("SC_CLK_TCK") for field in fields[11:13]]


def busy(cores: Sequence[int]) -> float:
    """Return the seconds for which cores have run anything: all times but idle and waiting for a disk."""
    ticks = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *times = line.split()
        if name in {f"cpu{core}" for core in cores}:
            ticks += sum(int(times[index]) for index in (0, 1, 2, 5, 6, 7))
    return ticks / os.sysconf("SC_CLK_TCK")


def first_answer(options: argparse.Namespace, context: ssl.SSLContext, message: bytes) -> float:
    """Call, shake hands, exchange one message; return the seconds that the answer took."""
    with socket.create_connection(("127.0.0.1", options.port), options.patience) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain) as connection:
            began = time.perf_counter()
            connection.sendall(message)
            received = b""
            while len(received) < len(message) and (part := connection.recv(len(message))):
                received += part
            took = time.perf_counter() - began
    if received != message:
        raise WrongAnswerError(f"{received!r} came back of {message!r}")
    return took


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the report."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    message = os.urandom(options.size)
    ends = time.perf_counter() + options.warmup
    while time.perf_counter() < ends:
        first_answer(options, context, message)
    server, split, cores = cpu_of(options.server), split_of(options.server), busy(options.core)
    own, began = time.process_time(), time.perf_counter()
    taken: list[float] = []
    while time.perf_counter() < began + options.seconds or not taken:
        taken.append(first_answer(options, context, message))
        if options.requests and len(taken) >= options.requests:
            break
    seconds = time.perf_counter() - began
    taken.sort()
    latency = {
        f"p{p:g}": taken[min(len(taken) - 1, int(len(taken) * p / 100))] * 1e6 for p in PERCENTILES
    }
    user, system = (
        after - before for before, after in zip(split, split_of(options.server), strict=True)
    )
    return {
        "mode": "tls",
        "seconds": seconds,
        "requests": len(taken),
        "fewest": len(taken),
        "most": len(taken),
        "latency_us": {**latency, "max": taken[-1] * 1e6, "mean": sum(taken) / len(taken) * 1e6},
        "server_cpu": cpu_of(options.server) - server,
        "server_user": user,
        "server_system": system,
        "load_cpu": time.process_time() - own,
        "cores_busy": busy(options.core) - cores,
    }


def main() -> None:
    """Measure, and write the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    for name in ("port", "server", "size", "connections", "requests"):
        parser.add_argument(f"--{name}", type=int, default=0)
    for name in ("warmup", "seconds", "patience"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--core", type=int, action="append", default=[])
    report: dict[str, Any] = {"faults": {}, "first_fault": ""}
    try:
        report |= measure(parser.parse_args())
    except (WrongAnswerError, OSError) as error:
        fault = "wrong answers" if isinstance(error, WrongAnswerError) else "broken connections"
        report |= {"faults": {fault: 1}, "first_fault": str(error)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
