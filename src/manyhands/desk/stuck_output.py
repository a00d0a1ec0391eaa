"""Ending although standard output takes nothing any more: a pipe that is not read, a terminal after Ctrl-S.

A thread that writes to it waits in write(2), with the locks of Python's own buffers, which the end of the
interpreter needs as well. So the end would never come.
"""

import os
import signal
import sys
import threading
import time
from typing import Self

from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import takes_more
from manyhands.runtime.thread_frames import current_frames

PATIENCE = 2.0
"""Seconds for an output that takes nothing, once a signal or a person has asked for the end."""

PATIENCE_WITH_A_READER = 5.0
"""The same after the end of the input: what reads the output may just be slow."""

_GLANCE = 0.1
"""Seconds between two looks."""

_NUDGE = signal.SIGURG
"""What interrupts a write(2): a signal that means nothing here, and is ignored where no handler is set."""


class OutputGuard:
    """From `begin` on, an output that takes nothing for some seconds is given up, and the rest of it dropped.

    The descriptor becomes one of /dev/null. A thread that waits in write(2) is interrupted by a signal and,
    since Python tries again after one (PEP 475), goes on there.

    Notes
    -----
    A context of the main thread. `begin` may be called from any thread, and from signal handlers.
    """

    def __init__(self) -> None:
        self._is_ending = Latch()
        self._has_ended = Latch()
        self._patience = PATIENCE_WITH_A_READER
        self._output = _descriptor()
        self._thread = threading.Thread(target=self._watch, name="manyhands-guard", daemon=True)

    def __enter__(self) -> Self:
        self._handler = signal.signal(_NUDGE, lambda *_: None)
        # A program that shares the output may have changed that for all (O_NONBLOCK, fcntl(2)): Python would
        # drop what is not taken at once.
        self._was_blocking = os.get_blocking(self._output)
        os.set_blocking(self._output, True)
        try:
            self._thread.start()
        except RuntimeError:
            # The system has no thread left. All goes on, and an output that is stuck holds up the end.
            self._has_ended.set()
        return self

    def __exit__(self, *exception: object) -> None:
        is_watched = not self._has_ended.is_set()
        self._has_ended.set()
        self._is_ending.set()
        if is_watched:
            self._thread.join()
        signal.signal(_NUDGE, self._handler)
        os.set_blocking(self._output, self._was_blocking)

    def begin(self, patience: float = PATIENCE) -> None:
        """Note that the command is to end."""
        self._patience = min(self._patience, patience)
        self._is_ending.set()

    def _watch(self) -> None:
        """Look after the output from `begin` to the end. Runs in a thread."""
        self._is_ending.wait()
        stuck_since: float | None = None
        while not self._has_ended.wait(_GLANCE):
            if takes_more(self._output):
                stuck_since = None
                continue
            stuck_since = stuck_since or time.monotonic()
            if time.monotonic() - stuck_since >= self._patience:
                self._give_up()
                return

    def _give_up(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._output)
        os.close(nowhere)
        if sys.stderr is not None and takes_more(sys.stderr.fileno()):
            sys.stderr.write(
                "manyhands: the output is not read any more, and the rest of it is dropped\n"
            )
            sys.stderr.flush()
        # Again and again: a thread may have been on its way into write(2) when the signal came.
        while not self._has_ended.wait(_GLANCE):
            # All of them, those of gevent's included, which `threading` does not list.
            for thread in current_frames(sys._current_frames):
                _interrupt(thread)


def _descriptor() -> int:
    """Return the descriptor of standard output, or one that takes everything where there is none."""
    return sys.stdout.fileno() if sys.stdout else os.open(os.devnull, os.O_WRONLY)


def _interrupt(thread: int) -> None:
    try:
        signal.pthread_kill(thread, _NUDGE)
    except ProcessLookupError:
        return  # it has ended
