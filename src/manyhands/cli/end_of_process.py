"""The end of a command that serves: it comes in time, whatever handlers do.

The interpreter's own exit waits for threads that are no daemons, for ever if need be, and aborts when a
daemon is inside `input()`, for it wants the lock of standard input then (``_enter_buffered_busy`` in
``Modules/_io/bufferedio.c``). On fibers a handler that never lets go holds the main thread too.
"""

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Self

from manyhands.runtime.sockets import descriptor_of, takes_more
from manyhands.runtime.unpatched import native_thread_id, original, start_native_thread

if TYPE_CHECKING:
    from manyhands.server import Server

_sleep = original(time, "sleep")

SIGNALLED = 128
"""Shells report a command that a signal ended as 128 and the signal's number."""

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


_is_own_process = False


def note_own_process() -> None:
    """Note that the process is there for the command, and ends with it."""
    global _is_own_process  # noqa: PLW0603 - of the process
    _is_own_process = True


def heed_stop_signals(stop: Callable[[], None]) -> None:
    """Have SIGINT and SIGTERM call `stop` until the process is gone, unless a server handles them.

    So one that comes when the server has stopped, and the process is about to end, does not make a failure of
    that.
    """
    if not _is_own_process:
        return
    from manyhands.server.process import HandledSignals, ignore_stop_signals_at_exit

    HandledSignals({signal.SIGINT: stop, signal.SIGTERM: stop}).__enter__()
    ignore_stop_signals_at_exit()


def end_soon() -> None:
    """Have the process end in `AFTER_THE_DRAIN` seconds, with the status 1, if it has not by then."""

    def end() -> None:
        _sleep(AFTER_THE_DRAIN)
        os._exit(1)

    with contextlib.suppress(RuntimeError):
        start_native_thread(end)


_has_left_threads = False


def note_threads_left() -> None:
    """Note that handlers were cut off, whose threads the interpreter's exit must not wait for."""
    global _has_left_threads  # noqa: PLW0603 - of the process, as its end is
    _has_left_threads = True


OUTPUT_TIMEOUT = 0.5
"""Seconds that the log and standard output get at the end of a service for what waits, in all."""

_output_deadline: float | None = None


def note_end_of_service() -> None:
    """Note that a service has ended: its output has `OUTPUT_TIMEOUT` from now on."""
    global _output_deadline  # noqa: PLW0603 - as above
    _output_deadline = time.monotonic() + OUTPUT_TIMEOUT


def leave_if_stuck(status: object) -> None:
    """End the process at once where a service has ended, and standard output or standard error takes no more.

    The interpreter flushes both at its end, and waits there for their readers, and for a lock that a thread
    holds which is stuck in one.
    """
    if _output_deadline is None:
        return
    left = _output_deadline - time.monotonic()
    descriptors = [descriptor_of(stream) for stream in (sys.__stdout__, sys.__stderr__)]
    if not all(takes_more(each, left) for each in descriptors if each >= 0):
        atexit._run_exitfuncs()
        os._exit(status if isinstance(status, int) else 1)


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
    # Not 2 in any case: where that was closed at the start, it is a client's descriptor by now.
    descriptor = descriptor_of(sys.__stderr__)
    with contextlib.suppress(OSError):
        if descriptor >= 0 and takes_more(descriptor):
            os.write(descriptor, f"{line}\n".encode(errors="backslashreplace"))
