"""Writes the log to standard error, in whatever state that is."""

import os
import sys
import time
from collections.abc import Callable

from manyhands.runtime.error_reports import encoding_of
from manyhands.runtime.sockets import AT_ONCE, descriptor_of, takes_more


class LineWriter:
    """Writes text to the descriptor of standard error, and counts the pieces that could not be written.

    For one thread at a time. Past the stream `sys.stderr`: its lock would be held while a pipe is full; the
    exit of the interpreter, and a forked copy, would then find it held for ever.

    Parameters
    ----------
    notice
        Makes the text that tells of so many lost ones, and why the last of them was.
    encoding
        That of the text; None: that of standard error, in which the terminal is.
    """

    def __init__(self, notice: Callable[[int, str], str], encoding: str | None = None) -> None:
        self._notice = notice
        self._encoding = encoding
        self._untold = 0
        self._why = ""
        self._is_torn = False
        """Whether the disk took only the beginning of a line."""

    def write(self, text: str, timeout: float | None = None) -> None:
        """Write `text`, after the notice of what was lost before it, if anything was.

        Parameters
        ----------
        text
            One line or more, with their ends.
        timeout
            Seconds that standard error gets to take it; None: as long as it wants.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._untold:
            # The notice of what was lost comes first: it can be written only where a write works again.
            count, why = self._untold, self._why
            if not self._has_written(self._notice(count, why), deadline):
                self._untold += 1
                return
            self._untold -= count
        if not self._has_written(text, deadline):
            self._untold += 1

    def _has_written(self, text: str, deadline: float | None) -> bool:
        descriptor = descriptor_of(sys.stderr)
        if descriptor < 0:
            self._why = "standard error is closed"
            return False
        start = "\n" if self._is_torn else ""
        encoding = self._encoding or encoding_of(sys.stderr)
        data = f"{start}{text}".encode(encoding, "backslashreplace")
        left = data
        try:
            while left:
                left = left[_write_some(descriptor, left, deadline) :]
        except OSError as error:
            # ENOSPC, EBADF, EPIPE (its reader has gone), EIO (its terminal has), or not in time.
            self._why = error.strerror or str(error)
            self._is_torn = self._is_torn or len(left) < len(data)
            return False
        self._is_torn = False
        return True


def _write_some(descriptor: int, data: bytes, deadline: float | None) -> int:
    if deadline is not None:
        if not takes_more(descriptor, deadline - time.monotonic()):
            raise TimeoutError("it takes no more")
        return os.write(descriptor, data[:AT_ONCE])
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        # Another program that has the same pipe or terminal has made it non-blocking (fcntl(2)).
        takes_more(descriptor, None)
        return 0
