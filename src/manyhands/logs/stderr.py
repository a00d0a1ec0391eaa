"""A log on standard error."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Literal

from .formatters import JSONLines, TextLines
from .subscribers import NAME, to_logging

Form = Literal["text", "json"]

FORMS: tuple[Form, ...] = ("text", "json")


class StderrHandler(logging.Handler):
    """Writes to the descriptor of standard error.

    Past the stream `sys.stderr`, whose lock a forked handler would find held for ever if this thread was just
    writing.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; nothing where there is no standard error."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - as every handler of `logging`
            self.handleError(record)
            return
        left = line.encode(errors="backslashreplace")
        # A program that is started without one has None there; a pipe may have no reader any more.
        with contextlib.suppress(OSError, AttributeError, ValueError):
            while left:
                left = left[os.write(sys.stderr.fileno(), left) :]


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
    handler = StderrHandler()
    handler.setFormatter(JSONLines() if form == "json" else TextLines())
    logger = logging.getLogger(NAME)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    end = to_logging(access=access, queued=queued)

    def end_all() -> None:
        end()
        logger.removeHandler(handler)

    return end_all
