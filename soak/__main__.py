"""The command: ``python -m soak`` or ``make soak ARGS="--minutes 1"``."""

import argparse
import contextlib
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from soak.clients import CONVERSATIONS, Place, talk, talk_in_tls
from soak.crowd import Crowd
from soak.log_reader import LogReader
from soak.verdict import Sample, complaints

ENGINES = ("threads", "fibers")

SHOWN = 20
"""Complaints of one kind of engine that are shown: ten thousand would say no more."""

SETTLING = 15.0
"""Seconds that a server gets to come to rest when everybody has gone."""

REST = 2.0
"""Seconds without a change after which it is at rest: longer than any deadline's second look takes."""


END = 2.0
"""Seconds from SIGTERM to the end of a process that serves nobody."""


class Service:
    """One server in a process of its own, and its crowd."""

    def __init__(self, engine: str, folder: Path, seed: int) -> None:
        self.engine = engine
        program = [sys.executable, "-m", "soak.service", engine, str(folder)]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log = LogReader(self._process.stderr)
        self.seconds_to_end = 0.0
        """How long the server took from SIGTERM to the end of its process."""

        said = self._hear()
        context = ssl.create_default_context(cafile=said["ca"])
        place = Place(("127.0.0.1", said["plain"]), ("127.0.0.1", said["tls"]), context)
        # What the first conversation brings with it stays, and is no growth.
        for conversation in (talk, talk_in_tls):
            conversation(place, random.Random(seed))
        self.crowd = Crowd(place, seed)
        self.samples = [self.at_rest()]

    def _hear(self) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        line = output.readline()
        if not line:
            raise SystemExit(f"the server on {self.engine} said nothing before its end")
        said: dict[str, Any] = json.loads(line)
        return said

    def sample(self) -> Sample:
        """Look how large the process is."""
        proc = Path(f"/proc/{self._process.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        return Sample(
            memory=pages * os.sysconf("SC_PAGE_SIZE"),
            threads=len(list((proc / "task").iterdir())),
            descriptors=len(list((proc / "fd").iterdir())),
        )

    def stop_the_troubles(self) -> None:
        """Have nobody kicked any more who has just come."""
        self._process.send_signal(signal.SIGUSR1)

    def at_rest(self) -> Sample:
        """Wait until nobody comes or goes in the process; return what it is then."""
        deadline = time.monotonic() + SETTLING
        sample, since = self.sample(), time.monotonic()
        while time.monotonic() < min(since + REST, deadline):
            time.sleep(0.1)
            now = self.sample()
            if (now.threads, now.descriptors) != (sample.threads, sample.descriptors):
                since = time.monotonic()
            sample = now
        return sample

    def end(self) -> dict[str, Any]:
        """Stop the server; return its books."""
        asked = time.monotonic()
        self._process.terminate()
        try:
            return self._hear()
        finally:
            self._process.wait(60)
            self.seconds_to_end = time.monotonic() - asked
            self.log.wait()

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
            # A log collector that hangs: of ten minutes, for one.
            service.log.pause(seconds / 10, after=seconds * 4 / 10)
        time.sleep(seconds / 10)
        for service in running:
            service.samples.append(service.sample())
        for service in running:
            service.crowd.wait_until_gone()
            service.stop_the_troubles()
        failed = [service.engine for service in running if not _is_well(service)]
    return int(bool(failed))


def _is_well(service: Service) -> bool:
    """Stop a server; say what it has to tell, and what is wrong with it."""
    before, early = service.samples
    late = service.at_rest()
    books = service.end()
    crowd = service.crowd
    expected = {kind.__name__: reason for kind, reason in CONVERSATIONS.items() if reason}
    wrong = [*crowd.wrong, *service.log.broken]
    found = list(complaints(books, crowd.done, wrong, expected, (before, early, late)))
    if service.seconds_to_end > END:
        found.append(f"it ended {service.seconds_to_end:.1f} s after SIGTERM, with nobody there")
    print(f"\n{service.engine}: {books['accepted']} connections, {dict(books['troubles'])}")
    print(f"  conversations  {dict(sorted(crowd.done.items()))}")
    print(f"  log            {service.log.lines} lines, {service.log.dropped} dropped")
    print(f"  ended          {dict(sorted(books['reasons'].items()))}")
    for name, sample in (("before", before), ("early", early), ("late", late)):
        print(f"  {name:14} {sample}")
    for complaint in found[:SHOWN]:
        print(f"  WRONG: {complaint}")
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
    print(f"  {'FAILED' if found else 'ok'}")
    return not found


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and soak."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="which, separated by commas")
    chosen = parser.parse_args(arguments)
    return soak(chosen.engines.split(","), chosen.minutes)


if __name__ == "__main__":
    sys.exit(main())
