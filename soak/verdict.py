"""What must hold at the end of a soak. Pure: figures in, complaints out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

GROWTH = 1.10
"""How much larger a process may be at its end than in its first minute: what the allocator keeps varies."""

SLACK = 2 * 1024 * 1024
"""Bytes that a process may have grown by besides."""


@dataclass(frozen=True)
class Sample:
    """How large a process is.

    Attributes
    ----------
    memory : int
        Bytes that are resident.
    threads : int
        Its threads.
    descriptors : int
        Its open descriptors.
    """

    memory: int
    threads: int
    descriptors: int


def complaints(
    books: Mapping[str, Any],
    done: Mapping[str, int],
    wrong: list[str],
    expected: Mapping[str, str],
    samples: tuple[Sample, Sample, Sample],
) -> Iterator[str]:
    """Say what does not hold.

    Parameters
    ----------
    books
        What the server said at its end.
    done
        How many conversations of each kind went as they should.
    wrong
        What went wrong in the others.
    expected
        For which reason the server had to end a kind of conversation.
    samples
        The process before the crowd came, in its first minute, and when the crowd had gone.
    """
    yield from wrong
    yield from _in_the_books(books, done, expected)
    yield from _in_size(*samples)
    for conversation in books["cut_off"]:
        yield f"cut off at the end, though everybody had gone: {conversation}"


def _in_the_books(
    books: Mapping[str, Any], done: Mapping[str, int], expected: Mapping[str, str]
) -> Iterator[str]:
    if books["open"] or books["accepted"] != books["closed"]:
        yield (
            f"the books do not balance: {books['accepted']} accepted, {books['open']} open, "
            f"{books['closed']} closed"
        )
    for kind, reason in expected.items():
        in_books = books["reasons"].get(reason, 0)
        if in_books != done.get(kind, 0):
            yield f"{done.get(kind, 0)} x {kind}, but {in_books} x {reason} in the books"
    kicks = books["troubles"].get("kicks", 0)
    if kicks != books["reasons"].get("kicked", 0):
        yield f"{kicks} kicks, but {books['reasons'].get('kicked', 0)} x kicked in the books"


def _in_size(before: Sample, early: Sample, late: Sample) -> Iterator[str]:
    if late.memory > early.memory * GROWTH + SLACK:
        yield f"it grew from {_mib(early)} in its first minute to {_mib(late)} at its end"
    if late.threads > before.threads:
        yield f"it had {before.threads} threads before the crowd came, and {late.threads} afterwards"
    if late.descriptors > before.descriptors:
        yield (
            f"it had {before.descriptors} descriptors before the crowd came, "
            f"and {late.descriptors} afterwards"
        )


def _mib(sample: Sample) -> str:
    return f"{sample.memory / 2**20:.1f} MiB"
