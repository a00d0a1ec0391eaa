"""Commits in a thread of their own: together what comes in at once; none is waited for without end."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from manyhands.runtime.locks import Condition
from manyhands.runtime.unpatched import brief_lock

SLOW = 3.0
"""Seconds for a commit: another program's lock is not waited for so long, so it is a disk that hangs."""

MOST_WAITING = 16 * 2**20
"""Bytes of text, roughly, that wait for a disk that takes nothing: some 100,000 lines."""


class _Work:
    """A piece of work, and the wait for its commit."""

    __slots__ = ("carry_out", "failure", "is_done", "is_over", "lines", "size")

    def __init__(
        self, carry_out: Callable[[], object], lock: threading.Lock, size: int, lines: int
    ) -> None:
        self.carry_out = carry_out
        self.size = size
        self.lines = lines
        # A condition for each: the end of a commit wakes those whose work was in it, and no others.
        self.is_done = Condition(lock)
        self.is_over = False
        self.failure: Exception | None = None


class CommitQueue:
    """Carries out work in a thread of its own, in the order in which it comes.

    A commit to a disk takes as long for one line as for a hundred. So all work that comes in during a commit
    is committed together in the next one. And a fiber must not wait for a disk.

    Parameters
    ----------
    together : callable
        Makes the context in which work is carried out: a transaction. What it raises, at its end for
        instance, is raised in every caller whose work was done in it.
    patience : callable, optional
        Returns the seconds without work after which that context is made for its own sake; None: never.
    note_stuck : callable, optional
        Called when a commit takes longer than `SLOW`. Then `do` waits for none until that one has ended.
    most_waiting : int
        The size of the work that may wait then.

    Notes
    -----
    Thread-safe, and fibers may wait in it.
    """

    def __init__(
        self,
        together: Callable[[], AbstractContextManager[object]],
        patience: Callable[[], float | None] = lambda: None,
        note_stuck: Callable[[], object] = lambda: None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._together = together
        self._patience = patience
        self._note_stuck = note_stuck
        self._most_waiting = most_waiting
        self._lock = brief_lock()
        self._has_work = Condition(self._lock)
        self._waiting: list[_Work] = []
        self._size = 0
        self._lines_refused = 0
        self._thread: threading.Thread | None = None
        self._is_stuck = False
        self._is_closed = False

    def do(self, carry_out: Callable[[], object], size: int = 0, lines: int = 0) -> bool:
        """Have work carried out, and wait until it is committed; or for `SLOW` seconds.

        Returns
        -------
        bool
            False when it is not carried out: a commit is stuck, and too much waits. Its `lines` are counted.

        Raises
        ------
        Exception
            What went wrong with the work, or with other work that was done together with it.
        """
        work = _Work(carry_out, self._lock, size, lines)
        with self._lock:
            if self._is_stuck and (self._is_closed or self._size + size > self._most_waiting):
                self._lines_refused += lines
                return False
            # Under the lock until the work is in the queue: `close` cannot end the thread in between.
            has_thread = self._has_thread()
            is_found_stuck = has_thread and self._is_found_stuck_with(work)
        if is_found_stuck:
            self._note_stuck()
        failure = work.failure if has_thread else self._carry_out([work])
        if failure is not None:
            raise failure
        return True

    def _is_found_stuck_with(self, work: _Work) -> bool:
        """Queue work and wait for its commit; tell whether that is the first to be too slow."""
        self._waiting.append(work)
        self._size += work.size
        self._has_work.notify_all()
        seconds = 0.0 if self._is_stuck else SLOW
        if work.is_done.wait_for(lambda: work.is_over, seconds) or self._is_stuck:
            return False
        self._is_stuck = True
        return True

    def take_lines_refused(self) -> int:
        """Return how many lines have been refused since the last call."""
        with self._lock:
            refused, self._lines_refused = self._lines_refused, 0
            return refused

    @property
    def lines_waiting(self) -> int:
        """The lines that no commit has begun with."""
        with self._lock:
            return sum(work.lines for work in self._waiting)

    def _has_thread(self) -> bool:
        """Tell whether the thread, started for the first work, carries it out; else the caller has to."""
        if self._thread is None and not self._is_closed:
            thread = threading.Thread(target=self._run, name="manyhands-commits", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system has no thread left. What is said is kept all the same, one by one.
                return False
            self._thread = thread
        return not self._is_closed

    def close(self) -> None:
        """Carry out what there is, and end the thread. Once more does no harm."""
        with self._lock:
            self._is_closed = True
            self._has_work.notify_all()
        # Without the lock, which the thread needs for what is left. (A thread that is stuck ends with the
        # process.)
        if self._thread is not None:
            self._thread.join(0 if self._is_stuck else SLOW)

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            failure = self._carry_out(batch)
            with self._lock:
                self._is_stuck = False
                for work in batch:
                    work.failure, work.is_over = failure, True
                    work.is_done.notify_all()

    def _next_batch(self) -> list[_Work] | None:
        """Wait for work, and take all of it; none when that takes long, and None when there will be none."""
        with self._lock:
            self._has_work.wait_for(lambda: self._waiting or self._is_closed, self._patience())
            batch, self._waiting, self._size = self._waiting, [], 0
            return batch if batch or not self._is_closed else None

    def _carry_out(self, batch: list[_Work]) -> Exception | None:
        try:
            with self._together():
                for work in batch:
                    work.carry_out()
        except Exception as failure:  # noqa: BLE001 - raised in every caller that waits for it
            return failure
        return None
