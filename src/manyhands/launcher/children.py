"""On fibers, has a wait for a child of the process let other fibers run; the kernel keeps the statuses.

gevent's own `subprocess` has libev wait for every child of the process (`waitpid(-1)`), and drop the status
of one that gevent did not start, such as one that `multiprocessing` spawns. So `subprocess` is the standard
library's. The calls by which it and others wait for a child wait for its pidfd (`pidfd_open(2)`, Linux 5.3),
or look again and again.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import gevent.os
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.socket import wait_read
from greenlet import getcurrent

LONGEST_PAUSE = 0.02
"""Seconds between two looks for a child's end where no descriptor tells of it."""

_waitpid, _close = monkey.get_original("os", "waitpid"), monkey.get_original("os", "close")
_wait3, _wait4, _waitid = os.wait3, os.wait4, os.waitid


def leave_statuses_alone() -> None:
    """Have calls that wait for children let fibers run, and children be started as ever.

    After `monkey.patch_all(signal=False, subprocess=False)`: with `signal`, a handler of SIGCHLD would run
    for gevent's children alone.
    """
    # What this imports finds everything patched.
    from manyhands.runtime.unpatched import put_in_place  # noqa: PLC0415

    patched: Any = os
    patched.fork, patched.forkpty = gevent.os.fork_gevent, gevent.os.forkpty_gevent
    for name in ("posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            setattr(patched, name, monkey.get_original("os", name))
    for name, ours in (
        ("waitpid", _patient_waitpid),
        ("wait", _patient_wait),
        ("wait3", _patient_wait3),
        ("wait4", _patient_wait4),
        ("waitid", _patient_waitid),
    ):
        put_in_place(os, name, ours)


def _patient_waitpid(pid: int, options: int, /) -> Any:
    return _wait(pid, options, partial(_waitpid, pid))


def _patient_wait() -> Any:
    return _patient_waitpid(-1, 0)


def _patient_wait3(options: int) -> Any:
    return _wait(-1, options, _wait3)


def _patient_wait4(pid: int, options: int) -> Any:
    return _wait(pid, options, partial(_wait4, pid))


def _patient_waitid(idtype: int, id: int, options: int, /) -> Any:  # noqa: A002 - as in `os`
    return _wait(id if idtype == os.P_PID else -1, options, partial(_waitid, idtype, id))


def _wait(pid: int, options: int, take: Callable[[int], Any]) -> Any:
    """Wait until there is a status to take, and take it. What `take` raises is raised."""
    hub = get_hub_if_exists()
    # A thread of its own has no other fibers, and the hub itself, which runs signal handlers, cannot wait.
    if options & os.WNOHANG or hub is None or getcurrent() is hub:
        return take(options)
    pause = 0.0005
    while not ((found := take(options | os.WNOHANG)) and found[0]):
        # A pidfd does not tell that a child has been stopped, or goes on.
        if pid <= 0 or options & (os.WUNTRACED | os.WCONTINUED) or not _wait_for_end(pid):
            gevent.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
    return found


def _wait_for_end(pid: int) -> bool:
    """Wait until a child has ended; return False when the system cannot tell."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return False
    try:
        wait_read(descriptor)
    finally:
        _close(descriptor)
    return True
