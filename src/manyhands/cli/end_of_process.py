"""The end of a command that serves: it comes in time, whatever handlers do.

The interpreter's own exit waits for threads that are no daemons, for ever if need be, and aborts when a
daemon is inside `input()`, for it wants the lock of standard input then (``_enter_buffered_busy`` in
``Modules/_io/bufferedio.c``). On fibers a handler that never lets go holds the main thread too.
"""

import atexit
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from manyhands.runtime.error_reports import encoding_of
from manyhands.runtime.sockets import descriptor_of, takes_more
from manyhands.runtime.thread_frames import current_frames
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

OUTPUT_TIMEOUT = 0.5
"""Seconds that the log and standard output get at the end of a service for what waits, in all."""


class EndOfProcess:
    """The end of this process: what was noted for it, and what brings it about. There is one of it."""

    def __init__(self) -> None:
        self._is_of_command = False
        self._has_left_threads = False
        self._output_deadline: float | None = None

    def note_own_process(self) -> None:
        """Note that the process is there for the command, and ends with it."""
        self._is_of_command = True

    def note_threads_left(self) -> None:
        """Note that handlers were cut off, whose threads the interpreter's exit must not wait for."""
        self._has_left_threads = True

    @property
    def has_served(self) -> bool:
        """Whether a service has ended."""
        return self._output_deadline is not None

    def note_end_of_service(self) -> None:
        """Note that a service has ended: its output has `OUTPUT_TIMEOUT` from now on."""
        self._output_deadline = time.monotonic() + OUTPUT_TIMEOUT

    def heed_stop_signals(self, acts: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Have each signal call its function until the process is gone, unless a server handles it.

        So one that comes when the server has stopped does not make a failure of the end.
        """
        if not self._is_of_command:
            return
        from manyhands.server.process import HandledSignals, end_with_servers

        HandledSignals(acts).__enter__()
        end_with_servers()

    @contextmanager
    def comes_in_time(self, server: "Server") -> Iterator[None]:
        """End the process when a server was asked to stop and should have come to its end, but has not.

        The status is 1 then, and a line says where the main thread stands. Not over with the context, but
        with the process: at its end the interpreter waits for threads that the program started.
        """
        watch = _Watch(server)
        # A process that forks should have no second thread, and its handlers are in others.
        if server.engine.name != "processes":
            _end_at(watch.deadline, watch.say_where)
        try:
            yield
        finally:
            watch.note_end()

    def comes_soon(self) -> None:
        """Have the process end in `AFTER_THE_DRAIN` seconds, with the status 1, if it has not by then."""
        deadline = time.monotonic() + AFTER_THE_DRAIN
        _end_at(lambda: deadline)

    def leave_if_stuck(self, status: object) -> None:
        """End the process at once where a service has ended, and an output of its own takes no more.

        The interpreter flushes standard output and standard error at its end, and waits there for their
        readers, and for a lock that a thread holds which is stuck in one.
        """
        if self._output_deadline is None:
            return
        left = self._output_deadline - time.monotonic()
        descriptors = [descriptor_of(stream) for stream in (sys.__stdout__, sys.__stderr__)]
        if not all(takes_more(each, left) for each in descriptors if each >= 0):
            atexit._run_exitfuncs()
            os._exit(status if isinstance(status, int) else 1)

    def come(self, status: int) -> NoReturn:
        """End the process with `status`; do not wait for handlers that were cut off."""
        if not self._has_left_threads:
            sys.exit(status)
        # What the interpreter's exit does, without what waits for threads or for the locks that they hold.
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)


end_of_process = EndOfProcess()


class _Watch:
    """A server that was begun in the calling thread, and when it should have come to its end."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._thread = native_thread_id()
        self._asked_at: float | None = None
        self._seconds = math.nan
        self._told_at = 0.0
        self._ended_at: float | None = None

    def note_end(self) -> None:
        """Note that the server has come to its end."""
        self._ended_at = time.monotonic()

    def deadline(self) -> float:
        """Return when the process must have ended, by `time.monotonic`: never, while it is not to stop."""
        if self._ended_at is not None:
            return self._ended_at + AFTER_THE_DRAIN
        if self._asked_at is None and self._server.is_stopping:
            self._asked_at = time.monotonic()
        if self._asked_at is None:
            return math.inf
        # Anew each time: a second signal shortens the drain, which may have lasted for longer by then.
        seconds = self._server.seconds_to_drain
        if seconds != self._seconds:
            self._seconds, self._told_at = seconds, time.monotonic()
        return max(self._asked_at + seconds, self._told_at) + AFTER_THE_DRAIN

    def say_where(self) -> None:
        """Say that the process is ended, and where the thread stands."""
        where = _described(current_frames(sys._current_frames).get(self._thread))
        _say(f"manyhands: the server does not come to its end{where}: it is ended now")


def _end_at(deadline: Callable[[], float], say: Callable[[], None] | None = None) -> None:
    """Have a thread of the system's end the process, with the status 1, once `deadline` is over.

    It is asked for again and again. Where the system has no thread left, nothing happens.
    """

    def end() -> None:
        while time.monotonic() < deadline():
            _sleep(LOOK_INTERVAL)
        if say is not None:
            say()
        os._exit(1)

    with contextlib.suppress(RuntimeError):
        start_native_thread(end, name="manyhands-end-of-process")


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
            encoding = encoding_of(sys.__stderr__)
            os.write(descriptor, f"{line}\n".encode(encoding, "backslashreplace"))
