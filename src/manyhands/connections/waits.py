"""Waiting until so many connections are open: told of each change, so that no number is missed."""

import threading

from manyhands.rules.originals import brief_lock


class Wait:
    """One thread's wait for a count that is in bounds.

    Parameters
    ----------
    at_least, at_most
        The bounds, both included; None: there is none.
    """

    def __init__(self, at_least: int | None, at_most: int | None) -> None:
        self._at_least = 0 if at_least is None else at_least
        self._at_most = at_most
        # The system's, in programs too whose locks gevent has made those of fibers: any thread may wait.
        self._lock = brief_lock()
        self._lock.acquire()
        self._is_over = False

    def look(self, count: int) -> None:
        """Let the thread go on if it has waited for this. One caller at a time."""
        is_enough = count >= self._at_least and (self._at_most is None or count <= self._at_most)
        if is_enough and not self._is_over:
            self._is_over = True
            self._lock.release()

    def sleep(self, timeout: float | None) -> bool:
        """Wait in the calling thread; return whether it came about in `timeout` seconds."""
        seconds = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        it_came_about: bool = self._lock.acquire(timeout=seconds)
        return it_came_about
