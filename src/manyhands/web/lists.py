"""Lists of connections, which browsers ask for again and again: one look at the server for all of them."""

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SHARE = 200
"""How many times as long as all lists take the server it has until it is asked for them anew.

It has to look at each connection: ten thousand take it some ten milliseconds, in half of which it gives way
to its handlers. So it spends a quarter of a hundredth of a processor's time on that, however many browsers
show the same. It is more where they show many that differ: each is asked for every `LONGEST` seconds all the
same, and one that is new at once.
"""

SHORTEST, LONGEST = 1.0, 20.0
"""Seconds until it is asked anew: at least, and at most, for an older list tells little."""

IN_USE = 5.0
"""Seconds since a list was last asked for, after which no browser shows it: they ask more often."""

UNSETTLED = 3.0
"""Seconds after a change, in which what it brings about is to be seen soon."""

MOST = 64
"""Lists that are kept."""

MEASURED = 5
"""Looks of which the shortest tells what one takes: a busy machine only adds to it."""


@dataclass(slots=True)
class _Listed:
    answer: Any = None
    until: float = 0.0
    asked_at: float = 0.0
    took: deque[float] = field(default_factory=lambda: deque(maxlen=MEASURED))


class Lists:
    """Keeps lists for a while. Thread-safe: two that ask at the same moment may both look.

    Parameters
    ----------
    clock
        Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each step on it is one of the interpreter's, so no lock is needed.
        self._listed: dict[str, _Listed] = {}
        self._changed_at = -UNSETTLED

    def get(self, run: str, params: dict[str, Any], look: Callable[[], Any]) -> Any:
        """Return a list, by a look at the server where the one that is kept is too old.

        Parameters
        ----------
        run : str
            Names the connection to the server: after another one, and after its end, nothing is kept.
        params : dict
            What is asked for.
        look
            Asks the server.
        """
        name, now = json.dumps([run, params], sort_keys=True), self._clock()
        for other, each in tuple(self._listed.items()):
            if now - each.asked_at > IN_USE or len(self._listed) > MOST:
                self._listed.pop(other, None)
        listed = self._listed.setdefault(name, _Listed(asked_at=now))
        listed.asked_at = now
        if now < listed.until:
            return listed.answer
        listed.answer = look()
        after = self._clock()
        listed.took.append(after - now)
        listed.until = after + self._rest(after)
        return listed.answer

    def forget(self) -> None:
        """Forget all: something was changed, of which each list may tell."""
        self._listed.clear()
        self._changed_at = self._clock()

    def _rest(self, now: float) -> float:
        if now - self._changed_at < UNSETTLED:
            return SHORTEST
        all_take = sum(min(each.took) for each in tuple(self._listed.values()) if each.took)
        return min(LONGEST, max(SHORTEST, SHARE * all_take))
