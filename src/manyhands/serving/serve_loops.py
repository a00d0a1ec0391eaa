"""The accept loops of one server: one as a rule, several where several threads call its `serve_forever`."""

import threading
from typing import TYPE_CHECKING

from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock
from manyhands.runtime.wakeup import WakeUp

if TYPE_CHECKING:
    from collections.abc import Callable

    from manyhands.runtime.caller import Turn


class ServeLoops:
    """The accept loops of a server in this process. Thread-safe; methods that only read take no lock."""

    def __init__(self) -> None:
        self._of_original: list[WakeUp] = []
        self.threads: dict[WakeUp, set[int]] = {}
        """For each loop the threads in which it runs, or is waited for. Changed by the methods alone."""

        self._begin_anew()
        renew_in_copies(self, ServeLoops._begin_anew)

    def _begin_anew(self) -> None:
        # In a forked copy these are the loops of the original process: a forked handler may ask them to stop,
        # through the inherited pipe, and never waits for them.
        self._of_original = [*self.threads, *self._of_original]
        self.threads = {}
        self.were_several = False
        """Whether there have been several at the same time since there was none."""

        self.turn: Turn | None = None
        """While a thread serves in turns: its own."""

        self.lock = brief_lock()
        """Held while a loop is added or removed, with all that depends on their number."""

        self.accepting = threading.Lock()
        """Held by the one loop that accepts: `get_request` may wait, and another loop would take its
        client."""

    def add(self, wakeup: WakeUp) -> None:
        """Note a loop of the calling thread, which `wakeup` wakes."""
        self.threads[wakeup] = {threading.get_ident()}
        self.were_several = self.were_several or len(self.threads) > 1

    def runs_here(self, wakeup: WakeUp) -> None:
        """Note that the loop runs in the calling thread, which on fibers is not that of `serve_forever`."""
        self.threads[wakeup].add(threading.get_ident())

    def remove(self, wakeup: WakeUp) -> None:
        """Forget a loop that has ended."""
        self.threads.pop(wakeup, None)
        if not self.threads:
            self.were_several = False

    def stop(self) -> None:
        """Have every loop see that it is to stop. For signal handlers and forked handlers too."""
        for wakeup in (*self.threads, *self._of_original):
            wakeup.ask_to_stop()

    def wake(self) -> None:
        """Have every loop look at its listener again."""
        for wakeup in (*self.threads, *self._of_original):
            wakeup.wake()

    def may_be_waited_for(self) -> bool:
        """Return whether the caller may wait for the end of the loops, and not for itself or for ever."""
        if not self.threads:
            # In a forked copy of a process in which the loops ran, nothing tells of their end.
            return not self._of_original
        # A copy: another thread may add a loop.
        return threading.get_ident() not in set().union(*self.threads.copy().values())


class ProcessWatch:
    """What a process has beside all its servers: it is told of each that begins to serve.

    By the commands: a program's servers know nothing of it.
    """

    def __init__(self) -> None:
        self.on_begin: Callable[[object], Callable[[], object]] | None = None
        """Called with a server; returns what is to be called when that closes. It must not raise."""

    def begin(self, server: object) -> "Callable[[], object] | None":
        """Tell of a server; return what is to be called at its end, if anything."""
        return None if self.on_begin is None else self.on_begin(server)


process_watch = ProcessWatch()
"""That of this process."""


class ShutDown(threading.Event):
    """The event that a loop has ended; remembers whether there ever was a loop."""

    was_cleared = False

    def clear(self) -> None:
        """Note that a loop begins."""
        self.was_cleared = True
        super().clear()
