"""A turn that threads, fibers and forked processes take: one of them has it at a time."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from manyhands.runtime.caller import hub_of_fiber
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import acquire, is_file_lock_taken, try_until


class SharedTurn:
    """What one thread or fiber of one process has at a time, among the process and its forked copies.

    Notes
    -----
    Thread-safe. Copies that are forked before `share`, or before the turn was taken once, have turns of
    their own.
    """

    def __init__(self) -> None:
        self._files: list[tuple[int, object]] = []
        self._start_anew()
        renew_in_copies(self, SharedTurn._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0
        """How many threads and fibers of this process wait for the turn."""

    def share(self) -> None:
        """Share the turn with the copies that are forked from now on.

        Where no file can be had nothing happens: the next call tries again.
        """
        if self._file() is None:
            with contextlib.suppress(OSError, ImportError):  # no descriptor, no room, another root
                descriptor = _anonymous_file()
                # Of two threads that come at once the first one's counts: the list only grows.
                self._files.append((descriptor, _identity(descriptor)))

    def _file(self) -> int | None:
        # A program that becomes a daemon closes it, and another file may have its number then.
        there = (number for number, identity in self._files if _identity(number) == identity)
        return next(there, None)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and keep it for the time of the context."""
        # Both: a record lock belongs to a process, and keeps none of its threads out.
        lock = (
            self._lock
        )  # a copy that is forked in between, by a signal handler say, gets another one
        self.waiting += 1
        try:
            acquire(lock)
        finally:
            self.waiting -= 1
        try:
            self.share()
            file = self._file()
            if file is not None:
                _take_from_other_processes(file)
            try:
                yield
            finally:
                if file is not None:
                    with contextlib.suppress(
                        OSError
                    ):  # closed meanwhile, and the lock has gone with it
                        fcntl.lockf(file, fcntl.LOCK_UN)
        finally:
            lock.release()


def _anonymous_file() -> int:
    """Open a file without a name. It is kept for the life of the process."""
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("manyhands-turn")  # it needs no folder that can be written
    import tempfile  # noqa: PLC0415 - few systems need it

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - no other use of pathlib here
    return descriptor


def _identity(descriptor: int) -> object:
    """Return what no other open file has; None for a descriptor that is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _take_from_other_processes(file: int) -> None:
    # The kernel drops a record lock (fcntl(2)) with the process that holds it, even when that is killed.
    if hub_of_fiber() is None:
        fcntl.lockf(file, fcntl.LOCK_EX)
    else:
        take = partial(fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try_until(lambda: is_file_lock_taken(take))


turn_at_terminal = SharedTurn()
"""The turn to ask the operator."""
