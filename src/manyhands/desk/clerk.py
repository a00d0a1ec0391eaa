"""A clerk: carries out what many bring, and what has come in meanwhile all at once."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from manyhands.desk.waiting import Condition


class _Work:
    """A piece of work, and who waits for it."""

    __slots__ = ("carry_out", "failure", "is_done", "is_over")

    def __init__(self, carry_out: Callable[[], object], lock: threading.Lock) -> None:
        self.carry_out = carry_out
        self.is_done = Condition(lock)
        self.is_over = False
        self.failure: Exception | None = None


class Clerk:
    """Carries out work in a thread of its own, in the order in which it comes.

    Committing to a disk takes its time, and takes the same for a line as for a hundred. So whatever came in
    while the last work was committed is committed together. And a fiber must not wait for a disk.

    Parameters
    ----------
    together : callable
        Makes the context in which work is carried out: a transaction. What it raises, at its end for
        instance, is raised to everybody whose work was done in it.

    Notes
    -----
    Thread-safe, and fibers may wait in it.
    """

    def __init__(self, together: Callable[[], AbstractContextManager[object]]) -> None:
        self._together = together
        self._lock = threading.Lock()
        self._has_work = Condition(self._lock)
        self._waiting: list[_Work] = []
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def do(self, carry_out: Callable[[], object]) -> None:
        """Have work carried out, and wait until it is committed.

        Raises
        ------
        Exception
            What went wrong with the work, or with something else that was done together with it.
        """
        work = _Work(carry_out, self._lock)
        with self._lock:
            is_there = self._is_there()
            if is_there:
                self._waiting.append(work)
                self._has_work.notify_all()
                work.is_done.wait_for(lambda: work.is_over)
        failure = work.failure if is_there else self._carry_out([work])
        if failure is not None:
            raise failure

    def _is_there(self) -> bool:
        """Tell whether a thread, begun with the first work, carries it out; else the caller has to."""
        if self._thread is None and not self._is_closed:
            thread = threading.Thread(target=self._work, name="manyhands-clerk", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return not self._is_closed

    def close(self) -> None:
        """Carry out what there is, and go home. Once more does no harm."""
        with self._lock:
            self._is_closed = True
            self._has_work.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            failure = self._carry_out(batch)
            with self._lock:
                for work in batch:
                    work.failure, work.is_over = failure, True
                    work.is_done.notify_all()

    def _next(self) -> list[_Work]:
        with self._lock:
            self._has_work.wait_for(lambda: self._waiting or self._is_closed)
            batch, self._waiting = self._waiting, []
            return batch

    def _carry_out(self, batch: list[_Work]) -> Exception | None:
        try:
            with self._together():
                for work in batch:
                    work.carry_out()
        except Exception as failure:  # noqa: BLE001 - raised to everybody who waits for it
            return failure
        return None
