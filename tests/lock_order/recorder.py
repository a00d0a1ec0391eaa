"""Records which locks of the library are taken while which others are held.

`record_to` comes before the import of manyhands, of which this module imports nothing: from then on each lock
that a module of manyhands makes is a `Lock` of this one. The locks within events, queues and threads of the
standard library are not recorded: nothing of ours is called while one of them is held.
"""

import _thread
import linecache
import os
import re
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

PROGRAM = "the program"
"""Stands among the locks for the code of the program: hooks, handlers, subscribers."""

GATES = {"_ThreadWaiter._lock", "GoodbyeHook._lock"}
"""These are locks that one thread takes and another one releases, so no thread holds them.

Recorded is which locks a thread holds while it waits for one."""

_MAKERS = {"manyhands.runtime.unpatched", "manyhands.runtime.locks"}
"""The modules that make locks for others."""

_held: "ContextVar[list[Lock]]" = ContextVar("held")
"""What the thread, or the fiber, holds, in this order: each has a context of its own."""

_recorded: set[tuple[str, str]] = set()
_descriptor = -1


class Lock:
    """A lock that records what else its taker holds; in the place of `threading.Lock` and `RLock`."""

    def __init__(self, lock: Any, kind: str) -> None:
        self._lock = lock
        self.kind = kind
        self._is_gate = kind in GATES
        self._holder: list[Lock] = []
        if hasattr(lock, "_is_owned"):
            # What a `threading.Condition` needs of an RLock.
            self._is_owned = lock._is_owned
            self._release_save = self._give_up
            self._acquire_restore = self._take_back

    def acquire(self, *arguments: Any, **keywords: Any) -> bool:
        holder = held_here()
        # First recorded, then taken: of two threads that wait for each other for ever, both are known.
        if self not in holder:
            has_to_wait = not self._is_gate or self._lock.locked()
            _record(self.kind, holder if has_to_wait else [])
        is_taken: bool = self._lock.acquire(*arguments, **keywords)
        if is_taken and not self._is_gate:
            self._holder = holder
            holder.append(self)
        return is_taken

    def release(self) -> None:
        if not self._is_gate:
            self._holder.remove(self)
        self._lock.release()

    def locked(self) -> bool:
        is_locked: bool = self._lock.locked()
        return is_locked

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _give_up(self) -> tuple[Any, int]:
        depth = self._holder.count(self)
        for _ in range(depth):
            self._holder.remove(self)
        return self._lock._release_save(), depth

    def _take_back(self, state: tuple[Any, int]) -> None:
        self._holder = held_here()
        _record(self.kind, self._holder)
        self._lock._acquire_restore(state[0])
        self._holder += [self] * state[1]


def record_to(file: str) -> None:
    """Record from now on, in a file: a line for each pair of locks, and for each kind that was taken.

    Its words, between tabs: the kind that was held, or none; the kind that was taken; and where.
    """
    global _descriptor  # noqa: PLW0603 - a fact about the process
    _descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    threading.Lock = _recording(threading.Lock)  # type: ignore[misc]
    threading.RLock = _recording(threading.RLock)  # type: ignore[misc]
    _thread.allocate_lock = _recording(_thread.allocate_lock)
    _thread.RLock = _recording(_thread.RLock)  # type: ignore[misc]
    # The copy has fresh locks in the place of those that are held while the process is forked.
    os.register_at_fork(after_in_child=lambda: held_here().clear())


def the_program_runs() -> None:
    """Record that a hook, a handler or a subscriber has been called, here and now."""
    _record(PROGRAM, held_here())


def held_here() -> "list[Lock]":
    """Return what the caller holds: the list itself."""
    try:
        return _held.get()
    except LookupError:
        _held.set([])
        return _held.get()


def _recording(make: Callable[[], Any]) -> Callable[[], Any]:
    def make_recorded() -> Any:
        kind = _kind_made_by(sys._getframe(1))
        return make() if kind is None else Lock(make(), kind)

    return make_recorded


def _kind_made_by(frame: Any) -> str | None:
    """Name the lock that a frame makes, by its class or its module; None when it is none of the library's."""
    while frame.f_globals.get("__name__") in _MAKERS:
        if frame.f_code.co_qualname.startswith("_ThreadWaiter."):
            break
        frame = frame.f_back
    module = frame.f_globals.get("__name__", "")
    if not module.startswith("manyhands."):
        return None
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    assigned = re.match(r"\s*(?:self\.)?(\w+)(?:: [^=]+)? = ", line)
    owner = frame.f_code.co_qualname.rpartition(".")[0] or module.removeprefix("manyhands.")
    return f"{owner}.{assigned[1] if assigned else f'line {frame.f_lineno}'}"


def _record(kind: str, held: list[Lock]) -> None:
    for each in {lock.kind for lock in held} or {""}:
        if (each, kind) not in _recorded:
            _recorded.add((each, kind))
            os.write(_descriptor, f"{each}\t{kind}\t{_place()}\n".encode())


def _place() -> str:
    """Return the line of the library that takes the lock, or calls the program."""
    frame: Any = sys._getframe(2)
    module = frame.f_globals["__name__"]
    while frame.f_back and (not module.startswith("manyhands.") or module in _MAKERS):
        frame = frame.f_back
        module = frame.f_globals["__name__"]
    return f"{module}:{frame.f_lineno}"
