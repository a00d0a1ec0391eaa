"""What begins anew in a forked copy of the process: whatever is about what the original does.

A lock that another thread of the original held would be held in the copy for ever, and connections, workers
and counts are the original's.
"""

import os
import weakref
from collections.abc import Callable
from typing import Any

_renewals: "weakref.WeakKeyDictionary[Any, Callable[[Any], None]]" = weakref.WeakKeyDictionary()
"""How each thing begins anew, as long as it is."""


def renew_in_copies(thing: Any, renew: Callable[[Any], None]) -> None:
    """Have `renew(thing)` called first in each forked copy of the process.

    Parameters
    ----------
    thing
        What is hashable by identity; it is not kept alive.
    renew
        A function that holds no reference to the thing, such as a method of its class.
    """
    _renewals[thing] = renew


def _renew_all() -> None:
    for thing, renew in list(_renewals.items()):
        renew(thing)


os.register_at_fork(after_in_child=_renew_all)


_maker: int | None = None


def maker() -> int | None:
    """Return the id of the process whose process engine made this one; None when something else did."""
    return _maker


def note_maker(process: int | None) -> None:
    """Note that the process engine of another process has made this one."""
    global _maker  # noqa: PLW0603 - a fact about the process
    _maker = process


# Whatever forks this process: `ProcessesEngine` says so afterwards when it was itself.
os.register_at_fork(after_in_child=lambda: note_maker(None))
