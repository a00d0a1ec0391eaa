"""Processes that were notified, since there is something to tell them, and have not attached yet."""

import time
from collections.abc import Callable
from typing import NamedTuple

from manyhands.dealing.peer import Peer
from manyhands.engines.question import Again

ATTACHES_WITHIN = 1.0
"""Seconds that a process gets to attach: it may have become another program, or be stopped."""


class _Notice(NamedTuple):
    peer: Peer
    notify: Callable[[], None]
    until: float


class Notices:
    """Notifies them until they attach, or are given up. For the holder of the dealer's lock."""

    def __init__(self) -> None:
        self._notices: dict[int, _Notice] = {}
        self._again = Again()

    def __len__(self) -> int:
        return len(self._notices)

    def add(self, number: int, peer: Peer, notify: Callable[[], None]) -> bool:
        """Have the process of a connection notified; return whether what does that has to be woken."""
        is_to_wake = self._again.due_at > 0.0 or not self._notices
        self._notices[number] = _Notice(peer, notify, time.monotonic() + ATTACHES_WITHIN)
        # All in one go, however many these are: each notice has all of them look.
        self._again = Again()
        return is_to_wake

    def take(self, number: int) -> Peer | None:
        """Take out a process that attaches now, if it was notified."""
        notice = self._notices.pop(number, None)
        return None if notice is None else notice.peer

    def peers(self) -> list[Peer]:
        """Return the processes that have not attached yet."""
        return [notice.peer for notice in list(self._notices.values())]

    def due(self) -> tuple[set[Callable[[], None]], list[Peer]]:
        """Return what is to notify now, and the processes that are given up."""
        now = time.monotonic()
        late = [number for number, notice in self._notices.items() if notice.until <= now]
        given_up = [self._notices.pop(number).peer for number in late]
        if not self._again.is_due():
            return set(), given_up
        return {notice.notify for notice in self._notices.values()}, given_up

    def seconds_left(self) -> float | None:
        """Return the seconds until something is due; None when nothing will be."""
        if not self._notices:
            return None
        soonest = min(self._again.due_at, *(notice.until for notice in self._notices.values()))
        return max(0.0, soonest - time.monotonic())
