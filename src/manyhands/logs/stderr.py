"""A stream in the place of standard error: each line that is printed becomes a record of `logging`."""

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Literal, TextIO

from manyhands.logs.bounded_queue import BoundedQueue
from manyhands.logs.lines import JSONLines, TextLines
from manyhands.logs.subscribers import NAME, record_of, to_logging
from manyhands.model.events import EventsDropped


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


# Lines on standard error, which may be a pipe that nobody reads.

Form = Literal["text", "json"]


def write_line(line: str) -> None:
    """Write a line to the descriptor of standard error; nothing where there is none, or nobody reads it.

    Past the stream `sys.stderr`: its lock is held while the pipe is full; a forked handler would then find
    it held for ever, and so would the exit of the interpreter.
    """
    left = f"{line}\n".encode(errors="backslashreplace")
    with contextlib.suppress(OSError, AttributeError, ValueError):
        while left:
            left = left[os.write(sys.stderr.fileno(), left) :]


class StderrHandler(logging.Handler):
    """Formats records for standard error.

    Parameters
    ----------
    form : str
        ``"text"`` or ``"json"``: `TextLines` or `JSONLines`.
    queued : bool
        Whether a thread writes, so that nobody waits for it.
    """

    def __init__(self, form: Form, *, queued: bool) -> None:
        super().__init__()
        self.setFormatter(JSONLines() if form == "json" else TextLines())
        self._queue = BoundedQueue(write_line, self._of_dropped)
        self._write = self._queue.put if queued else write_line

    def _of_dropped(self, count: int) -> str:
        return self.format(record_of(NAME, EventsDropped(count)))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of `logging`
            self.handleError(record)
        else:
            self._write(line)

    def close(self) -> None:
        """Wait for what is queued, for a second at most."""
        self._queue.close()
        super().close()


def to_stderr(
    form: Form = "text", *, access: bool = False, queued: bool = True
) -> Callable[[], None]:
    """Log every event to standard error, whatever the program does with its own logs.

    Parameters
    ----------
    form : str
        ``"text"`` or ``"json"``: `TextLines` or `JSONLines`.
    access, queued : bool
        As of `to_logging`.

    Returns
    -------
    callable
        Call it to end that.
    """
    handler = StderrHandler(form, queued=queued)
    logger = logging.getLogger(NAME)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    end = to_logging(access=access, queued=False)

    def end_all() -> None:
        end()
        logger.removeHandler(handler)
        level, logger.propagate = before
        logger.setLevel(level)
        handler.close()

    return end_all
