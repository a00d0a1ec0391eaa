"""Signals that come before a supervisor has handlers for them: kept until these are there.

Its first workers take a while to come up. And where one program takes the process over from another, the one
before has blocked them, so that none kills a process which has handlers for it in a moment. What is started
meanwhile would inherit that (sigprocmask(2)), so they are let in at once, and noted.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT),
)
"""Those that an operator, or a service manager, sends."""

_GONE_ON_AFTER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
"""Those of them that a supervisor goes on after."""

_Handler = Callable[[int, FrameType | None], object]

_came: list[int] = []
_before: dict[signal.Signals, Any] = {}
_noted_by: dict[signal.Signals, _Handler] = {}

# The copy is a template, and its workers have got none of them.
os.register_at_fork(after_in_child=_came.clear)


def block() -> set[int]:
    """Block them, for what follows an exec; return what was blocked before."""
    return {int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)}


def unblock(before: set[int]) -> None:
    """Go back to what was blocked before: there was no exec."""
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def note_from_now_on() -> None:
    """Note those that come, and let them in. For the main thread of the program that takes over."""
    for number in SIGNALS:
        _have_noted(number, _note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def note_what_would_kill(is_for_now: Callable[[int], bool]) -> None:
    """Note those that come from now on, and would end the supervisor. For the main thread.

    `is_for_now` is asked of each that comes, and does at once what is to be done about it where that is true.
    """

    def note(number: int, frame: FrameType | None) -> None:
        if not is_for_now(number):
            _note(number, frame)

    for number in _GONE_ON_AFTER:
        if signal.getsignal(number) is signal.SIG_DFL:
            _have_noted(number, note)


def _have_noted(number: signal.Signals, handler: _Handler) -> None:
    _before[number] = signal.signal(number, handler)
    _noted_by[number] = handler


def _note(number: int, _frame: FrameType | None) -> None:
    _came.append(number)


def leave() -> list[int]:
    """Put back what they did before, and return those that came: their handlers are about to be there."""
    for number, handler in _before.items():
        if signal.getsignal(number) is _noted_by[number]:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    _before.clear()
    came = _came.copy()
    _came.clear()
    return came


def send_again(came: list[int]) -> None:
    """Have them come now, to the handlers that are there."""
    for number in dict.fromkeys(came):
        os.kill(os.getpid(), number)
