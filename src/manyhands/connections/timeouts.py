"""The timeouts of one connection: its handler's own where it has set some, else its server's."""

import math
from collections.abc import Callable, MutableSequence

from manyhands.config.options import OPTIONS
from manyhands.model.timeouts import NAMES, NONE, Deadlines
from manyhands.runtime.fork_hooks import shared_with_copies

_USUAL = -1.0
"""In a store: the deadline is the server's. Infinity there: the connection has no such deadline."""


def private_store() -> MutableSequence[float]:
    """Return a store for the own deadlines of a connection that this process serves."""
    return [_USUAL] * len(NAMES)


def shared_store() -> MutableSequence[float]:
    """Return a store for those of a connection that a forked process serves: this one's reaper reads them."""
    return shared_with_copies(private_store())


class ConnectionTimeouts:
    """The `deadlines` of a handler: a time that it sets here holds for its connection at once.

    In seconds; None: no deadline. A value that is no time raises `Mistake`. Thread-safe.

    Parameters
    ----------
    usual
        Returns the deadlines of the server.
    changed
        Called when the handler has set one: it wakes the reaper.
    store
        The memory of its own deadlines.
    """

    __slots__ = ("_changed", "_latest", "_store", "_usual")

    def __init__(
        self,
        usual: Callable[[], Deadlines],
        changed: Callable[[], object],
        store: MutableSequence[float],
    ) -> None:
        self._usual = usual
        self._changed = changed
        self._store = store
        self._latest: tuple[tuple[float, ...], Deadlines, Deadlines] | None = None

    @property
    def own(self) -> dict[str, float | None]:
        """Those that the handler has set, by their names."""
        stored = zip(NAMES, self._store, strict=True)
        return {
            name: None if value == math.inf else value for name, value in stored if value != _USUAL
        }

    @property
    def idle_timeout(self) -> float | None:
        """Seconds for which nothing may be received; None: for ever."""
        return self.with_usual(self._usual()).idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, seconds: float | None) -> None:
        self._set("idle_timeout", seconds)

    @property
    def write_timeout(self) -> float | None:
        """Seconds for which the peer may acknowledge nothing of what waits for it; None: for ever."""
        return self.with_usual(self._usual()).write_timeout

    @write_timeout.setter
    def write_timeout(self, seconds: float | None) -> None:
        self._set("write_timeout", seconds)

    @property
    def max_age(self) -> float | None:
        """Seconds for which the connection may be open, give or take a tenth; None: for ever."""
        return self.with_usual(self._usual()).max_age

    @max_age.setter
    def max_age(self, seconds: float | None) -> None:
        self._set("max_age", seconds)

    def _set(self, name: str, seconds: float | None) -> None:
        OPTIONS[name].check(seconds)
        self._store[NAMES.index(name)] = math.inf if seconds is None else seconds
        self._changed()

    @property
    def are_any(self) -> bool:
        """Whether the handler has set any of its own."""
        return any(seconds != _USUAL for seconds in self._store)

    def with_usual(self, usual: Deadlines) -> Deadlines:
        """Return all of them, given those of the server; the same object while nothing changes."""
        # By identity the reaper sees that nothing has changed, and need not ask the kernel again.
        own, latest = tuple(self._store), self._latest
        if latest is not None and latest[0] == own and latest[1] is usual:
            return latest[2]
        merged = _merged(own, usual)
        # One tuple, assigned in one step: another thread sees all three of one time.
        self._latest = own, usual, merged
        return merged

    def __repr__(self) -> str:
        return repr(self.with_usual(self._usual()))


def _merged(own: tuple[float, ...], usual: Deadlines) -> Deadlines:
    deadlines = Deadlines(
        **{
            name: getattr(usual, name)
            if seconds == _USUAL
            else (None if seconds == math.inf else seconds)
            for name, seconds in zip(NAMES, own, strict=True)
        }
    )
    return NONE if deadlines.shortest is None else deadlines
