"""The connections that a hook of the program's has taken to somewhere else than our engines.

A `process_request` of the program's own may serve a connection by itself, or hand it to an executor that
brings it back. Nothing says when the first kind ends: it does when its socket is closed, or forgotten.
"""

import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from manyhands.runtime.sockets import is_closed

if TYPE_CHECKING:
    from manyhands.admission.admission import HeldPlace

CLOSED_INTERVAL = 0.5
"""Seconds between two looks for those that were closed, while the program still has the object."""


class HandedOff:
    """Those connections, each with its place if it has one. Thread-safe.

    Parameters
    ----------
    on_gone
        Called when one of them is forgotten: anywhere, in the middle of anything, so it may take no lock.
    """

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self.known: dict[int, tuple[Callable[[], Any], HeldPlace | None]] = {}
        """What tells whether each is still there, and its place, by `id`. To be looked at."""

        self._gone: deque[tuple[int, object]] = deque()
        self._look_at = 0.0

    def add(self, request: Any, place: "HeldPlace | None") -> bool:
        """Watch a connection; return False when that cannot be done: it is no socket of any kind."""
        key = id(request)
        try:
            watched = weakref.ref(request, lambda watched: self._note_gone(key, watched))
        except TypeError:
            return False
        self.known[key] = watched, place
        return True

    def pop(self, request: Any) -> "tuple[Callable[[], Any], HeldPlace | None] | None":
        """Take a connection out that has come back."""
        return self.known.pop(id(request), None)

    def _note_gone(self, key: int, watched: object) -> None:
        self._gone.append((key, watched))
        self._on_gone()

    def take_gone(self) -> "list[HeldPlace | None]":
        """Take out those that have ended since the last time; return their places."""
        ended = []
        for _ in range(len(self._gone)):
            try:
                ended.append(self._gone.popleft())
            except IndexError:
                break  # another thread has taken the rest
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + CLOSED_INTERVAL
            known = list(self.known.items())
            ended += [(key, watched) for key, (watched, _) in known if is_closed(watched())]
        # The `id` of one that is forgotten may be that of another one by now.
        return [
            self.known.pop(key)[1]
            for key, watched in ended
            if key in self.known and self.known[key][0] is watched
        ]
