"""The thread engine: a fresh thread for each conversation.

Its books cost the same however many threads are alive. A thread that ends says so itself; nobody looks
through the living for the dead. (The standard library does, on every accept: with 4,000 idle clients a
connect-echo-close took 16 times as long as with none.)
"""

import threading
from collections import deque
from collections.abc import Iterator

from .engine import Engine, Task


class ConnectionThread(threading.Thread):
    """The thread of one conversation: fresh, and named as `threading` names them, so uniquely."""

    def __init__(self, engine: "ThreadsEngine", task: Task) -> None:
        super().__init__(target=task.process_request_thread, daemon=engine.daemon)
        self._engine = engine
        self._task = task

    def run(self) -> None:
        """Serve the connection, then report to the engine, whatever came of it."""
        try:
            super().run()
        finally:
            self._engine.ended(self, self._task)


class Threads:
    """The threads that `server_close` has to wait for: those that are not daemons.

    Stands where the standard library keeps its `_Threads` list: `append`, `reap`, `pop_all`, `join`, `len`
    and iteration work as they do there, on any threads. Thread-safe.
    """

    def __init__(self) -> None:
        self._living: set[threading.Thread] = set()
        self._ended: deque[threading.Thread] = deque()

    def append(self, thread: threading.Thread) -> None:
        """Keep `thread` until it has ended, unless it is a daemon."""
        self.reap()
        if not thread.daemon:
            self._living.add(thread)
            if not isinstance(thread, ConnectionThread):
                # It will not tell us when it ends, so it has to be asked.
                self._ended.append(thread)

    def remove(self, thread: threading.Thread) -> None:
        """Forget `thread`, which never started."""
        self._living.discard(thread)

    def ended(self, thread: threading.Thread) -> None:
        """Note that `thread`, the caller, is about to end."""
        self._ended.append(thread)

    def reap(self) -> None:
        """Forget threads that have ended.

        Looks at no more than two more than came in since: a thread that said goodbye may still be busy with
        its thread-locals' destructors, and is asked again later.
        """
        for _ in range(min(len(self._ended), len(self._living), 2)):
            thread = self._ended.popleft()
            if thread.is_alive():
                self._ended.append(thread)
            else:
                self._living.discard(thread)

    def pop_all(self) -> list[threading.Thread]:
        """Forget all threads and return them."""
        threads = list(self._living)
        self._living.clear()
        self._ended.clear()
        return threads

    def join(self) -> None:
        """Wait until all threads have ended, and forget them."""
        for thread in self.pop_all():
            thread.join()

    def __len__(self) -> int:
        return len(self._living)

    def __iter__(self) -> Iterator[threading.Thread]:
        return iter(self._living.copy())


class ThreadsEngine(Engine):
    """Gives each connection a thread of its own."""

    name = "threads"

    def __init__(self, threads: Threads | None = None) -> None:
        super().__init__()
        self.daemon = False
        """Whether new threads are daemons: killed, not waited for, when the interpreter exits."""

        self.threads = threads
        """Where threads are kept that somebody will wait for; None: nobody will."""

        self._tasks: set[Task] = set()
        self._changed = threading.Condition()

    def start(self, task: Task) -> None:
        """Serve `task` in a new thread."""
        with self._changed:
            self._changed.wait_for(self.has_room)
            self._tasks.add(task)
        thread = ConnectionThread(self, task)
        try:
            if self.threads is not None:
                self.threads.append(thread)
            thread.start()
        except BaseException:
            if self.threads is not None:
                self.threads.remove(thread)
            self._discard(task)
            raise

    def ended(self, thread: ConnectionThread, task: Task) -> None:
        """Note that `thread`, the caller, has served `task` and is about to end."""
        if self.threads is not None:
            self.threads.ended(thread)
        self._discard(task)

    def _discard(self, task: Task) -> None:
        with self._changed:
            was_full = not self.has_room()
            self._tasks.discard(task)
            self._changed.notify_all()
        if was_full:
            self.on_room()

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way."""
        with self._changed:
            return list(self._tasks)

    def running(self) -> int:
        """Return how many connections are being served."""
        return len(self._tasks)

    def reap(self) -> None:
        """Forget threads that have ended."""
        if self.threads is not None:
            self.threads.reap()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no connection is being served."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._tasks, timeout)
