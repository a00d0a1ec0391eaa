"""The processes of a measurement: the server on one core, the load on another."""

import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.build import load_generator
from bench.contestants import Contestant

Result = dict[str, Any]
"""What the load generator reports."""

TLS_LOAD = Path(__file__).parent / "load" / "first_answers.py"

START_PATIENCE = 30.0
"""Seconds that a server may take to say its port."""


class MeasurementError(Exception):
    """A measurement failed; the text says why."""


@dataclass(frozen=True)
class Cores:
    """The core of the server and the core of the load: the same one where the machine has only one."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> "Cores":
        """Take the first two that this process may use."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1] if len(usable) > 1 else usable[0])


@dataclass(frozen=True)
class Server:
    """A contestant's program that listens."""

    contestant: Contestant
    pid: int
    port: int
    log: Path

    def memory(self) -> int:
        """Return the bytes of memory that the process holds, its share of what it shares included."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        raise MeasurementError("the kernel tells nothing of the server's memory")

    def complaint(self) -> str:
        """Return the last line that the program wrote to standard error."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"; it wrote: {lines[-1]}" if lines else ""


@contextlib.contextmanager
def on_cores(*cores: int) -> Iterator[None]:
    """Have the processes that are started meanwhile run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def set_up() -> None:
    """Have programs run as where they are installed: with all descriptors that they may have, compiled once.

    Else each start of a program, and each upgrade, would compile it anew: seconds of it, and megabytes.
    """
    allow_descriptors()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def allow_descriptors() -> int:
    """Raise the limit of descriptors, for this process and its children, as far as it goes; return it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextlib.contextmanager
def serving(contestant: Contestant, service: str, cores: Cores) -> Iterator[Server]:
    """Run a contestant's program on the server's core, and end it afterwards.

    Raises
    ------
    MeasurementError
        When it does not come to listen.
    """
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        with on_cores(cores.server):
            process = subprocess.Popen(
                contestant.command(service),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=contestant.environment(),
            )
        try:
            server = Server(contestant, process.pid, _port_of(process), Path(log.name))
            if not server.port:
                raise MeasurementError(f"{contestant.title} does not listen{server.complaint()}")
            yield server
        finally:
            process.kill()
            process.wait()


def _port_of(process: subprocess.Popen[bytes]) -> int:
    """Return the port that a program says; 0 when it ended, or took too long."""
    assert process.stdout
    with process.stdout as output:
        spoken, _, _ = select.select([output], [], [], START_PATIENCE)
        return int(output.readline() or 0) if spoken else 0


def load_command(mode: str, server: Server, cores: Cores, **options: float | None) -> list[str]:
    """Return the load generator's command line."""
    generator = [sys.executable, str(TLS_LOAD)] if mode == "tls" else [str(load_generator()), mode]
    command = [*generator, "--port", str(server.port), "--server", str(server.pid)]
    for core in {cores.server, cores.load}:
        command += ["--core", str(core)]
    if server.contestant.forks and mode != "tls":
        command += ["--forks", "1"]
    for name, value in options.items():
        if value is not None:
            command += [f"--{name}", str(value)]
    return command


def load(mode: str, server: Server, cores: Cores, **options: float | None) -> Result:
    """Put a load on a server and return the generator's report.

    Raises
    ------
    MeasurementError
        When a single byte did not come back as it should, or the generator failed.
    """
    # The generator bounds itself; this is for one that does not.
    bound = sum(options.get(name) or 0 for name in ("warmup", "seconds", "patience")) + 120
    try:
        with on_cores(cores.load):
            ran = subprocess.run(
                load_command(mode, server, cores, **options),
                capture_output=True,
                text=True,
                timeout=bound,
                check=False,
            )
    except subprocess.TimeoutExpired as late:
        raise MeasurementError(f"the load was not over after {bound:.0f} s") from late
    if not ran.stdout:
        raise MeasurementError(f"the load generator failed: {ran.stderr.strip()}")
    result = cast("Result", json.loads(ran.stdout))
    if result["faults"]:
        raise MeasurementError(
            f"{_counted(result['faults'])} ({result['first_fault']}){server.complaint()}"
        )
    return result


def _counted(faults: dict[str, int]) -> str:
    return ", ".join(f"{count} × {name}" for name, count in faults.items())


@contextlib.contextmanager
def crowd(size: int, server: Server, cores: Cores) -> Iterator[None]:
    """Hold idle connections, each known to be served; see at the end that each still is.

    Raises
    ------
    MeasurementError
        When one cannot be held.
    """
    # A process may open only so many descriptors.
    limit = allow_descriptors() - 100
    shares = [min(limit, size - begin) for begin in range(0, size, limit)]
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(_holder(share, server, cores)) for share in shares]
        yield
        for holder in holders:
            assert holder.stdin
            holder.stdin.close()
            _check_crowd(holder, server)


@contextlib.contextmanager
def _holder(size: int, server: Server, cores: Cores) -> Iterator[subprocess.Popen[str]]:
    command = load_command("crowd", server, cores, connections=size, sources=16, patience=60)
    with on_cores(cores.load):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with process:
        try:
            _check_crowd(process, server)
            yield process
        finally:
            process.kill()


def _check_crowd(holder: subprocess.Popen[str], server: Server) -> None:
    assert holder.stdout
    line = holder.stdout.readline()
    result = json.loads(line) if line else {"failed": True, "first_fault": "its holder died"}
    if result["failed"]:
        raise MeasurementError(f"the crowd broke: {result['first_fault']}{server.complaint()}")
