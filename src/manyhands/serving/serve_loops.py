"""The loops that serve one server: one as a rule, several where several threads call its `serve_forever`."""

import threading

from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock
from manyhands.runtime.wakeup import WakeUp


class ServeLoops:
    """The loops that serve a server in this process. Thread-safe; what only reads takes no lock."""

    def __init__(self) -> None:
        self._of_the_original: list[WakeUp] = []
        self._threads: dict[WakeUp, set[int]] = {}
        self._begin_anew()
        renew_in_copies(self, ServeLoops._begin_anew)

    def _begin_anew(self) -> None:
        # In a copy of the process that served these are the original's: a handler asks them to stop, and
        # never waits for them.
        self._of_the_original = self._wakers
        self._threads = {}
        self.were_several = False
        """Whether there were several at the same time, since the last time when there was none."""

        self.lock = brief_lock()
        """To be held while a loop is added or taken out, and for what hangs on that."""

        self.accepting = threading.Lock()
        """To be held by the one loop that accepts: `get_request` may wait, and lets fibers run meanwhile."""

    def add(self, waker: WakeUp) -> None:
        """Note a loop of the calling thread's, which `waker` wakes."""
        self._threads[waker] = {threading.get_ident()}
        self.were_several = self.were_several or len(self._threads) > 1

    def runs_here(self, waker: WakeUp) -> None:
        """Note that a loop runs in the calling thread, whichever waits for its end."""
        self._threads[waker].add(threading.get_ident())

    def remove(self, waker: WakeUp) -> None:
        """Forget a loop that has ended."""
        self._threads.pop(waker, None)
        if not self._threads:
            self.were_several = False

    def count(self) -> int:
        """Return how many there are."""
        return len(self._threads)

    @property
    def _wakers(self) -> list[WakeUp]:
        return [*self._threads, *self._of_the_original]

    def stop(self) -> None:
        """Have every loop see that it is to stop. For signal handlers and handlers' processes too."""
        for waker in self._wakers:
            waker.ask_to_stop()

    def wake(self) -> None:
        """Have every loop look at its listener again."""
        for waker in self._wakers:
            waker.wake()

    def may_be_waited_for(self) -> bool:
        """Tell whether the caller may wait for the end: not where it would wait for itself, or for ever."""
        if not self._threads:
            # In a copy of a process in which the server was served, nothing tells of the end.
            return not self._of_the_original
        # The threads in which the loops run, or are waited for.
        return threading.get_ident() not in set().union(*self._threads.copy().values())


class ShutDown(threading.Event):
    """Set when the loop has ended; remembers whether there ever was one."""

    was_cleared = False

    def clear(self) -> None:
        """Note that a loop begins."""
        self.was_cleared = True
        super().clear()
