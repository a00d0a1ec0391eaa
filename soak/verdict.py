"""What must hold at the end of a soak. Pure, but for a sample of a process: figures in, complaints out."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Self

GROWTH = 1.05
"""How much larger a process may be in its last third than in its first: what the allocator keeps varies."""

SLACK = 1024 * 1024
"""Bytes that a process may have grown by besides."""

DEARER = 1.5
"""How much more processor time a connection may take later than at first: the load of the machine shows."""

UPKEEP = 0.1
"""Share of a processor that a server may take besides: for clients that stay, and in bursts."""

IDLE_SHARE = 0.05
"""Share of a processor that a server may take when its clients have gone."""

TIME_TO_END = 2.0
"""Seconds from SIGTERM to the end of the process, beyond the `drain_timeout`."""

TIMED_FROM = 120.0
"""Seconds that a soak has to last for its memory and its times to be judged: a short one is a test of the
soak, which other tests slow down."""


@dataclass(frozen=True)
class Sample:
    """How large a process is, and what it has done.

    Attributes
    ----------
    memory : int
        Bytes that are resident.
    threads : int
        Its threads.
    descriptors : int
        Its open descriptors.
    seconds : float
        When that was.
    processor : float
        Seconds of processor time that it has taken, with those of its children that have ended.
    calls : int
        How many connections clients had made.
    """

    memory: int
    threads: int
    descriptors: int
    seconds: float = 0.0
    processor: float = 0.0
    calls: int = 0

    @classmethod
    def of(cls, pid: int, calls: int) -> Self:
        """Look at a process, after so many calls."""
        proc = Path(f"/proc/{pid}")
        pages = int((proc / "statm").read_text().split()[1])
        # The name of the program comes first, and may hold anything: proc_pid_stat(5).
        times = (proc / "stat").read_text().rpartition(")")[2].split()[11:15]
        return cls(
            memory=pages * os.sysconf("SC_PAGE_SIZE"),
            threads=len(list((proc / "task").iterdir())),
            descriptors=len(list((proc / "fd").iterdir())),
            seconds=time.monotonic(),
            processor=sum(map(int, times)) / os.sysconf("SC_CLK_TCK"),
            calls=calls,
        )

    def __str__(self) -> str:
        return (
            f"{self.memory / 2**20:.1f} MiB, {self.threads} threads, {self.descriptors} descriptors, "
            f"{self.processor:.1f} s of processor time, {self.calls} calls"
        )


@dataclass(frozen=True)
class Soaked:
    """What was seen of a server.

    Attributes
    ----------
    done, done_meanwhile, refused, wrong
        Of the conversations: see `soak.crowd.Crowd`.
    expected
        For which reason the server had to end a kind of conversation.
    before
        The process before the crowd came.
    series
        The process at equal intervals while the crowd was there.
    rest
        The process when the crowd had gone, at the beginning and at the end of a rest.
    books
        What the server said then.
    last_books
        What it said at its end.
    guests
        The addresses of those clients that were there at its end; the first one's handler did not return.
    drain_timeout
        Seconds that they got to come to their end.
    seconds_to_end
        Seconds from SIGTERM to the end of the process.
    """

    done: Mapping[str, int]
    expected: Mapping[str, str]
    before: Sample
    rest: tuple[Sample, Sample]
    books: Mapping[str, Any]
    last_books: Mapping[str, Any]
    series: Sequence[Sample] = ()
    done_meanwhile: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0
    wrong: Sequence[str] = ()
    guests: Sequence[str] = ()
    drain_timeout: float = 0.0
    seconds_to_end: float = 0.0


def complaints(soaked: Soaked) -> Iterator[str]:
    """Say what does not hold."""
    yield from soaked.wrong
    yield from _in_the_books(soaked)
    yield from _in_size(soaked)
    yield from _in_the_last_books(soaked)
    if soaked.series and soaked.series[-1].seconds - soaked.before.seconds >= TIMED_FROM:
        yield from _in_growth(soaked)
        yield from _in_processor_time(soaked)
        yield from _in_time_to_end(soaked)


def thirds(series: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Return the first third of a series, without its beginning, and the last: neither has a shortage."""
    tenth = len(series) // 10
    return series[tenth : tenth * 4], series[tenth * 7 :]


def cost(samples: Sequence[Sample]) -> float:
    """Return the seconds of processor time for each connection."""
    first, last = samples[0], samples[-1]
    return (last.processor - first.processor) / max(1, last.calls - first.calls)


def _in_the_books(soaked: Soaked) -> Iterator[str]:
    books, reasons = soaked.books, soaked.books["reasons"]
    yield from _out_of_balance(books)
    if books["accepted"] != soaked.rest[1].calls:
        yield f"{soaked.rest[1].calls} calls, but {books['accepted']} accepted"
    unnoticed = 0
    for kind, reason in soaked.expected.items():
        missing = soaked.done.get(kind, 0) - reasons.get(reason, 0)
        unnoticed += missing
        if missing < 0 or missing > reasons.get("no_worker", 0):
            yield f"{soaked.done.get(kind, 0)} x {kind}, but {reasons.get(reason, 0)} x {reason} in the books"
    # Only a client that resets its connection does not notice that it is refused, and is not ended otherwise.
    noticed = soaked.refused + unnoticed
    most = noticed + soaked.done_meanwhile.get("vanish", 0)
    if not noticed <= reasons.get("no_worker", 0) <= most:
        yield (
            f"{soaked.refused} clients saw themselves refused, {unnoticed} more must have been, "
            f"but {reasons.get('no_worker', 0)} x no_worker in the books"
        )
    kicks = books["troubles"].get("kicks", 0)
    if kicks != reasons.get("kicked", 0):
        yield f"{kicks} kicks, but {reasons.get('kicked', 0)} x kicked in the books"
    for reason in ("handler_failed", "refused_out_of_descriptors", "cut_off"):
        if reasons.get(reason):
            yield f"{reasons[reason]} x {reason} in the books, for which there was no cause"


def _out_of_balance(books: Mapping[str, Any]) -> Iterator[str]:
    if books["open"] or books["accepted"] != books["closed"]:
        yield (
            f"the books do not balance: {books['accepted']} accepted, {books['open']} open, "
            f"{books['closed']} closed"
        )


def _in_size(soaked: Soaked) -> Iterator[str]:
    before, late = soaked.before, soaked.rest[1]
    for what in ("threads", "descriptors"):
        then, now = getattr(before, what), getattr(late, what)
        if now > then:
            yield f"it had {then} {what} before the crowd came, and {now} afterwards"


def _in_growth(soaked: Soaked) -> Iterator[str]:
    early, late = (median(sample.memory for sample in third) for third in thirds(soaked.series))
    if late > early * GROWTH + SLACK:
        yield (
            f"it grew from {early / 2**20:.1f} MiB in its first third to {late / 2**20:.1f} MiB in its last"
        )


def _in_processor_time(soaked: Soaked) -> Iterator[str]:
    first, last = map(cost, thirds(soaked.series))
    if last > first * DEARER:
        yield (
            f"a connection took {first * 1000:.2f} ms of processor time in the first third, "
            f"and {last * 1000:.2f} ms in the last"
        )
    for one, next_one in pairwise(soaked.series):
        seconds, calls = next_one.seconds - one.seconds, next_one.calls - one.calls
        taken = next_one.processor - one.processor
        if taken > calls * first * DEARER + seconds * UPKEEP:
            began = one.seconds - soaked.before.seconds
            yield (
                f"it took {taken:.1f} s of processor time for {calls} connections in the {seconds:.0f} s "
                f"from {began:.0f} s on"
            )
    asleep, awake = soaked.rest
    share = (awake.processor - asleep.processor) / max(0.1, awake.seconds - asleep.seconds)
    if share > IDLE_SHARE:
        yield f"it took {share:.0%} of a processor when the crowd had gone"


def _in_the_last_books(soaked: Soaked) -> Iterator[str]:
    yield from _out_of_balance(soaked.last_books)
    for conversation in soaked.last_books["cut_off"]:
        if not any(f" {guest}," in conversation for guest in soaked.guests):
            yield f"cut off at the end, though its client was to be gone: {conversation}"


def _in_time_to_end(soaked: Soaked) -> Iterator[str]:
    if not any(f" {soaked.guests[0]}," in cut for cut in soaked.last_books["cut_off"]):
        yield "its drain did not wait for the client that stays"
    if soaked.seconds_to_end > soaked.drain_timeout + TIME_TO_END:
        yield (
            f"it ended {soaked.seconds_to_end:.1f} s after SIGTERM, "
            f"with a drain_timeout of {soaked.drain_timeout:g} s"
        )
