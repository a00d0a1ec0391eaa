"""How a signal ends the screen, whatever has become of the terminal."""

import os
import signal
import sys
import termios
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PATIENCE = 3.0
"""Seconds for the terminal to take what leaves it as it was before."""


class EndingSignals:
    """Has signals end the screen: the terminal is left as it was, if it is there and takes anything.

    The handlers are Python's, and not those of an event loop: where the terminal takes nothing more, the loop
    waits for it, and would never come to them.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._last: threading.Timer | None = None
        self._end: Callable[[int], object] = int

    def take(self, end: Callable[[int], object]) -> None:
        """Take the signals, in the main thread; in another one, as a program may have the screen, leave them.

        Parameters
        ----------
        end : callable
            Ends the screen soon; gets the number of the signal. It is called in the middle of anything.
        """
        self._end = end
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._come) for number in ENDING}

    def _come(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        # The next one of them ends the process at once.
        for each in ENDING:
            signal.signal(each, signal.SIG_DFL)
        self._before.clear()
        if not _has_terminal():
            os.kill(os.getpid(), number)
        self._last = threading.Timer(_PATIENCE, os.kill, [os.getpid(), number])
        self._last.daemon = True
        self._last.start()
        self._end(number)

    def give_back(self) -> None:
        """Have the signals mean again what they did, unless one has come."""
        while self._before:
            signal.signal(*self._before.popitem())

    def forget(self) -> None:
        """Let the process end in its own time: the terminal is as it was."""
        if self._last is not None:
            self._last.cancel()


def _has_terminal() -> bool:
    try:
        termios.tcgetattr(sys.__stdin__ or 0)
    except (OSError, ValueError, termios.error):
        return False  # EIO: it has hung up
    return True
