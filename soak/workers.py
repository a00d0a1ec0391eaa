"""Servers with workers, which are killed, replaced and upgraded all the time: ``python -m soak.workers``.

In each minute a worker is killed, there is a reload, and an upgrade. The books must balance, and agree with
what the clients did; no client that behaved may be cut off, but by the death of its own worker; and the
supervisor must stay as large as it was.
"""

import argparse
import contextlib
import os
import random
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from manyhands.testing import read_line
from soak.clients import Address, Place
from soak.crowd import Crowd
from soak.verdict import GROWTH, SLACK, TIMED_FROM, Sample
from soak.worker_service import WorkerService

ENGINES = ("fibers", "threads", "processes")
"""Of the workers, one server after the other: as many as have a `PERIOD` each."""

SHARES = {"talk": 6, "talk_in_tls": 4, "churn": 3, "talk_slowly": 3, "dwell": 8, "vanish": 2}
"""How many clients have each kind of conversation at any time: none of which the server has to end."""

PERIOD = 60.0
"""Seconds in which there is one change of each kind."""

AROUND = 2.0
"""Seconds around a kill in which a client may be cut off that does not know its worker yet."""

SAMPLES = 60

WELL = {"peer_closed", "peer_reset", "worker_died"}
"""The reasons for which connections may have been closed."""


class WatchedPlace(Place):
    """Where the server is; each thread knows which worker serves its client."""

    def __init__(self, plain: Address, tls: Address, context: ssl.SSLContext) -> None:
        super().__init__(plain, tls, context)
        self._own = threading.local()

    @property
    def worker(self) -> int | None:
        """The process that serves the client of the calling thread; None while it has not said so."""
        worker: int | None = getattr(self._own, "worker", None)
        return worker

    def call(self, said: bytes = b"", *, for_tls: bool = False, **options: Any) -> Any:
        """Connect, and learn the worker, where the handler speaks first with a client in plain text."""
        self._own.worker = None
        peer = super().call(b"" if for_tls else b"who\n", for_tls=for_tls, **options)
        if not for_tls:
            self._learn(peer)
            peer.sendall(said)
        return peer

    def call_in_tls(self) -> ssl.SSLSocket:
        """Connect, shake hands, and learn the worker."""
        peer = super().call_in_tls()
        peer.sendall(b"who\n")
        self._learn(peer)
        return peer

    def _learn(self, peer: Any) -> None:
        said = read_line(peer)
        if not said:
            raise ConnectionResetError("hung up on before the worker was known")
        self._own.worker = int(said)


class ForgivingCrowd(Crowd):
    """A crowd whose clients may be cut off by the death of their own worker."""

    def __init__(self, place: WatchedPlace, seed: int) -> None:
        super().__init__(place, seed, SHARES)
        self._watched = place
        self.killed: dict[int, float] = {}
        """The workers that were killed, and when."""

        self.bereaved = 0
        """How many clients were cut off by that."""

    def note_failure(self, kind: str, error: Exception) -> None:
        """Take down what went wrong, unless it was the death of the client's worker."""
        worker, now = self._watched.worker, time.monotonic()
        is_bereaved = (
            any(now - when < AROUND for when in self.killed.values())
            if worker is None
            else worker in self.killed
        )
        if is_bereaved:
            self.bereaved += 1
        else:
            super().note_failure(f"{kind} with worker {worker}", error)


class Changes:
    """What is done to a server in turn, spread over each period.

    Parameters
    ----------
    service
        The server.
    crowd
        Its clients, some of which are bereaved by it.
    seconds
        How long that goes on: each kind comes at least once.
    """

    def __init__(self, service: WorkerService, crowd: ForgivingCrowd, seconds: float) -> None:
        self._service = service
        self._crowd = crowd
        self._dice = random.Random(7)
        self._kinds: tuple[Callable[[], None], ...] = (self._kill, service.reload, service.upgrade)
        self._pause = min(PERIOD, seconds) / len(self._kinds)
        self._due = time.monotonic() + self._pause / 2
        self.made: Counter[str] = Counter()
        """How many of each kind there were."""

    def _kill(self) -> None:
        pid = self._dice.choice(self._service.serving())
        self._crowd.killed[pid] = time.monotonic()
        os.kill(pid, signal.SIGKILL)

    def make(self) -> None:
        """Make the next one, if it is due."""
        if time.monotonic() < self._due:
            return
        self._due += self._pause
        kind = self._kinds[self.made.total() % len(self._kinds)]
        name = kind.__name__.strip("_")
        self.made[name] += 1
        try:
            kind()
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the finding
            self._crowd.wrong.append(f"{name}: {type(error).__name__}: {error}")

    @property
    def seconds_left(self) -> float:
        """The seconds until the next one is due."""
        return max(0.0, self._due - time.monotonic())


def complaints(
    crowd: ForgivingCrowd,
    calls: int,
    status: Mapping[str, Any],
    series: Sequence[Sample],
    rest: tuple[Sample, Sample],
) -> Iterator[str]:
    """Say what does not hold.

    Parameters
    ----------
    crowd
        The clients.
    calls
        How many connections they have made.
    status
        What the server said when all had gone.
    series
        The supervisor meanwhile.
    rest
        The supervisor before, and when all had gone.
    """
    books, reasons = status["books"], status["servers"][0]["closed"]
    yield from crowd.wrong
    if books["open"] or not books["accepted"] == books["closed"] == calls:
        yield f"the books do not balance: {calls} calls, {dict(books)}"
    for reason, count in reasons.items():
        if reason not in WELL:
            yield f"{count} x {reason} in the books, for which there was no cause"
    if crowd.bereaved > reasons.get("worker_died", 0):
        yield f"{crowd.bereaved} clients were bereaved, and the books say {dict(reasons)}"
    yield from _in_size(series, rest)


def _in_size(series: Sequence[Sample], rest: tuple[Sample, Sample]) -> Iterator[str]:
    for what in ("threads", "descriptors"):
        then, now = (getattr(each, what) for each in rest)
        if now > then:
            yield f"the supervisor had {then} {what} at first, and {now} at last"
    if series[-1].seconds - series[0].seconds < TIMED_FROM:
        return
    third = len(series) // 3
    early, late = (
        median(each.memory for each in some) for some in (series[:third], series[-third:])
    )
    if late > early * GROWTH + SLACK:
        yield f"the supervisor grew from {early / 2**20:.1f} MiB to {late / 2**20:.1f} MiB"


def soak(engine: str, seconds: float) -> bool:
    """Run a server and its crowd; tell whether all went well."""
    with (
        tempfile.TemporaryDirectory(prefix="manyhands-soak-") as folder,
        contextlib.ExitStack() as stack,
    ):
        service = WorkerService(Path(folder), engine)
        stack.callback(service.kill)
        place = WatchedPlace(service.plain, service.tls, service.context)
        crowd = ForgivingCrowd(place, seed=1)
        # What the first question, and the first line of the log, bring with them stays, and is no growth.
        service.reload()
        service.wait_for_old_ones()
        before = service.sample(0)
        crowd.come(seconds)
        began, series = time.monotonic(), []
        changes = Changes(service, crowd, seconds)
        while time.monotonic() < began + seconds:
            time.sleep(min(seconds / SAMPLES, changes.seconds_left))
            series.append(service.sample(place.calls))
            changes.make()
        crowd.wait_until_gone()
        status, late = service.at_rest(before)
        found = list(complaints(crowd, place.calls, status, series, (before, late)))
        exit_status = service.end()
        if exit_status != 0:
            found.append(f"its exit status is {exit_status}; it wrote: {service.log()[-2000:]}")
    print(f"\nworkers on {engine}: {status['books']}, {dict(changes.made)}")
    print(f"  conversations  {dict(sorted(crowd.done.items()))}, {crowd.bereaved} bereaved")
    print(f"  ended          {dict(sorted(status['servers'][0]['closed'].items()))}")
    for name, sample in (("before", before), ("at first", series[0]), ("afterwards", late)):
        print(f"  {name:<14} {sample}")
    for complaint in found[:20]:
        print(f"  WRONG: {complaint}")
    print(f"  {'FAILED' if found else 'ok'}", flush=True)
    return not found


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and soak."""
    parser = argparse.ArgumentParser(prog="python -m soak.workers", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long, all in all (10)")
    every = ",".join(ENGINES)
    parser.add_argument("--engines", default=every, help=f"of the workers, in turn ({every})")
    chosen = parser.parse_args(arguments)
    seconds = chosen.minutes * 60
    engines = chosen.engines.split(",")[: max(1, int(seconds // PERIOD))]
    # One after the other to the end, whatever becomes of the first.
    are_well = [soak(each, seconds / len(engines)) for each in engines]
    return int(not all(are_well))


if __name__ == "__main__":
    sys.exit(main())
