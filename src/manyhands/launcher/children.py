"""On fibers, has the exit status of each child go to what waits for that child, as the kernel has it.

libev waits for every child of the process (`waitpid(-1)`), and drops the status of one that gevent did not
start, such as a process that `multiprocessing` spawns. So libev is kept from it: gevent watches its own
children through pidfds (`pidfd_open(2)`, Linux 5.3), and a wait for a child lets other fibers run until there
is a status to take. Where there are no pidfds the looks are repeated.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import gevent
import gevent.os
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.socket import wait_read
from greenlet import getcurrent

LONGEST_PAUSE = 0.02
"""Seconds between two looks for a child's end where no descriptor tells of it."""

_waitpid, _close = monkey.get_original("os", "waitpid"), monkey.get_original("os", "close")

_READ = 1  # libev's EV_READ


class ChildWatch:
    """Watches one child for gevent, in the place of libev's watcher, and takes the status of no other one."""

    def __init__(self, loop: Any, pid: int, ref: bool) -> None:
        self.loop = loop
        self.pid = pid
        self.rpid = self.rstatus = 0
        self._ref = ref
        self._watcher: Any = None
        self._descriptor = -1

    @property
    def active(self) -> bool:
        """Whether it watches."""
        return self._watcher is not None

    def start(self, callback: Callable[..., object], *arguments: object) -> None:
        """Have `callback` called, in the hub, once the child has ended."""
        try:
            self._descriptor = os.pidfd_open(self.pid)
            self._watcher = self.loop.io(self._descriptor, _READ, self._ref)
        except (AttributeError, OSError):
            # There are no pidfds, or no descriptor is left; or the program has taken the status by now.
            self._watcher = self.loop.timer(LONGEST_PAUSE, LONGEST_PAUSE, self._ref)
        self._watcher.start(self._look, callback, *arguments)

    def _look(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self.rpid, self.rstatus = _waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            self.rpid, self.rstatus = self.pid, 0  # taken by the program; as `subprocess` has it
        if self.rpid:
            self.stop()
            callback(*arguments)

    def stop(self) -> None:
        """Watch no longer. Once more does no harm."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            _close(descriptor)

    close = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def _make_loop_class(base: Any) -> Any:
    class Loop(base):  # type: ignore[misc]  # gevent's
        """gevent's loop, which leaves alone what ends but is not its own."""

        def install_sigchld(self) -> None:
            """Do nothing: `ChildWatch` needs no signal, and the program may have a handler of its own."""

        reset_sigchld = install_sigchld

        def child(self, pid: int, trace: int = 0, ref: bool = True) -> Any:
            """Return what watches a child."""
            return ChildWatch(self, pid, ref) if pid > 0 else super().child(pid, trace, ref)

    return Loop


def watch_by_descriptors() -> None:
    """Have gevent watch children by their descriptors. Before any hub is made."""
    gevent.config.loop = _make_loop_class(gevent.config.loop)


def leave_statuses_alone() -> None:
    """Have calls that wait for children let fibers run, and children be started as ever.

    After `monkey.patch_all(signal=False)`: with the signal, a handler of SIGCHLD would run for children of
    gevent's alone.
    """
    patched: Any = os
    patched.fork, patched.forkpty = gevent.os.fork_gevent, gevent.os.forkpty_gevent
    for name in ("posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            setattr(patched, name, monkey.get_original("os", name))
    wait3, wait4, waitid = os.wait3, os.wait4, os.waitid
    patched.waitpid = _wait_for_pid
    patched.wait = lambda: _wait_for_pid(-1, 0)
    patched.wait3 = lambda options: _wait(-1, options, wait3)
    patched.wait4 = lambda pid, options: _wait(pid, options, partial(wait4, pid))
    patched.waitid = lambda kind, which, options, /: _wait(
        which if kind == os.P_PID else -1, options, partial(waitid, kind, which)
    )


def _wait_for_pid(pid: int, options: int, /) -> tuple[int, int]:
    """Wait for a child, as `os.waitpid` does."""
    try:
        status: tuple[int, int] = _wait(pid, options, partial(_waitpid, pid))
    except ChildProcessError:
        # A `Popen` has taken it for its own use, unasked; gevent keeps it for a minute.
        watched: dict[int, Any] = vars(gevent.os)["_watched_children"]
        kept = watched.get(pid)
        if isinstance(kept, tuple):
            del watched[pid]
            return kept[0], kept[1]
        raise
    return status


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
