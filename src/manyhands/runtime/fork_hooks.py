"""What begins anew in a forked copy of the process, and what the two share.

A lock that another thread of the original held would be held in the copy for ever. Connections, workers and
counts are the original's.
"""

import _signal  # type: ignore[import-not-found]  # no stubs
import mmap
import os
import weakref
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from types import FunctionType, SimpleNamespace
from typing import Any

from manyhands.runtime.caller import forget_others
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.unpatched import brief_rlock, original

forking = brief_rlock()
"""Held for each fork, and by what must not be under way in another thread just then."""

_renewals: "weakref.WeakKeyDictionary[Any, Callable[[Any], object]]" = weakref.WeakKeyDictionary()
"""For each living object, the function that has it begin anew."""

_preparations: "weakref.WeakKeyDictionary[Any, Callable[[Any], object]]" = (
    weakref.WeakKeyDictionary()
)
"""For each living object, the function that prepares it for the processes of an engine."""

_parent_server: int | None = None


def renew_in_copies(thing: Any, renew: Callable[[Any], object]) -> None:
    """Have `renew(thing)` called first in each forked copy of the process, in the order of these calls.

    Parameters
    ----------
    thing
        What is hashable by identity; it is not kept alive.
    renew
        A function that holds no reference to the thing, such as a method of its class. What it raises goes to
        `sys.excepthook`.
    """
    _renewals[thing] = renew


def prepare_for_workers(thing: Any, prepare: Callable[[Any], object]) -> None:
    """Have `prepare(thing)` called before each process that an engine forks to serve a connection.

    Parameters are those of `renew_in_copies`. What it raises is raised.
    """
    _preparations[thing] = prepare


def prepare_workers() -> None:
    """Call the functions of `prepare_for_workers`. For an engine that is about to fork."""
    if _preparations:
        for thing, prepare in list(_preparations.items()):
            prepare(thing)


def _fork() -> int:
    return os.fork()


def fork_without_warning(system: Any) -> int:
    """Fork by what is called `fork` in `system`, such as `os`; return what it returns.

    From 3.12 on it warns of threads when the child is there, and from 3.15 on ``-W error`` has the warning
    raised in the place of the child's id. Of a module whose name is None no warning is made (`warn_explicit`
    in Python/_warnings.c).
    """
    pid: int = FunctionType(_fork.__code__, {"__name__": None, "os": system})()
    return pid


def system_fork() -> int:
    """Fork by the system's own call, whatever gevent has put in its place, and without a warning."""
    return fork_without_warning(SimpleNamespace(fork=original(os, "fork")))


def change_signal_mask(how: int, signals: Iterable[int]) -> set[int]:
    """Change which signals the calling thread blocks; return the numbers of those that it has blocked before.

    Does what `signal.pthread_sigmask` does, which also makes a member of an enumeration of each of some sixty
    signals: five times in the fork of a handler, that would take 0.3 ms.
    """
    before: set[int] = _signal.pthread_sigmask(how, signals)
    return before


def shared_page() -> memoryview:
    """Return a page of memory that forked copies share, all zeros."""
    # Anonymous, and MAP_SHARED by default (mmap(2)).
    return memoryview(mmap.mmap(-1, mmap.PAGESIZE))


def shared_with_copies(values: Sequence[float]) -> MutableSequence[float]:
    """Return the values in memory that forked copies share: each process sees the other's writes."""
    # Anonymous, and MAP_SHARED by default (mmap(2)). No lock: each value is written in one piece.
    shared: Any = memoryview(mmap.mmap(-1, 8 * len(values))).cast("d")
    for position, value in enumerate(values):
        shared[position] = value
    memory: MutableSequence[float] = shared
    return memory


def parent_server() -> int | None:
    """Return the id of the process whose engine forked this one to serve a connection; else None."""
    return _parent_server


def set_parent_server(process: int | None) -> None:
    """Note the process whose engine forked this one to serve a connection."""
    global _parent_server  # noqa: PLW0603 - a fact about the process
    _parent_server = process


def _begin_anew() -> None:
    # The engine `processes` sets it after this, in the copies that it makes. Others are the program's own.
    set_parent_server(None)
    forget_others()
    for thing, renew in list(_renewals.items()):
        try:
            renew(thing)
        except Exception as error:  # noqa: BLE001 - the other things have to begin anew all the same
            print_uncaught(error)


# In the copy it is held by the thread that forked, which is there, and may release it.
os.register_at_fork(
    before=forking.acquire, after_in_parent=forking.release, after_in_child=forking.release
)
os.register_at_fork(after_in_child=_begin_anew)
