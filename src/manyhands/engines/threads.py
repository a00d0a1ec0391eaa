"""The thread engine: a fresh thread for each connection, which costs the same among thousands.

A thread that ends says so itself, and the engine never looks through the living threads for ended ones. (The
standard library does, on every accept; docs/benchmarks.md has the figures.)
"""

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from manyhands.engines.engine import Engine, Task
from manyhands.runtime import compiled
from manyhands.runtime.caller import is_threading_patched
from manyhands.runtime.locks import Latch
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import brief_rlock

_ARE_FIBERS = is_threading_patched()
"""Whether gevent has put fibers in the place of threads, which begin and end in ways of their own."""

# Since Python 3.13 the interpreter knows of a thread from the start, so that its exit waits for one that
# has not begun. Before, a thread has to be waited for until it has begun.
_STARTS_WITHOUT_WAIT = sys.version_info >= (3, 13) and not _ARE_FIBERS

if TYPE_CHECKING or sys.version_info >= (3, 13) or _ARE_FIBERS:
    _Thread = threading.Thread
else:

    class _Thread(threading.Thread):
        """A thread whose start and end do not look through all the others.

        `threading` keeps the locks that the interpreter's exit has to wait for. Until Python 3.12 it
        looks through all of them at each start and each end of a thread, for locks to forget, which
        with 4,000 threads costs more than serving the connection. Here each thread forgets its own.
        """

        def _set_tstate_lock(self) -> None:
            self._tstate_lock = threading._set_sentinel()
            self._tstate_lock.acquire()
            if not self.daemon:
                with threading._shutdown_locks_lock:
                    threading._shutdown_locks.add(self._tstate_lock)

        def _stop(self) -> None:
            lock, self._is_stopped, self._tstate_lock = self._tstate_lock, True, None
            if not self.daemon:
                with threading._shutdown_locks_lock:
                    threading._shutdown_locks.discard(lock)


class _Beginning(Latch):
    """Whether a thread has begun, in the place of the `Event` that `threading` keeps for it.

    `Thread.start` waits for that event, which costs two switches of threads for each connection. Here `wait`
    does not wait; what needs a thread that has begun calls `wait_until_set`. `threading` is told that it has
    begun once it is certain to: a program may join each thread that it finds, and ask whether it is alive.
    """

    # Has no value until the thread is certain to begin: no constructor, for each connection would pay for it.
    __slots__ = ("_is_certain",)

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as `Event` has it
        """Do not wait. `Thread.start` calls this once the system has made the thread."""
        self._is_certain = True
        return True

    def is_set(self) -> bool:
        """Tell whether the thread has begun, or is certain to."""
        return hasattr(self, "_is_certain") or super().is_set()

    def wait_until_set(self) -> bool:
        """Wait until the thread has begun; return False when it was not started, or could not be."""
        return hasattr(self, "_is_certain") and super().wait()

    def _at_fork_reinit(self) -> None:
        """Do nothing in a copy of the process: the thread that forked has begun there too."""


class ConnectionThread(_Thread):
    """The thread of one connection: fresh, and named as `threading` names them, so uniquely.

    Parameters
    ----------
    task
        What to serve.
    ended
        Called at the end with the task and the thread, in the thread itself.
    daemon
        Whether the interpreter's exit kills the thread instead of waiting for it.
    """

    _started: Any

    def __init__(
        self,
        task: Task,
        ended: Callable[[Task, "ConnectionThread"], None],
        *,
        daemon: bool,
    ) -> None:
        super().__init__(target=task.process_request_thread, daemon=daemon)
        if _STARTS_WITHOUT_WAIT:
            self._started = _Beginning()
        self.task = task
        """What the thread serves; gone when it has done so."""

        self._ended = ended

    def has_begun(self) -> bool:
        """Wait until the thread has begun; return False when it was not started, or could not be.

        Before the start it can neither be waited for, nor is it known to be alive.
        """
        beginning: threading.Event | _Beginning = self._started
        return (
            beginning.wait_until_set() if isinstance(beginning, _Beginning) else beginning.is_set()
        )

    def has_ended(self) -> bool:
        """Tell whether the thread has begun, and has come to its end."""
        return self._started.is_set() and not self.is_alive()

    def run(self) -> None:
        """Serve the connection, then say so, whatever came of it."""
        try:
            super().run()
        finally:
            # The thread object may outlive the connection's end; the connection must not.
            task = self.task
            del self.task
            self._ended(task, self)


class Threads:
    """The threads that `server_close` has to wait for: those that are not daemons.

    Stands where the standard library keeps its `_Threads` list: `append`, `reap`, `pop_all`, `join`, `len`
    and iteration work as they do there, on any threads. Thread-safe.
    """

    def __init__(self) -> None:
        self._kept: set[threading.Thread] = set()

    def append(self, thread: threading.Thread) -> None:
        """Keep `thread` until it has ended, unless it is a daemon."""
        # It may be a program's own thread, which does not say when it ends.
        self.reap()
        if not thread.daemon:
            self.keep(thread)

    def keep(self, thread: threading.Thread) -> None:
        """Keep `thread` until it is discarded."""
        self._kept.add(thread)

    def discard(self, thread: threading.Thread) -> None:
        """Keep `thread` no longer."""
        self._kept.discard(thread)

    def reap(self) -> None:
        """Forget all threads that have ended. Looks at every thread; the engine has a cheaper way."""
        for thread in self:
            # One of the engine's that is not started yet is not alive either.
            if not thread.is_alive() and (
                not isinstance(thread, ConnectionThread) or thread.has_ended()
            ):
                self.discard(thread)

    def pop_all(self) -> list[threading.Thread]:
        """Forget all threads and return them."""
        threads = []
        with contextlib.suppress(KeyError):
            while True:
                # One by one: another thread may keep one more meanwhile.
                threads.append(self._kept.pop())
        return threads

    def join(self) -> None:
        """Wait until all threads have ended, but for the caller's own, and forget them."""
        here = threading.current_thread()
        for thread in self.pop_all():
            # Of a handler that closes its server, which the standard library answers with a RuntimeError.
            is_own = thread is here
            # The engine keeps a thread before it starts it, lest it end before it is kept.
            if not is_own and (not isinstance(thread, ConnectionThread) or thread.has_begun()):
                thread.join()

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[threading.Thread]:
        return iter(self._kept.copy())


class ThreadsEngine(Engine):
    """Gives each connection a thread of its own."""

    name = "threads"
    at_once = 16

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads()
        """The threads that the end of the server waits for; a server may have its own."""

        compiled.keep_frame_memory()
        self.forget()

    def forget(self) -> None:
        """Begin anew: the copy has no thread but the one that forked."""
        self.threads.pop_all()
        self._tasks: set[Task] = set()
        self._latest: ConnectionThread | None = None
        # Reentrant, for signal handlers.
        self._lock = brief_rlock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._ending: deque[ConnectionThread] = deque()

    def start(self, task: Task) -> None:
        """Serve `task` in a new thread."""
        if self._ending:
            self.reap()
        daemon = self.daemon
        thread = ConnectionThread(task, self._note_end, daemon=daemon)
        with self._lock:
            if self.limit is not None and not self.has_room():
                self._wait_for(self.has_room, None)
            self._tasks.add(task)
        try:
            # Kept before it starts, lest it end before it is kept.
            if not daemon:
                self.threads.keep(thread)
            # Last, for nothing runs as early as the new thread while this one is at work.
            thread.start()
            self._latest = thread
        except BaseException:
            self.threads.discard(thread)
            self._note_end(task)
            raise

    def let_begin(self) -> None:
        """Wait until the latest thread has begun."""
        latest, self._latest = self._latest, None
        if latest is not None:
            latest.has_begun()

    def _wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        self._waiting += 1
        try:
            return self._changed.wait_for(condition, timeout)
        finally:
            self._waiting -= 1

    def _note_end(self, task: Task, thread: ConnectionThread | None = None) -> None:
        """Count a task no longer; `thread`, which has served it, is about to end."""
        if thread is not None:
            self._ending.append(thread)
        with self._lock:
            was_full = self.limit is not None and not self.has_room()
            self._tasks.discard(task)
            if self._waiting:
                self._changed.notify_all()
        if was_full:
            self.on_room()

    def abandon(self, task: Task) -> None:
        """Count a task no longer; its thread ends when it will."""
        self._note_end(task)

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way."""
        with self._lock:
            return list(self._tasks)

    def frames(self, tasks: Collection[Task]) -> dict[Task, FrameType]:
        """Return the frame on top of each task's thread."""
        now, wanted = current_frames(sys._current_frames), {*tasks} & {*self.tasks}
        threads = (each for each in threading.enumerate() if isinstance(each, ConnectionThread))
        # `task` is gone from a thread that is about to end.
        locations = ((vars(thread).get("task"), now.get(thread.ident or 0)) for thread in threads)
        return {task: frame for task, frame in locations if frame is not None and task in wanted}

    def running(self) -> int:
        """Return how many connections are being served."""
        return len(self._tasks)

    def has_room(self) -> bool:
        """Tell whether `start` would begin at once."""
        # Asked several times for each connection: as `Engine` has it, but without the call of `running`.
        return self.limit is None or len(self._tasks) < self.limit

    def reap(self) -> None:
        """Forget threads that have ended.

        Each is looked at once: at the first that has announced its end and is still alive, busy perhaps
        with its thread-locals' destructors, the rest is left for the next time.
        """
        for _ in range(len(self._ending)):
            try:
                thread = self._ending.popleft()
            except IndexError:
                return  # another thread has taken the rest
            if thread.is_alive():
                self._ending.append(thread)
                return
            self.threads.discard(thread)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no connection is being served, but for the one that the caller serves."""
        here = threading.current_thread()
        own = {here.task} if isinstance(here, ConnectionThread) else set()
        with self._lock:
            return self._wait_for(lambda: self._tasks <= own, timeout)

    def join_workers(self) -> None:
        """Wait until those threads have ended that are no daemons; the caller's own aside."""
        self.threads.join()
