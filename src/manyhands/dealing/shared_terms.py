"""What the options say of outboxes now, in memory that the processes of handlers share."""

import os

from manyhands.model.pieces import WHEN_BEHIND
from manyhands.runtime.fork_hooks import shared_with_copies


class SharedTerms:
    """The options `outbox` and `when_behind` as they were read last, by the accept loop.

    So a change reaches handlers at work, and what deals between processes calls no property of the program's.
    """

    def __init__(self) -> None:
        self.are_wanted = False
        """Whether handlers, or what deals between them, go by them: then they are to be read often."""

        self._begin(0, 0)
        self.largest = 0
        """The largest bound that there was: no handler has ever been allowed a longer piece."""

    def _begin(self, bound: float, way: float) -> None:
        self._process = os.getpid()
        try:
            self._memory = shared_with_copies((bound, way))
        except OSError:
            self._memory = [bound, way]  # none to share: handlers go by what held at their fork

    def note(self, bound: int, when_behind: str) -> None:
        """Note what the options say now."""
        if self._process != os.getpid():
            # In a copy of the process that serves by itself: the memory is the original's.
            self._begin(*self._memory)
        # Before it can be seen in another process.
        self.largest = max(self.largest, bound)
        self._memory[0], self._memory[1] = bound, WHEN_BEHIND.index(when_behind)

    @property
    def are_noted(self) -> bool:
        """Whether anything was noted."""
        return bool(self._memory[0])

    def noted(self) -> tuple[int, str] | None:
        """Return the bytes that may wait for a client, and what becomes of one that falls behind.

        None while nothing was noted.
        """
        bound = int(self._memory[0])
        return (bound, WHEN_BEHIND[int(self._memory[1])]) if bound else None
