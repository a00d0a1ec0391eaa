"""What this process has open, and what has been left open."""

import os
import resource
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from manyhands.testing import wait_until

KEPT = "/memfd:manyhands-turn (deleted)"
"""What a process keeps open from its first fork on: the file of the turn to ask the operator."""


def open_descriptors() -> Counter[str]:
    """Count what this process has open, each socket and pipe by its inode."""
    return Counter(name for _, name in _links() if name != KEPT)


def left_open(before: Counter[str]) -> list[str]:
    """Describe what is open and was not, `before`."""
    return [_described(name) for name in sorted((open_descriptors() - before).elements())]


def wait_for_descriptors(before: Counter[str]) -> None:
    """Wait until nothing is open that was not, `before`; an `AssertionError` names what stays."""
    try:
        wait_until(lambda: open_descriptors() <= before)
    except AssertionError:
        raise AssertionError(f"left open: {', '.join(left_open(before))}") from None


def _links() -> Iterator[tuple[int, str]]:
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor of the listing itself
            yield int(link.name), str(link.readlink())


def _described(name: str) -> str:
    """Add the kind and the addresses of a socket to its name."""
    for number, other in _links() if name.startswith("socket:") else ():
        if other == name:
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
                return f"{name} {copy!r}"
    return name


@contextmanager
def none_left() -> Iterator[list[int]]:
    """Have this process take all descriptors that it may, some forty; one that is closed is to be taken out.

    For a process of the test's own: the limit stays.
    """
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as many as there are, with its own
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, used + 40))
    held: list[int] = []
    with suppress(OSError):
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    try:
        yield held
    finally:
        for descriptor in held:
            os.close(descriptor)


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes no more, and its reader."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)
