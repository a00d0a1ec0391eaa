"""Copies of the test's own process, as programs make them with `os.fork` and `multiprocessing`."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .waiting import wait_until


@contextmanager
def forked(act: Callable[[], object]) -> Iterator[Callable[[], int]]:
    """Fork, as programs do; the copy exits with 0 when `act` returns something true there, else with 1.

    Gives a function that waits for the copy and returns its exit code. Whatever hangs is killed at the end.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if act() else 1)
        finally:
            os._exit(2)
    codes: list[int] = []

    def has_ended() -> bool:
        ended, status = os.waitpid(pid, os.WNOHANG)
        codes.extend([os.waitstatus_to_exitcode(status)] if ended else [])
        return bool(codes)

    def wait() -> int:
        wait_until(has_ended)
        return codes[0]

    try:
        yield wait
    finally:
        if not codes:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
