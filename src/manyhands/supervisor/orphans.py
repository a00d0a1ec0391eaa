"""Waits for the orphans that come to a supervisor which is the first process of its container."""

import os
from collections.abc import Collection

INTERVAL = 1.0
"""Seconds between two looks: an orphan that has ended costs a process id, and nothing else."""

MOST = 1000
"""Orphans that one look waits for: the loop has clients too."""


class Orphans:
    """Waits for ended processes whose parents have gone (init(1), pid_namespaces(7)).

    Without that each would keep its process id for ever. For the thread of the supervisor's loop, in a
    process whose children are known: whoever waits for any child takes the status of another's.
    """

    def __init__(self) -> None:
        self._next_look = 0.0

    def seconds_left(self, now: float) -> float:
        """Return the seconds until the next look."""
        return max(0.0, self._next_look - now)

    def look(self, own: Collection[int], now: float) -> None:
        """Wait for all that have ended, but for the processes that are this one's own."""
        if now < self._next_look:
            return
        self._next_look = now + INTERVAL
        for _ in range(MOST):
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            # One of its own is waited for where it is looked after, within this turn or the next one; those
            # behind it are seen then.
            if ended is None or ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)
