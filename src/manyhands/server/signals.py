"""What signals do while a server runs: in its own process, and in the copies that are made of it.

A copy inherits the handlers of signals. In a process that the program forks itself (`os.fork`, a pool of
`multiprocessing`) ours would make it deaf: `terminate()` would stop nothing, and whoever then joins it would
wait for ever. So there the signals do again what they did before the server ran.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Self


class HandledSignals:
    """Has signals stop a server, or do what else it does on them. For the main thread.

    Parameters
    ----------
    acts
        What to call for each signal.
    wakeup_fd : int
        What each signal writes to (`signal.set_wakeup_fd`), whichever thread it reaches.
    """

    def __init__(self, acts: Mapping[signal.Signals, Callable[[], None]], wakeup_fd: int) -> None:
        self._acts = acts
        self._wakeup_fd = wakeup_fd
        self._woken_before = -1
        self._before: dict[signal.Signals, Any] = {}
        self._handler: object = None

    def __enter__(self) -> Self:
        self._install(self._act)
        self._woken_before = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exception: object) -> None:
        if self not in _in_force:
            return  # in a copy, where all is as it was before
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            _put_back(number, handler)
        _in_force.remove(self)

    def leave_to_the_parent(self) -> None:
        """Have a handler's process go on when the whole group is signalled: its parent drains."""
        # Not SIG_IGN, which would be inherited by programs that the handler starts.
        self._install(_take_no_notice)

    def _install(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._handler = handler
        self._before = {number: signal.signal(number, handler) for number in self._acts}
        _in_force.append(self)

    def _act(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the hook's form
        self._acts[signal.Signals(number)]()

    @property
    def numbers(self) -> set[signal.Signals]:
        """The signals that it handles."""
        return set(self._acts)

    def _end_in_copy(self) -> None:
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._before.items():
            # What the program has installed meanwhile is its own.
            if signal.getsignal(number) == self._handler:
                _put_back(number, handler)


_in_force: list[HandledSignals] = []


def _take_no_notice(number: int, frame: FrameType | None) -> None:
    pass


def _put_back(number: signal.Signals, handler: Any) -> None:
    # None: whatever is not Python's own, and cannot be put back from here.
    signal.signal(number, signal.SIG_DFL if handler is None else handler)


_held_back = threading.local()


def _hold_back() -> None:
    """Have no signal reach a copy before it is told that it is one: Python forgets those at its start."""
    if _in_force:
        handled = set().union(*(signals.numbers for signals in _in_force))
        _held_back.mask = signal.pthread_sigmask(signal.SIG_BLOCK, handled)


def _let_come() -> None:
    mask = vars(_held_back).pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _do_in_a_copy_what_was_done_before() -> None:
    while _in_force:
        _in_force.pop()._end_in_copy()
    _let_come()


# Whatever forks this process: `Server` says so afterwards when it was for one of its handlers.
os.register_at_fork(
    before=_hold_back,
    after_in_parent=_let_come,
    after_in_child=_do_in_a_copy_what_was_done_before,
)
