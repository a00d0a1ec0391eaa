"""Servers with workers, as an operator starts them, and what the kernel says of their processes."""

import contextlib
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contestants import Contestant
from bench.processes import START_PATIENCE, Cores, MeasurementError, Server, load
from manyhands.control.client import Client, ControlError

HERE = Path(__file__).parent

CORES = Cores.choose()

SERVED = Contestant("workers", "manyhands with workers", "", ("echo",), nodelay=True)

BARE = Contestant("bare", "a bare dealer", "", ("echo",), nodelay=False)

RELOAD = 60.0
"""Seconds that a reload may take: `start_timeout`; and an upgrade, until the new program's workers serve."""

LOOK = 0.01
"""Seconds between two questions to a program that has just taken over."""


@dataclass(frozen=True)
class Fleet(Server):
    """A server with workers, by its supervisor's process."""

    place: str = ""

    @contextlib.contextmanager
    def operator(self) -> Iterator[Client]:
        """Connect to its control socket.

        Raises
        ------
        MeasurementError
            When it does not answer, or not as it should.
        """
        try:
            with Client(self.place) as client:
                yield client
        except ControlError as error:
            raise MeasurementError(f"{error}{self.complaint()}") from error

    def workers(self) -> list[dict[str, Any]]:
        """Return what its control socket says of the workers."""
        with self.operator() as client:
            items: list[dict[str, Any]] = client.call("workers.list")["items"]
        return items

    def pids_of_workers(self) -> list[int]:
        """Return the processes of its workers."""
        return [int(each["pid"]) for each in self.workers()]

    def processes(self) -> list[int]:
        """Return its supervisor and all that descend of it."""
        return descendants(self.pid)

    def reload(self) -> float:
        """Have a new generation serve; return the seconds until it does."""
        began = time.monotonic()
        with self.operator() as client:
            client.request("reload", timeout=RELOAD)
        return time.monotonic() - began

    def upgrade(self) -> float:
        """Have the program started anew in the supervisor's process; return the seconds until it serves.

        Raises
        ------
        MeasurementError
            When they do not come to that.
        """
        before, began = self._generation(), time.monotonic()
        with self.operator() as client:
            client.request("upgrade", timeout=RELOAD)
        while time.monotonic() < began + RELOAD:
            # Meanwhile nothing answers at the control socket.
            with contextlib.suppress(MeasurementError):
                if self._generation() > before:
                    return time.monotonic() - began
            time.sleep(LOOK)
        raise MeasurementError(f"the new program's workers do not serve{self.complaint()}")

    def _generation(self) -> int:
        with self.operator() as client:
            return int(client.call("status")["generation"])

    def books(self) -> Mapping[str, Any]:
        """Return what was accepted, is open and is closed, as its control socket says."""
        with self.operator() as client:
            books: Mapping[str, Any] = client.call("status")["books"]
        return books


@contextlib.contextmanager
def serving(handler: str = "Echo", workers: int | None = 2, **options: object) -> Iterator[Fleet]:
    """Run ``manyhands serve`` on fibers.

    Parameters
    ----------
    handler
        The class of `handlers`.
    workers
        How many; None: one process, without a supervisor.
    **options
        More of its options.

    Raises
    ------
    MeasurementError
        When it does not come to listen.
    """
    flags = [] if workers is None else ["--workers", str(workers)]
    for name, value in options.items():
        flags += ["--" + name.replace("_", "-"), str(value)]
    with tempfile.TemporaryDirectory(prefix="manyhands-bench-") as folder:
        place = str(Path(folder, "control"))
        command = [
            *(sys.executable, "-m", "manyhands", "serve", f"{HERE / 'handlers.py'}:{handler}"),
            *("--bind", "tcp://127.0.0.1:0", "--engine", "fibers", "--control", place, *flags),
        ]
        with _running(command) as (process, port, log):
            yield Fleet(SERVED, process, port, log, place)


@contextlib.contextmanager
def bare_dealer(workers: int = 2) -> Iterator[Server]:
    """Run the dealer that does nothing else.

    Raises
    ------
    MeasurementError
        When it does not come to listen.
    """
    with _running([sys.executable, str(HERE / "bare_dealer.py"), str(workers)]) as running:
        yield Server(BARE, *running)


@contextlib.contextmanager
def _running(command: list[str]) -> Iterator[tuple[int, int, Path]]:
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
        try:
            port = _port_of(process)
            if not port:
                said = Path(log.name).read_text(errors="replace")
                raise MeasurementError(f"the server does not listen; it wrote: {said}")
            yield process.pid, port, Path(log.name)
        finally:
            process.kill()
            process.wait()


def _port_of(process: subprocess.Popen[bytes]) -> int:
    """Return the number at the end of the first line that a program says; 0 when it says none."""
    assert process.stdout
    if not select.select([process.stdout], [], [], START_PATIENCE)[0]:
        return 0
    said = re.search(rb"(\d+)\s*$", process.stdout.readline())
    return int(said[1]) if said else 0


def descendants(pid: int) -> list[int]:
    """Return a process and all that descend of it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += descendants(int(child))
    return found


def processor_time(*pids: int) -> float:
    """Return the seconds of processor time that processes have taken, user and system."""
    # The clock of a process, as clock_getcpuclockid(3) makes its number: to the nanosecond.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory(pid: int) -> dict[str, float]:
    """Return the megabytes that a process has: resident, its share of what it shares, and its own."""
    sizes = dict(
        line.split()[:2] for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    own = int(sizes["Private_Clean:"]) + int(sizes["Private_Dirty:"])
    return {
        "rss": int(sizes["Rss:"]) / 1024,
        "pss": int(sizes["Pss:"]) / 1024,
        "own": own / 1024,
    }


def cost(server: Server, pids: list[int], mode: str, seconds: float, **settings: Any) -> float:
    """Put a load on a server; return the microseconds of processor time of some processes per request."""
    load(mode, server, CORES, seconds=min(0.5, seconds), **settings)
    before = processor_time(*pids)
    # Without a warm-up, for the clocks are read at both ends of the whole.
    requests: int = load(mode, server, CORES, seconds=seconds, **settings)["requests"]
    if not requests:
        raise MeasurementError("not one request was answered")
    return (processor_time(*pids) - before) * 1e6 / requests
