"""`multiprocessing` in a program on fibers: what waits for another process lets the other fibers run.

gevent leaves it alone. Its queues and pools read from pipes in threads of their own, which are fibers here,
and they hold locks meanwhile that others want: one that blocks the process never gets what it waits for.
"""

import os
import time
from functools import partial, partialmethod
from multiprocessing.connection import Connection
from multiprocessing.synchronize import SemLock
from typing import Any

from gevent.socket import wait_read, wait_write

ATOMIC = 4096
"""Bytes that a pipe which can be written to takes without blocking (PIPE_BUF of Linux, pipe(7))."""

LONGEST_PAUSE = 0.02
"""Seconds between two tries to get a lock that another process has: a semaphore tells nobody."""


def patch() -> None:
    """Have pipes and locks between processes wait in a way that lets fibers run."""
    connection: Any = Connection
    connection._recv = partialmethod(connection._recv, read=_read)
    connection._send = partialmethod(connection._send, write=_write)
    lock: Any = SemLock
    lock._make_methods = _make_methods
    lock.__enter__ = _acquire


def _read(descriptor: int, size: int) -> bytes:
    wait_read(descriptor)
    return os.read(descriptor, size)


def _write(descriptor: int, data: Any) -> int:
    wait_write(descriptor)
    return os.write(descriptor, data[:ATOMIC])


def _make_methods(lock: Any) -> None:
    lock.acquire = partial(_acquire, lock)
    lock.release = lock._semlock.release


def _acquire(lock: Any, block: bool = True, timeout: float | None = None) -> bool:
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.0005
    while not lock._semlock.acquire(False):
        if not block or (deadline is not None and time.monotonic() >= deadline):
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return True
