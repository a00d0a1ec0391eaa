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
        self._files: list[int] = []
        self._start_anew()
        renew_in_copies(self, SharedTurn._start_anew)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0
        """How many threads and fibers of this process wait for the turn."""

    def share(self) -> None:
        """Share the turn with the copies that are forked from now on.

        Out of descriptors, or of room for a file, nothing happens: the next call tries again.
        """
        if not self._files:
            with contextlib.suppress(OSError):
                # Of two threads that come at once the first one's counts: the list only grows.
                self._files.append(_anonymous_file())

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for the turn, and keep it for the time of the context."""
        # Both: a record lock belongs to a process, and keeps none of its threads out.
        self.waiting += 1
        try:
            acquire(self._lock)
        finally:
            self.waiting -= 1
        try:
            self.share()
            file = self._files[0] if self._files else None
            if file is not None:
                _take_from_other_processes(file)
            try:
                yield
            finally:
                if file is not None:
                    fcntl.lockf(file, fcntl.LOCK_UN)
        finally:
            self._lock.release()


def _anonymous_file() -> int:
    """Open a file without a name. It is kept for the life of the process."""
    with contextlib.suppress(AttributeError, OSError):
        return os.memfd_create("manyhands-turn")  # it needs no folder that can be written
    import tempfile  # noqa: PLC0415 - few systems need it

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)  # noqa: PTH108 - no other use of pathlib here
    return descriptor


def _take_from_other_processes(file: int) -> None:
    # The kernel drops a record lock (fcntl(2)) with the process that holds it, even when that is killed.
    if hub_of_fiber() is None:
        fcntl.lockf(file, fcntl.LOCK_EX)
    else:
        take = partial(fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try_until(lambda: is_file_lock_taken(take))


turn_at_terminal = SharedTurn()
"""The turn to ask the operator."""
