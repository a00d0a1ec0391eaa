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
from typing import Any, NoReturn

from manyhands.engines.engine import Engine, Task
from manyhands.model import events
from manyhands.runtime import fork_hooks
from manyhands.runtime.error_reports import warn
from manyhands.runtime.unpatched import brief_rlock, original

LOOK_AGAIN = 0.02
"""Seconds between two looks at the children where no pidfd tells when one ends."""

LONGEST_SLEEP = 0.5
"""Seconds between two looks at the children where pidfds do: another thread may take the news of the last."""


class ChildWatch:
    """Tells which children have ended: by pidfd where the system has it."""

    def __init__(self) -> None:
        self._pidfds: dict[int, int] = {}
        self._epoll: select.epoll | None = None
        if hasattr(os, "pidfd_open"):
            self._epoll = original(select, "epoll")()

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
            original(os, "close")(pidfd)
        else:
            self._pidfds[pid] = pidfd

    def discard(self, pid: int) -> None:
        """Watch `pid` no longer."""
        pidfd = self._pidfds.pop(pid, None)
        if pidfd is not None and self._epoll is not None:
            # Closing would not do: a process forked meanwhile may hold a copy, and epoll(7) reports a
            # descriptor until the last copy is closed.
            self._epoll.unregister(pidfd)
            original(os, "close")(pidfd)

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
            # Not epoll's own poll: in a program under `gevent.monkey` that would hold up all fibers.
            poll = select.poll()
            poll.register(self._epoll, select.POLLIN)
            poll.poll(1000 * (LONGEST_SLEEP if timeout is None else min(timeout, LONGEST_SLEEP)))

    def __del__(self) -> None:
        # A server that does not wait for its children is forgotten before they end.
        self.close()

    def close(self) -> None:
        """Give back the descriptors, in a forked child too: whatever is shared is left as it is."""
        for pidfd in self._pidfds.values():
            original(os, "close")(pidfd)
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
        self.forget()

    def forget(self) -> None:
        """Begin anew: the original's children are none of this process's."""
        # Reentrant, for signal handlers: one of SIGCHLD that collects children is not unusual.
        self._lock = brief_rlock()
        self._waiting = 0
        self._carried: Task | None = None
        """In a handler's process, what it serves."""

        self.pids.clear()
        self._tasks.clear()
        self._give_up_watch()

    def start(self, task: Task) -> None:
        """Serve `task` in a forked child."""
        self.reap()
        self._warn_of_threads()
        while not self._started(task):
            self._wait(None)
        task.hand_over()

    def _started(self, task: Task) -> bool:
        """Fork a child for `task`, unless the engine is full."""
        with self._lock:
            if not self.has_room():
                return False
            if self._watch is None:
                self._watch = ChildWatch()
            # What is buffered now would be written twice, by the child too.
            _flush_standard_streams()
            # What a signal does in the child is only said in the child; nor may one come before the books.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            try:
                self._fork(task, self._watch, mask)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return True

    def _fork(self, task: Task, watch: ChildWatch, mask: set[Any]) -> None:
        here = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._serve_in_child(task, here, mask)
        self.pids.add(pid)
        self._tasks[pid] = task
        watch.add(pid)

    def _serve_in_child(self, task: Task, parent: int, mask: set[Any]) -> NoReturn:
        status = 1
        try:
            fork_hooks.set_parent_server(parent)
            self._carried = task
            self.on_child()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = task.worker_status(well=task.process_request_thread())
        finally:
            _flush_standard_streams()
            # Not sys.exit: the parent's stack, its cleanups and its exit functions are not ours to run.
            os._exit(status)

    def _warn_of_threads(self) -> None:
        threads = threading.active_count()
        if threads > 1 and not self._warned:
            self._warned = True
            events.hub.emit(events.ForkedWithThreads(threads))
            warn(
                f"forking a server process while {threads} threads are alive: a lock that another thread "
                "holds now stays locked in the child for ever",
                stacklevel=2,
            )

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way in children."""
        with self._lock:
            return list(self._tasks.values())

    def processes(self) -> dict[Task, int]:
        """Return the process id of each task's child."""
        with self._lock:
            return {task: pid for pid, task in self._tasks.items()}

    def running(self) -> int:
        """Return how many children are under way."""
        return len(self.pids)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a child has ended."""
        watch = self._watch
        return -1 if watch is None else watch.fileno()

    def reap(self) -> None:
        """Take the exit status of our own children that have ended."""
        with self._lock:
            if self._watch is None:
                return
            was_full = not self.has_room()
            for pid in self._watch.candidates(self.pids):
                self._look_after(pid, self._watch)
            has_room_again = was_full and self.has_room()
        if has_room_again:
            self.on_room()

    def _look_after(self, pid: int, watch: ChildWatch) -> None:
        # A signal handler may have reaped it meanwhile; then the id may be somebody else's already.
        status = _status(pid) if pid in self.pids else None
        if status is not None:
            watch.discard(pid)
            self.pids.discard(pid)
            task = self._tasks.pop(pid, None)
            if task is not None:
                task.worker_ended(status)

    def _wait(self, timeout: float | None) -> None:
        """Sleep until a child may have ended, at most `timeout` seconds; then reap."""
        with self._lock:
            watch = self._watch
            self._waiting += 1
        try:
            if watch is not None:
                watch.wait(timeout)
        finally:
            with self._lock:
                self._waiting -= 1
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
        with self._lock:
            # Whoever else waits on it still has it.
            if not self.pids and not self._waiting:
                self._give_up_watch()
        return True

    def _give_up_watch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def ask_to_end(self, task: Task) -> None:
        """Shut the connection down, which the child has too."""
        task.cut_off()

    def abandon(self, task: Task) -> None:
        """Kill the child that carries `task`; be it the caller."""
        if task is self._carried:
            os._exit(task.worker_status(well=False))
        self.end(task)

    def end(self, task: Task) -> None:
        """Kill the child that carries `task`, and shut down what this process still has of its connection."""
        with self._lock:
            for pid, carried in self._tasks.items():
                if carried is task:
                    # Not reaped yet, so the id cannot belong to anybody else.
                    os.kill(pid, signal.SIGKILL)
        task.cut_off()


def _status(pid: int) -> int | None:
    """Return the exit status of a child that has ended, of a signal's its negative; None while it has not."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0  # somebody else took it
    return os.waitstatus_to_exitcode(status) if ended else None


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            # None (a daemon), closed, or a broken pipe: nothing to flush to.
            continue
