"""Work on thousands of things, in slices between which the other threads have their turn."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from manyhands.runtime.unpatched import original

SHARE = 0.5
"""How much of the time such work takes, on a calm process; the handlers have the rest for themselves."""

WORK = 0.0003
"""Seconds of processor time after which the other threads have their turn. One that waits for clients again
and again gives the interpreter away each time it waits, and then has to wait for so long."""

SWITCH = 0.005
"""Seconds for which a thread that computes keeps the interpreter (`sys.setswitchinterval`), as this one may
where a pause lasted so long: it would have next to nothing of it otherwise."""

MOST_PAUSE = 0.01
"""Seconds of a turn at the most, where an item took long."""

AT_ONCE = 100
"""Items that take a microsecond or so each, and among which the clock is not looked at."""

T = TypeVar("T")

Slicing: TypeAlias = Callable[[list[T]], Iterable[Sequence[T]]]
"""What parts items into slices: `slices` or `whole`."""

_sleep: Callable[[float], object] = original(time, "sleep")


def slices(
    items: Sequence[T], at_once: int = AT_ONCE, sleep: Callable[[float], object] | None = None
) -> Iterator[Sequence[T]]:
    """Yield so many items at once, and pause whenever the work on them has taken long enough.

    Pauses are the system's, unless `sleep` is given: a thread that gevent may have made a fiber gives the
    program's own, since it would hold up the hub otherwise.
    """
    pause = sleep or _sleep
    now = time.thread_time
    allowed, began = WORK, now()
    for start in range(0, len(items), at_once):
        yield items[start : start + at_once]
        worked = now() - began
        if worked >= allowed:
            # In the last slice too: what follows is work as well.
            paused = time.monotonic()
            pause(min(worked * (1 / SHARE - 1), MOST_PAUSE))
            paused = time.monotonic() - paused
            allowed = SWITCH if paused >= SWITCH else WORK
            began = now()


def whole(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield all items at once: for a thread whose pauses would hold others up."""
    yield items
