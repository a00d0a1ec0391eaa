"""The supervisor as an engine: what a server has in the place of threads or fibers when it has workers.

So its accept loop, its drain and its books are those of any server. Only what becomes of a connection
differs: it is dealt.
"""

import time
from collections.abc import Callable, Collection
from typing import NoReturn

from manyhands.connections.counted_registry import CountedRegistry
from manyhands.engines.engine import Engine, Task
from manyhands.supervisor.fleet import Fleet
from manyhands.supervisor.polling import Polling

BUSY = 0.5
"""Seconds for which workers may be busy with what has come at once: that is no news."""

LAST_WORDS = 2.0
"""Seconds beyond those for handlers to unwind in which workers come to their ends."""


class WorkersEngine(Engine):
    """Has worker processes serve the connections.

    Parameters
    ----------
    fleet
        The workers.
    books
        Where their connections are counted.
    seconds_to_drain
        Returns how long connections get at the end.
    """

    name = "workers"

    def __init__(
        self, fleet: Fleet, books: CountedRegistry, seconds_to_drain: Callable[[], float]
    ) -> None:
        self._fleet = fleet
        self._books = books
        self._seconds_to_drain = seconds_to_drain
        self._is_cut_off = False
        self._full_since: float | None = None
        super().__init__()
        self.attributes = []  # it goes by none of the server's
        fleet.dealer.on_room = self._tell_of_room

    def _tell_of_room(self) -> None:
        self.on_room()

    def start(self, task: Task) -> NoReturn:
        """Refuse: what a supervisor accepts is dealt, and has no task here."""
        raise RuntimeError(
            f"a supervisor serves no connection itself, such as that of {task.client_address}"
        )

    @property
    def tasks(self) -> Collection[Task]:
        """None: they are in other processes."""
        return ()

    def running(self) -> int:
        """Return how many connections the workers have."""
        return len(self._books)

    def has_room(self) -> bool:
        """Tell whether a worker takes another connection."""
        has_room = self._fleet.dealer.has_room()
        if has_room:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = time.monotonic()
        return has_room

    @property
    def is_full_for_long(self) -> bool:
        """Whether workers have taken none for longer than it takes them to begin what comes at once."""
        return self._full_since is not None and time.monotonic() - self._full_since >= BUSY

    def selector(self) -> Polling:
        """Return what the accept loop has to wait with: the workers' channels are served there."""
        return self._fleet.polling

    def reap(self) -> None:
        """Do nothing: the selector does it."""

    def join(self, timeout: float | None = None) -> bool:
        """Have the workers drain, and wait for their ends, at most so many seconds."""
        self._fleet.stop(self._seconds_to_drain())
        if timeout is not None and self._is_cut_off:
            # Their handlers unwind for as long as any, and then they tell what was cut off.
            timeout += LAST_WORDS
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._fleet.has_ended:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._fleet.polling.select(left)
        return True

    def cut_off(self) -> None:
        """Have the workers cut off what they serve, without waiting for it."""
        self._is_cut_off = True
        self._fleet.hurry()

    def forget(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        self._fleet.close_copies()
