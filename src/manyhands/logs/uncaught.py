"""What Python and programs write to standard error by themselves, as records of `logging`.

A log of JSON lines is read by a program, and one traceback between them stops it. For such a log all of this
is taken over: what `handle_error` reports, exceptions that were not caught (of the program, of threads and of
destructors), warnings, and lines that are printed.
"""

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from manyhands.logs.subscribers import NAME
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.error_reports import report_by


class LoggedStream(io.TextIOBase):
    """Logs each line that is written to it, by the logger ``manyhands.stderr``. Thread-safe.

    Each thread has an unfinished line of its own, so that what two of them print does not mix. Fibers share
    a thread, but none waits between the two writes of one `print`.

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
        # `print` writes a line and its end apart.
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
        """Tell that no terminal shows the lines, so that programs do not colour them."""
        return False


def _log(level: int, message: str, exception: Any = None) -> None:
    logging.getLogger(NAME).log(level, "%s", message, exc_info=exception)


def _report(client_address: object) -> None:
    client = "" if client_address is None else f" of {format_address(client_address)}"
    error = sys.exc_info()[0]
    name = "an exception" if error is None else error.__name__
    _log(logging.ERROR, f"{name} ended the processing of a request{client}", sys.exc_info())


def _uncaught(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    _log(logging.ERROR, f"{kind.__name__} was not caught", (kind, error, where))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_type is SystemExit:
        return  # it ends the thread and is no error: `threading.excepthook` is silent too
    error = arguments.exc_value or arguments.exc_type()
    name = "a thread" if arguments.thread is None else f"the thread {arguments.thread.name}"
    _log(
        logging.ERROR,
        f"{arguments.exc_type.__name__} ended {name}",
        (arguments.exc_type, error, arguments.exc_traceback),
    )


def _unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    error = arguments.exc_value or arguments.exc_type()
    what = arguments.err_msg or "Exception ignored in"
    _log(
        logging.ERROR,
        f"{what}: {arguments.object!r}",
        (arguments.exc_type, error, arguments.exc_traceback),
    )


def _warn(  # noqa: PLR0913, PLR0917 - the hook's form
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,  # noqa: ARG001 - the hook's form
    line: str | None = None,  # noqa: ARG001
) -> None:
    _log(logging.WARNING, f"{category.__name__}: {message} ({filename}:{lineno})")


_HOOKS: tuple[tuple[Any, str, Any], ...] = (
    (sys, "excepthook", _uncaught),
    (sys, "unraisablehook", _unraisable),
    (threading, "excepthook", _uncaught_in_thread),
    (warnings, "showwarning", _warn),
)


def take_over() -> Callable[[], None]:
    """Log what would be printed as a traceback or a warning, by the logger of the events.

    Returns
    -------
    callable
        Call it to have everything as it was.
    """
    end_reports = report_by(_report)
    before = [(module, name, getattr(module, name)) for module, name, _ in _HOOKS]
    for module, name, hook in _HOOKS:
        setattr(module, name, hook)

    def end() -> None:
        end_reports()
        for module, name, hook in before:
            setattr(module, name, hook)

    return end
