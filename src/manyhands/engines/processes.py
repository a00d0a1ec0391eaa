"""The process engine: a forked process for each conversation.

The books hold our own children only. `waitpid` is never called for a process that we did not start, so a
program's other children keep their exit status for whoever started them. Each child is watched through a
pidfd (`pidfd_open(2)`, Linux 5.3), all of them through one epoll descriptor that the accept loop can wait
on, so a child is reaped when it ends, not at the next tick. Elsewhere the tick finds it.
"""

import os
import select
import signal
import sys
import threading
import time
import warnings
from typing import NoReturn

from manyhands.rules import events

from .engine import Engine, Task

LOOK_AGAIN = 0.02
"""Seconds between two looks at the children where no pidfd tells when one ends."""


class ChildWatch:
    """Tells which children have ended: by pidfd where the system has it."""

    def __init__(self) -> None:
        self._pidfds: dict[int, int] = {}
        self._epoll: select.epoll | None = select.epoll() if hasattr(os, "pidfd_open") else None

    def fileno(self) -> int:
        """Return a descriptor that is readable when a watched child has ended, or -1."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def add(self, pid: int) -> None:
        """Watch the child `pid`; without a free descriptor it is left to the tick."""
        if self._epoll is None:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return
        try:
            self._epoll.register(pidfd, select.EPOLLIN)
        except OSError:
            os.close(pidfd)
        else:
            self._pidfds[pid] = pidfd

    def discard(self, pid: int) -> None:
        """Watch `pid` no longer."""
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None and self._epoll is not None:
            # Closing would not do: a process forked meanwhile may hold a copy, and epoll(7) reports a
            # descriptor until the last copy is closed.
            self._epoll.unregister(pidfd)
            os.close(pidfd)

    def candidates(self, pids: set[int]) -> list[int]:
        """Return those of `pids` that may have ended: each that a pidfd tells of, or that has none."""
        unwatched = [pid for pid in pids if pid not in self._pidfds]
        if self._epoll is None or not self._pidfds:
            return unwatched
        ready = {pidfd for pidfd, _ in self._epoll.poll(0)}
        return unwatched + [pid for pid, pidfd in self._pidfds.items() if pidfd in ready]

    def wait(self, timeout: float | None) -> None:
        """Sleep until a child may have ended, at most `timeout` seconds."""
        if self._epoll is None or not self._pidfds:
            time.sleep(LOOK_AGAIN if timeout is None else min(timeout, LOOK_AGAIN))
        else:
            self._epoll.poll(timeout)

    def __del__(self) -> None:
        # A server that does not wait for its children is forgotten before they end.
        self.close()

    def close(self) -> None:
        """Give back the descriptors, in a forked child too: whatever is shared is left as it is."""
        for pidfd in self._pidfds.values():
            os.close(pidfd)
        self._pidfds.clear()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None


class ProcessesEngine(Engine):
    """Gives each connection a process of its own."""

    name = "processes"

    def __init__(self) -> None:
        super().__init__()
        self.pids: set[int] = set()
        """The process ids of the children under way."""

        self._tasks: dict[int, Task] = {}
        self._watch: ChildWatch | None = None
        self._warned = False

    def start(self, task: Task) -> None:
        """Serve `task` in a forked child."""
        self.reap()
        while not self.has_room():
            self._wait(None)
        self._warn_of_threads()
        if self._watch is None:
            self._watch = ChildWatch()
        # What is buffered now would be written twice, by the child too.
        _flush_standard_streams()
        pid = os.fork()
        if pid == 0:
            self._serve_in_child(task)
        self.pids.add(pid)
        self._tasks[pid] = task
        self._watch.add(pid)
        task.hand_over()

    def _serve_in_child(self, task: Task) -> NoReturn:
        status = 1
        try:
            self._forget_siblings()
            self.on_child()
            status = 0 if task.process_request_thread() else 1
        finally:
            _flush_standard_streams()
            # Not sys.exit: the parent's stack, its cleanups and its exit functions are not ours to run.
            os._exit(status)

    def _forget_siblings(self) -> None:
        self.pids.clear()
        self._tasks.clear()
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _warn_of_threads(self) -> None:
        threads = threading.active_count()
        if threads > 1 and not self._warned:
            self._warned = True
            events.hub.emit(events.ForkedWithThreads(threads))
            warnings.warn(
                f"forking a server process while {threads} threads are alive: a lock that another thread "
                "holds now stays locked in the child for ever",
                RuntimeWarning,
                stacklevel=2,
            )

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way in children."""
        return list(self._tasks.values())

    def running(self) -> int:
        """Return how many children are under way."""
        return len(self.pids)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a child has ended."""
        return -1 if self._watch is None else self._watch.fileno()

    def reap(self) -> None:
        """Take the exit status of our own children that have ended."""
        if self._watch is None:
            return
        was_full = not self.has_room()
        for pid in self._watch.candidates(self.pids):
            if _has_ended(pid):
                self._watch.discard(pid)
                self.pids.discard(pid)
                self._tasks.pop(pid, None)
        if was_full and self.has_room():
            self.on_room()

    def _wait(self, timeout: float | None) -> None:
        if self._watch is not None:
            self._watch.wait(timeout)
        self.reap()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no child is under way."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.reap()
        while self.pids:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait(left)
        self._close_watch()
        return True

    def _close_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def cut_off(self) -> None:
        """Kill every child."""
        for pid in self.pids:
            # Not reaped yet, so the id cannot belong to anybody else.
            os.kill(pid, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return True  # somebody else took its status
    return ended != 0


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            # None (a daemon), closed, or a broken pipe: nothing to flush to.
            continue
