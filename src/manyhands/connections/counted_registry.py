"""A registry that counts connections which other processes serve: that of a supervisor of workers."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from manyhands.connections.registry import Registry
from manyhands.model.connection_states import Reason, State


class CountedRegistry(Registry):
    """A registry whose connections are in other processes: it counts them. Thread-safe.

    What they are like their workers know; here are only numbers, which hold over all workers and generations.
    """

    __slots__ = ("_dealt",)

    def begin_anew(self) -> None:
        """Forget everything, in a forked copy of the process."""
        super().begin_anew()
        self._dealt = 0

    def begin(self) -> int:
        """Count a connection that was accepted, as open; return its place."""
        with self._lock:
            self._accepted += 1
            self._dealt += 1
            for wait in self._waits:
                wait.look(self._dealt)
            return self._accepted

    def end(self, reason: Reason, count: int = 1) -> None:
        """Count open connections as closed."""
        with self._lock:
            self._dealt -= count
            self._closed[reason] += count
            for wait in self._waits:
                wait.look(self._dealt)
        on_room = self.on_room
        if on_room is not None:
            on_room()

    def counts(self) -> dict[str, Any]:
        """Return what has been counted, as plain data."""
        with self._lock:
            closed = {reason.value: count for reason, count in self._closed.items()}
            return {"accepted": self._accepted, "open": self._dealt, "closed": closed}

    def go_on_from(self, counts: Mapping[str, Any]) -> None:
        """Count on from what another registry has counted."""
        with self._lock:
            self._accepted, self._dealt = int(counts["accepted"]), int(counts["open"])
            self._closed = Counter(
                {Reason(reason): count for reason, count in counts["closed"].items()}
            )

    def __len__(self) -> int:
        return self._dealt

    def census(self) -> tuple[int, Counter[State], Counter[Reason]]:
        """Return how many were accepted, are open, are closed for each reason: of one moment."""
        with self._lock:
            return self._accepted, Counter({State.OPEN: self._dealt}), self._closed.copy()
