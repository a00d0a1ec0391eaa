"""Signals by which a parent asks its children, some of which may not notice the first one."""

import time
from collections.abc import Callable, Iterable

from manyhands.engines.children import Child

FIRST_PAUSE = 0.02
"""Seconds until what was not noticed is sent again, then twice as long each time."""

ASKED_FOR = 5.0
"""Seconds for which a child is asked: it may compute in C, be stopped, or have become another program."""


class Again:
    """When to send a signal, and to send it again.

    Python notices one that comes in the instant before a wait of the system's only when that is interrupted,
    or over: its handlers run between two instructions of the interpreter's.
    """

    def __init__(self) -> None:
        self.due_at = 0.0
        """When it is due next, by `time.monotonic`; the first time is now."""

        self._pause = FIRST_PAUSE

    def is_due(self) -> bool:
        """Tell whether it is due now, and is so no more."""
        now = time.monotonic()
        if now < self.due_at:
            return False
        self.due_at = now + self._pause
        self._pause *= 2
        return True


class Question:
    """A signal that each child gets until it has acted on it. For one thread at a time.

    Parameters
    ----------
    children
        The children under way.
    send
        Sends it to one of them, unless that has ended.
    """

    def __init__(self, children: Iterable[Child], send: Callable[[Child], object]) -> None:
        self._children = list(children)
        self._send = send
        self._asked_at = time.monotonic()
        self._again = Again()
        for child in self._children:
            child.ask_to_act(self._asked_at)

    def look(self) -> bool:
        """Send it to those who have to get it now; return whether the question is over."""
        if self._again.is_due():
            left = [each for each in self._children if not each.has_acted_since(self._asked_at)]
            for child in left:
                self._send(child)
            self._children = left
        return not self._children or time.monotonic() >= self._asked_at + ASKED_FOR
