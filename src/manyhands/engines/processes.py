"""The process engine: a forked process for each connection.

The engine knows its own children only. It never calls `waitpid` for another process, so the exit status of a
program's other children is left to the program. Each child is watched through a pidfd (`pidfd_open(2)`,
Linux 5.3), all of them through one epoll descriptor that the accept loop can wait on, so a child is reaped
when it ends. On other systems the accept loop's regular `reap` finds it.
"""

import os
import select
import signal
import sys
import threading
import time
from typing import Any, NoReturn

from manyhands.engines.engine import Engine, Task
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime import fork_hooks
from manyhands.runtime.error_reports import warn
from manyhands.runtime.unpatched import brief_rlock, native_thread_id, original

CHILD_POLL_INTERVAL = 0.02
"""Seconds between two looks at the children where no pidfd tells when one ends."""

LONGEST_CHILD_WAIT = 0.5
"""Seconds between two looks at the children where pidfds tell: another thread may reap the last one first,
and then no descriptor becomes readable."""


class ChildWatcher:
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
        """Watch the child `pid`; without a free descriptor it is left to the regular looks."""
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
            # Closing alone would not do: a process forked meanwhile may hold a copy, and epoll reports a
            # descriptor until its last copy is closed (epoll(7)).
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
            time.sleep(
                CHILD_POLL_INTERVAL if timeout is None else min(timeout, CHILD_POLL_INTERVAL)
            )
        else:
            # Not epoll's own poll: in a program under `gevent.monkey` that would hold up all fibers.
            poll = select.poll()
            poll.register(self._epoll, select.POLLIN)
            poll.poll(
                1000 * (LONGEST_CHILD_WAIT if timeout is None else min(timeout, LONGEST_CHILD_WAIT))
            )

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
        self._watcher: ChildWatcher | None = None
        self._warned = False
        self.forget()

    def forget(self) -> None:
        """Begin anew: the children are the original's."""
        # Reentrant, for signal handlers: one of SIGCHLD that collects children is not unusual.
        self._lock = brief_rlock()
        self._waiting = 0
        self._ending: dict[Task, int] = {}
        """The tasks that are just told of their child's end, and the threads that tell them."""

        self._carried: Task | None = None
        """In a handler's process, what it serves."""

        # In place: the drop-in's `active_children` is this very set.
        self.pids.clear()
        self._tasks.clear()
        self._close_watcher()

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
            if self._watcher is None:
                self._watcher = ChildWatcher()
            # The child would write too what is buffered now.
            _flush_standard_streams()
            # The child sets what these signals do to it. And in this process a handler of one may look at the
            # children, which must be complete then.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
            try:
                self._fork(task, self._watcher, mask)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return True

    def _fork(self, task: Task, watcher: ChildWatcher, mask: set[Any]) -> None:
        here = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._serve_in_child(task, here, mask)
        self.pids.add(pid)
        self._tasks[pid] = task
        watcher.add(pid)

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
            # Not sys.exit: it would run the cleanups and the exit functions of the parent.
            os._exit(status)

    def _warn_of_threads(self) -> None:
        threads = threading.active_count()
        if threads > 1 and not self._warned:
            self._warned = True
            if event_hub.has_subscribers:
                event_hub.emit(events.ForkedWithThreads(threads))
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
        watcher = self._watcher
        return -1 if watcher is None else watcher.fileno()

    def reap(self) -> None:
        """Take the exit status of our own children that have ended."""
        with self._lock:
            if self._watcher is None:
                return
            was_full = not self.has_room()
            candidates = self._watcher.candidates(self.pids)
        for pid in candidates:
            self._reap_child(pid)
        if was_full and self.has_room():
            self.on_room()

    def _reap_child(self, pid: int) -> None:
        with self._lock:
            # Another thread, or a signal handler, may have reaped it meanwhile; then another process may have
            # its id already.
            status = _status(pid) if pid in self.pids else None
            if status is None:
                return
            if self._watcher is not None:
                self._watcher.discard(pid)
            task = self._tasks.pop(pid, None)
            if task is not None:
                # First among these, then out of those: `join` looks without the lock, and must not miss it.
                self._ending[task] = native_thread_id()
            self.pids.discard(pid)
        if task is None:
            return
        try:
            # Without the lock: a subscriber is told of it, and may wait for a thread that needs the lock.
            task.worker_ended(status)
        finally:
            self._ending.pop(task, None)  # a copy of the process has forgotten it

    def _wait(self, timeout: float | None) -> None:
        """Sleep until a child may have ended, at most `timeout` seconds; then reap."""
        with self._lock:
            watcher = self._watcher
            self._waiting += 1
        try:
            if watcher is not None:
                watcher.wait(timeout)
        finally:
            with self._lock:
                self._waiting -= 1
        self.reap()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no child is under way."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.reap()
        while self.pids or self._is_ending_elsewhere():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait(left)
        with self._lock:
            # Other threads that wait with it still need it.
            if not (self.pids or self._waiting or self._ending):
                self._close_watcher()
        return True

    def _is_ending_elsewhere(self) -> bool:
        """Tell whether another thread tells a task of its end: a subscriber does not wait for itself."""
        return bool(set(self._ending.copy().values()) - {native_thread_id()})

    def _close_watcher(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

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
                    # Not reaped yet, so no other process can have its id.
                    os.kill(pid, signal.SIGKILL)
        task.cut_off()


def _status(pid: int) -> int | None:
    """Return the exit status of a child that has ended, the negative number of a signal; None before."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return (
            0  # the program has taken it: it waits for every child, or ignores SIGCHLD (waitpid(2))
        )
    return os.waitstatus_to_exitcode(status) if ended else None


def _flush_standard_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            # None (a daemon), closed, or a broken pipe: nothing to flush to.
            continue
