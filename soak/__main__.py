"""The command: ``python -m soak`` or ``make soak ARGS="--minutes 1"``."""

import argparse
import contextlib
import json
import random
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from manyhands.testing import ask
from soak.clients import CONVERSATIONS, Place, stay, talk, talk_in_tls
from soak.crowd import Crowd
from soak.log_reader import LogReader
from soak.service import ALLOW_THREADS, BOOKS, DENY_THREADS, DRAIN, NO_TROUBLES
from soak.verdict import Sample, Soaked, complaints, cost, thirds

ENGINES = ("threads", "processes", "fibers")

WORKERS = "workers"
"""What goes on beside the engines, by a command of its own: `soak.workers`."""

SHOWN = 20
"""Complaints of one kind of engine that are shown: ten thousand would say no more."""

SETTLING = 15.0
"""Seconds that a server gets to come to rest when the crowd has gone."""

REST = 2.0
"""Seconds without a change after which it is at rest: longer than any deadline's second look takes."""

STEPS = 20
"""Samples that are taken while the crowd is there."""

STUCK = range(8, 10)
"""The steps in which the log is not read: of ten minutes, one."""

WITHOUT_THREADS = range(12, 14)
"""The steps in which the system has no thread: of ten minutes, another one."""

AFTERMATH = 3.0
"""Seconds after which a client that was to wait for a thread has one, or knows that it is refused."""

MORE_THAN_THE_PIPE_HOLDS = 300
"""Connections whose lines a pipe that is not read does not take: 64 KiB of them, pipe(7)."""

PATIENCE = 60.0
"""Seconds that an answer and the end of a process are waited for."""


class Service:
    """One server in a process of its own, and its crowd."""

    def __init__(self, engine: str, folder: Path, seed: int) -> None:
        self.engine = engine
        program = [sys.executable, "-m", "soak.service", engine, str(folder)]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.log = LogReader(self._process.stderr)
        said = self._hear()
        context = ssl.create_default_context(cafile=said["ca"])
        self._plain = ("127.0.0.1", said["plain"])
        self._place = Place(self._plain, ("127.0.0.1", said["tls"]), context)
        # What the first conversation brings with it stays, and is no growth.
        for conversation in (talk, talk_in_tls):
            conversation(self._place, random.Random(seed))
        self.crowd = Crowd(self._place, seed)
        self._before = self._at_rest()[1]
        self._series: list[Sample] = []

    def _hear(self) -> Any:
        output = self._process.stdout
        assert output is not None
        too_late = threading.Timer(PATIENCE, self._process.kill)
        too_late.start()
        line = output.readline()
        too_late.cancel()
        if not line:
            raise SystemExit(
                f"the server on {self.engine} said nothing, and was killed if it did not end"
            )
        return json.loads(line)

    def order(self, order: bytes) -> Any:
        """Tell the process something; return its answer."""
        orders = self._process.stdin
        assert orders is not None
        orders.write(order)
        orders.flush()
        return self._hear()

    def look(self) -> None:
        """Look once more how large the process is."""
        self._series.append(self._sample())

    def _sample(self) -> Sample:
        return Sample.of(self._process.pid, self._place.calls)

    def _at_rest(self) -> tuple[Sample, Sample]:
        """Wait until no connection comes or goes in the process; return it at the rest's begin and end."""
        deadline = time.monotonic() + SETTLING
        first = latest = self._sample()
        while latest.seconds < min(first.seconds + REST, deadline):
            time.sleep(0.1)
            latest = self._sample()
            if (latest.threads, latest.descriptors) != (first.threads, first.descriptors):
                first = latest
        return first, latest

    def end(self) -> Soaked:
        """End the process when the crowd has gone, and other clients stay; return all that was seen of it.

        SIGTERM comes when the log is stuck and no thread can be had.
        """
        self.order(NO_TROUBLES)
        rest = self._at_rest()
        books = self.order(BOOKS)
        self.log.pause()
        for _ in range(MORE_THAN_THE_PIPE_HOLDS):
            ask(self._plain)
        guests = stay(self._place)
        self.order(DENY_THREADS)
        asked = time.monotonic()
        self._process.terminate()
        last_books = self._hear()
        self._process.wait(PATIENCE)
        seconds = time.monotonic() - asked
        addresses = ["{}:{}".format(*guest.getsockname()) for guest in guests]
        for guest in guests:
            guest.close()
        self.log.wait()
        crowd = self.crowd
        return Soaked(
            done=crowd.done,
            expected={kind.__name__: reason for kind, reason in CONVERSATIONS.items() if reason},
            before=self._before,
            rest=rest,
            books=books,
            last_books=last_books,
            series=self._series,
            done_meanwhile=crowd.done_meanwhile,
            refused=crowd.refused,
            wrong=[*crowd.wrong, *self.log.broken],
            guests=addresses,
            drain_timeout=DRAIN,
            seconds_to_end=seconds,
        )

    def kill(self) -> None:
        """End the process, if it goes on."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def services(engines: Sequence[str]) -> Iterator[list[Service]]:
    """Run a server on each engine."""
    with (
        tempfile.TemporaryDirectory(prefix="manyhands-soak-") as folder,
        contextlib.ExitStack() as stack,
    ):
        running = []
        for seed, engine in enumerate(engines):
            own = Path(folder, engine)
            own.mkdir()
            service = Service(engine, own, seed)
            stack.callback(service.kill)
            running.append(service)
        yield running


def soak(engines: Sequence[str], minutes: float) -> int:
    """Run it all; return the exit status."""
    seconds = minutes * 60
    with services(engines) as running:
        for service in running:
            service.crowd.come(seconds)
        began = time.monotonic()
        for step in range(STEPS):
            _begin(step, running)
            time.sleep(max(0.0, began + seconds * (step + 1) / STEPS - time.monotonic()))
            for service in running:
                service.look()
        for service in running:
            service.crowd.wait_until_gone()
        failed = [service.engine for service in running if not _is_well(service)]
    return int(bool(failed))


def _begin(step: int, running: Sequence[Service]) -> None:
    """Begin and end what lasts for some of the steps."""
    for service in running:
        if step == STUCK.start:
            service.log.pause()
        elif step == STUCK.stop:
            service.log.go_on()
        elif step == WITHOUT_THREADS.start:
            service.crowd.may_be_refused = True
            service.order(DENY_THREADS)
        elif step == WITHOUT_THREADS.stop:
            service.order(ALLOW_THREADS)
            service.crowd.are_refused_no_more_after(AFTERMATH)


def _is_well(service: Service) -> bool:
    """Stop a server; say what it has to tell, and what is wrong with it."""
    soaked, log = service.end(), service.log
    books, series = soaked.books, soaked.series
    early, late = map(cost, thirds(series))
    found = list(complaints(soaked))
    print(f"\n{service.engine}: {books['accepted']} connections, {dict(books['troubles'])}")
    print(f"  conversations  {dict(sorted(soaked.done.items()))}, {soaked.refused} refused")
    print(f"  log            {log.lines} lines, {log.dropped} dropped")
    print(f"  ended          {dict(sorted(books['reasons'].items()))}")
    print(f"  before         {soaked.before}")
    for sample in series[1::2]:
        print(f"  {sample.seconds - soaked.before.seconds:6.0f} s       {sample}")
    print(f"  afterwards     {soaked.rest[1]}")
    print(
        f"  a connection   {early * 1000:.2f} ms of processor time at first, {late * 1000:.2f} ms at last"
    )
    print(f"  the end        {soaked.seconds_to_end:.1f} s after SIGTERM")
    for complaint in found[:SHOWN]:
        print(f"  WRONG: {complaint}")
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
    print(f"  {'FAILED' if found else 'ok'}", flush=True)
    return not found


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and soak."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    every = ",".join((*ENGINES, WORKERS))
    parser.add_argument("--engines", default=every, help=f"which, separated by commas ({every})")
    chosen = parser.parse_args(arguments)
    engines = chosen.engines.split(",")
    command = [sys.executable, "-m", "soak.workers", "--minutes", str(chosen.minutes)]
    beside = subprocess.Popen(command) if WORKERS in engines else None
    status = soak([each for each in engines if each != WORKERS], chosen.minutes)
    return status or (beside.wait() if beside is not None else 0)


if __name__ == "__main__":
    sys.exit(main())
