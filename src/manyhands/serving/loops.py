"""The loops of one server: one as a rule, several where several threads call its `serve_forever`."""

import errno
import os
import threading
from typing import Any, Self

from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import has_client_waiting
from manyhands.runtime.unpatched import brief_lock
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.admission_control import Door
from manyhands.serving.handle_request import attend


class Loops:
    """The loops that serve a server in this process. Thread-safe; what only reads takes no lock."""

    def __init__(self, original: "Loops | None" = None) -> None:
        self.process = _this_process
        self.of_the_original: list[WakeUp] = [] if original is None else original.wakers
        """In a copy of the process that served: what its handler asks to stop, and nobody waits for."""

        self.lock = brief_lock()
        """To be held by whoever adds a loop, or takes one out, and by what hangs on that."""

        self._accepting = threading.Lock()
        self._threads: dict[WakeUp, set[int]] = {}
        self._were_several = False  # since the last time when there was none

    @classmethod
    def of(cls, server: Any) -> Self:
        """Return the loops of `server`, of which a copy of the process has none at first."""
        attributes = vars(server)
        # `setdefault` is one step: of two threads that come first, both get the same.
        loops: Self = attributes.get("_loops") or attributes.setdefault("_loops", cls())
        if loops.process != _this_process:
            loops = attributes["_loops"] = cls(loops)
        return loops

    def add(self, waker: WakeUp) -> None:
        """Note a loop of the calling thread's, which `waker` wakes."""
        self._threads[waker] = {threading.get_ident()}
        self._were_several = self._were_several or len(self._threads) > 1

    def runs_here(self, waker: WakeUp) -> None:
        """Note that a loop runs in the calling thread, whichever waits for its end."""
        self._threads[waker].add(threading.get_ident())

    def remove(self, waker: WakeUp) -> None:
        """Forget a loop that has ended."""
        self._threads.pop(waker, None)
        if not self._threads:
            self._were_several = False

    def count(self) -> int:
        """Return how many there are."""
        return len(self._threads)

    @property
    def wakers(self) -> list[WakeUp]:
        """What wakes the loops."""
        return [*self._threads, *self.of_the_original]

    def is_one_here(self) -> bool:
        """Tell whether a loop runs in the calling thread, or is waited for there."""
        caller = threading.get_ident()
        return any(caller in threads for threads in list(self._threads.values()))

    def next_request(self, server: Any, door: Door) -> tuple[Any, Any, Reason | None]:
        """Get the next request, its client's address, and why it must be refused; of several loops, one does.

        Raises
        ------
        BlockingIOError
            When another loop has taken the client of which this one was told too, or its place, and would
            wait for the next one, whatever it is asked to do meanwhile.
        """
        if not door.attendants:
            attend(server)
        with self._accepting:
            # The other one may have ended since it took the client.
            has_gone = self._were_several and not has_client_waiting(server)
            if has_gone or not door.has_room():
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            request, client_address = server.get_request()
            if self._were_several:
                door.in_hand.arrival = id(request)
            return request, client_address, door.arrive(server, request, client_address)


class ShutDown(threading.Event):
    """Set when the loop has ended; remembers whether there ever was one."""

    was_cleared = False

    def clear(self) -> None:
        """Note that a loop begins."""
        self.was_cleared = True
        super().clear()


_this_process = os.getpid()
"""Kept, for each connection asks."""


def _note_process() -> None:
    global _this_process  # noqa: PLW0603 - a fact about the process
    _this_process = os.getpid()


os.register_at_fork(after_in_child=_note_process)
