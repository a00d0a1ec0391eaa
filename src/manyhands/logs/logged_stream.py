"""A stream in the place of standard error: each line that is printed becomes a record of `logging`."""

import io
import logging
import threading
from typing import TextIO

from .subscribers import NAME


class LoggedStream(io.TextIOBase):
    """Logs each line that is written to it, by the logger ``manyhands.stderr``. Thread-safe.

    Each thread's unfinished line is its own, so that what two of them print does not mix. On fibers, where
    one thread is everybody's, a fiber does not wait between two writes of one `print`.

    Parameters
    ----------
    stream : TextIO
        The stream whose place it takes: its descriptor is this one's too.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._unfinished: dict[int, str] = {}

    def write(self, text: str) -> int:
        """Log the lines that `text` completes, and keep the rest."""
        thread = threading.get_ident()
        *lines, rest = (self._unfinished.pop(thread, "") + text).split("\n")
        if rest:
            self._unfinished[thread] = rest
        for line in filter(None, lines):
            logging.getLogger(f"{NAME}.stderr").warning("%s", line)
        return len(text)

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the stream whose place it takes."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Tell that no person reads along: nothing is to be coloured."""
        return False
