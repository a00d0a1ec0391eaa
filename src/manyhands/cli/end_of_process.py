"""The end of a command that serves: it comes in time, whatever handlers do.

The interpreter's own exit waits for threads that are no daemons, for ever if need be, and aborts when a
daemon is inside `input()`, for it wants the lock of standard input then (``_enter_buffered_busy`` in
``Modules/_io/bufferedio.c``). On fibers a handler that never lets go holds the main thread too.
"""

import atexit
import contextlib
import os
import select
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Self

from manyhands.runtime.unpatched import native_thread_id, original, start_native_thread

if TYPE_CHECKING:
    from manyhands.server import Server

_sleep = original(time, "sleep")

AFTER_THE_DRAIN = 1.5
"""Seconds that all else gets after the drain's: one for handlers to unwind, and the rest for the log."""

LOOK_INTERVAL = 0.25
"""Seconds between two looks whether the server has been asked to stop: what an operator does not notice."""


class EndInTime:
    """Ends the process when a server was asked to stop and should have come to its end, but has not.

    The status is 1 then, and a line says where the main thread stands. A thread of the system's looks after
    it, from the beginning of the context on, until the process is gone: on fibers a handler may hold the main
    thread, and at the end the interpreter waits for threads that the program started.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._main_thread = native_thread_id()
        self._ended_at: float | None = None

    def __enter__(self) -> Self:
        # A process that forks should have no second thread, and its handlers are in others.
        if self._server.engine.name != "processes":
            with contextlib.suppress(RuntimeError):  # no thread can be had; seldom one is needed
                start_native_thread(self._look_after)
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended_at = time.monotonic()

    def _look_after(self) -> None:
        while not self._server.is_stopping and self._ended_at is None:
            _sleep(LOOK_INTERVAL)
        asked = time.monotonic()
        # Asked again and again: a second signal shortens the drain.
        while time.monotonic() < self._deadline(asked):
            _sleep(LOOK_INTERVAL)
        where = _described(sys._current_frames().get(self._main_thread))
        _say(f"manyhands: the server does not come to its end{where}: it is ended now")
        os._exit(1)

    def _deadline(self, asked: float) -> float:
        if self._ended_at is None:
            return asked + self._server.seconds_to_drain + AFTER_THE_DRAIN
        return self._ended_at + AFTER_THE_DRAIN


_has_left_threads = False


def note_threads_left() -> None:
    """Note that handlers were cut off, whose threads the interpreter's exit must not wait for."""
    global _has_left_threads  # noqa: PLW0603 - of the process, as its end is
    _has_left_threads = True


def end_process(status: int) -> NoReturn:
    """End the process with `status`; do not wait for handlers that were cut off."""
    if not _has_left_threads:
        sys.exit(status)
    # What the interpreter's exit does, without what waits for threads or for the locks that they hold.
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)


def _described(frame: FrameType | None) -> str:
    if frame is None:
        return ""
    return f" ({frame.f_code.co_qualname}, {frame.f_code.co_filename}:{frame.f_lineno})"


def _say(line: str) -> None:
    """Write a line to standard error, unless that would block."""
    poll = original(select, "poll")()
    poll.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        if poll.poll(0):
            os.write(2, f"{line}\n".encode(errors="backslashreplace"))
