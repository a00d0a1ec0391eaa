"""By which a forked process learns that the process which made it has ended, be it by SIGKILL."""

import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Callable

from manyhands.runtime.fork_hooks import renew_in_copies


class Lifeline:
    """A pipe whose writing end one process holds: when that ends, or closes it, its copies get a signal.

    Not PR_SET_PDEATHSIG (prctl(2)), which tells of the end of the thread that forked.

    Raises
    ------
    OSError
        When no descriptors can be had.
    """

    def __init__(self) -> None:
        self._has_told = False
        self._reader = self._writer = -1  # should the next line fail
        self._reader, self._writer = os.pipe()
        renew_in_copies(self, Lifeline._drop_writer)

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    def watch(self, act: Callable[[], object]) -> None:
        """In a copy of the process: have `act` called in its main thread once the original has ended.

        It is called by a handler of SIGIO, between two lines of the program, for which a wait of the
        system's is interrupted (EINTR). Where the system has no /proc, nothing is watched.
        """
        with contextlib.suppress(OSError, ValueError):
            # Opened anew: copies of one descriptor have one owner that gets signals (F_SETOWN in fcntl(2)).
            # CLOEXEC, so that a program which takes the handler's place gets none.
            own = os.open(
                f"/proc/self/fd/{self._reader}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            signal.signal(signal.SIGIO, lambda *_: self._look(act))
            fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
            os.close(self._reader)
            self._reader = own
            self._look(act)  # it may have ended before the signal was asked for

    def _look(self, act: Callable[[], object]) -> None:
        """Call `act` once the original has ended; from then on the end of any copy is a signal, too."""
        poll = select.poll()
        poll.register(self._reader, 0)
        if self._has_told or not poll.poll(0):
            return
        self._has_told = True
        # No thread can be had for it, say: no error of the handler's, which the signal has interrupted.
        with contextlib.suppress(RuntimeError):
            act()

    def close(self) -> None:
        """Give the descriptors back. Once more does no harm."""
        self._drop_writer()
        reader, self._reader = self._reader, -1
        if reader >= 0:
            os.close(reader)

    __del__ = close
