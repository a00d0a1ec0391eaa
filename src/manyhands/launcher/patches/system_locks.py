"""Locks of files that one fiber holds across a wait, and another one wants: flock(2), fcntl(2) and lockf(3).

The kernel would stop the thread until the lock is free, and with it the fiber that is to release it.
"""

import fcntl
import os
from collections.abc import Callable
from typing import Any

from manyhands.launcher.patches.waiting import is_fiber
from manyhands.runtime.locks import is_file_lock_taken, try_until
from manyhands.runtime.unpatched import put_in_place

_flock, _lockf, _fcntl, _os_lockf = fcntl.flock, fcntl.lockf, fcntl.fcntl, os.lockf

_NO_WAIT: dict[int, int] = {fcntl.F_SETLKW: fcntl.F_SETLK, fcntl.F_OFD_SETLKW: fcntl.F_OFD_SETLK}
"""For each command that waits for a lock, the one that does not (fcntl(2))."""


def _patiently(take: Callable[[], Any]) -> Any:
    """Take a lock by a call that does not wait for it, as soon as that succeeds."""
    taken: list[Any] = []
    try_until(lambda: is_file_lock_taken(lambda: taken.append(take())))
    return taken[0]


def _patient_flock(fd: Any, operation: int, /) -> Any:
    if not is_fiber() or operation & (fcntl.LOCK_NB | fcntl.LOCK_UN):
        return _flock(fd, operation)
    return _patiently(lambda: _flock(fd, operation | fcntl.LOCK_NB))


def _patient_lockf(fd: Any, cmd: int, *span: int) -> Any:
    if not is_fiber() or cmd & (fcntl.LOCK_NB | fcntl.LOCK_UN):
        return _lockf(fd, cmd, *span)
    return _patiently(lambda: _lockf(fd, cmd | fcntl.LOCK_NB, *span))


def _patient_fcntl(fd: Any, cmd: int, arg: Any = 0, /) -> Any:
    if cmd not in _NO_WAIT or not is_fiber():
        return _fcntl(fd, cmd, arg)
    return _patiently(lambda: _fcntl(fd, _NO_WAIT[cmd], arg))


def _patient_os_lockf(fd: int, command: int, length: int, /) -> Any:
    if command != os.F_LOCK or not is_fiber():
        return _os_lockf(fd, command, length)
    return _patiently(lambda: _os_lockf(fd, os.F_TLOCK, length))


def patch_system_locks() -> None:
    """Have waits for locks of files let other fibers run."""
    put_in_place(fcntl, "flock", _patient_flock)
    put_in_place(fcntl, "lockf", _patient_lockf)
    put_in_place(fcntl, "fcntl", _patient_fcntl)
    put_in_place(os, "lockf", _patient_os_lockf)
