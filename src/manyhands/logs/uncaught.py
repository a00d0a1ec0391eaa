"""What Python and programs write to standard error by themselves, as records of `logging`.

A log that is stuck must hold up no server, and one of JSON lines is read by a program, which one traceback
between them stops. So all of this is taken over: what `handle_error` reports, exceptions that were not caught
(of the program, of threads and of destructors), warnings, and lines that are printed.
"""

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from manyhands.logs.lines import VERBATIM
from manyhands.logs.records import LONGEST_TEXT, NAME, REPEATS
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.error_reports import encoding_of, is_undecoded_name, report_by

Handle = Callable[[logging.LogRecord], object]
"""Handles a record."""

LONGEST_LINE = 8192
"""Characters of a line that are kept until its end comes: as many as a stream of text would keep."""


class LoggedStream(io.TextIOBase):
    """Logs each line that is written to it, by the logger ``manyhands.stderr``. Thread-safe.

    Each thread has an unfinished line of its own, so that what two of them print does not mix. Fibers share
    a thread, but none waits between the two writes of one `print`.

    Parameters
    ----------
    stream : TextIO or None
        The stream whose place it takes: its descriptor is this one's too. None where there is none.
    handle : callable, optional
        Handles the records; by default the logger does.
    verbatim : bool
        Whether the lines are shown as they are, and unfinished ones when they are flushed: else each is a
        record like any other.
    """

    def __init__(
        self, stream: TextIO | None, handle: Handle | None = None, *, verbatim: bool = False
    ) -> None:
        self._stream = stream
        self._logger = logging.getLogger(f"{NAME}.stderr")
        self._handle = handle or self._logger.handle
        self._is_verbatim = verbatim
        self._unfinished: dict[int, str] = {}
        self.buffer = _Bytes(self)
        """What takes bytes, as of other text streams."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the bytes that its `buffer` takes."""
        return encoding_of(self._stream)

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What becomes of other bytes."""
        return "backslashreplace"

    def write(self, text: str) -> int:
        """Log the lines that `text` completes, and keep the rest."""
        # `print` writes a line and its end apart.
        thread = threading.get_ident()
        lines, end, rest = (self._unfinished.pop(thread, "") + text).rpartition("\n")
        if len(rest) >= LONGEST_LINE:
            # A program may print without ever ending a line: its progress as dots, say.
            lines, end, rest = f"{lines}{end}{rest}", "", ""
        if rest:
            self._unfinished[thread] = rest
        if self._is_verbatim:
            self._log_pieces(f"{lines}{end}")
        else:
            for line in filter(None, lines.split("\n")):
                self._log(line)
        return len(text)

    def flush(self) -> None:
        """Show the unfinished line of the calling thread, where lines are shown as they are."""
        if self._is_verbatim and (rest := self._unfinished.pop(threading.get_ident(), "")):
            self._log(rest)

    def _log_pieces(self, text: str) -> None:
        # In pieces: what waits is bounded by their number.
        for start in range(0, len(text), LONGEST_TEXT):
            self._log(text[start : start + LONGEST_TEXT])

    def _log(self, text: str) -> None:
        extra = {VERBATIM: True} if self._is_verbatim else None
        if self._logger.isEnabledFor(logging.WARNING) or self._is_verbatim:
            self._handle(
                self._logger.makeRecord(
                    self._logger.name, logging.WARNING, "", 0, "%s", (text,), None, extra=extra
                )
            )

    def __getattr__(self, name: str) -> Any:
        # What else a program asks of its standard error, as `reconfigure` and `name`. (Not of a name of our
        # own, which it asks for before it is set.)
        if name.startswith("_") or self._stream is None:
            raise AttributeError(f"standard error has no attribute {name!r}")
        return getattr(self._stream, name)

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the stream whose place it takes."""
        if self._stream is None:
            raise io.UnsupportedOperation("standard error is closed")
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Tell whether a terminal shows what is written as it is: then programs may colour it."""
        return self._is_verbatim and self._stream is not None and self._stream.isatty()


class _Bytes(io.RawIOBase):
    """Takes bytes for a stream of text."""

    def __init__(self, stream: LoggedStream) -> None:
        self._text = stream

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode(self._text.encoding, self._text.errors))
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._text.__getattr__("buffer"), name)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def flush(self) -> None:
        self._text.flush()


class _Uncaught:
    """The hooks that make records of what was not caught."""

    def __init__(self, handle: Handle | None) -> None:
        self._handle = handle

    def _log(self, level: int, message: str, exception: Any = None, **extra: object) -> None:
        logger = logging.getLogger(NAME)
        if self._handle is None and not logger.isEnabledFor(level):
            return
        record = logger.makeRecord(NAME, level, "", 0, "%s", (message,), exception, extra=extra)
        (self._handle or logger.handle)(record)

    def _log_error(self, message: str, exception: Any, in_what: str, peer: object = None) -> None:
        kind, _, where = exception
        # Of one place in the program, and not of one text: that may hold what the client sent.
        name = f"{kind.__name__} in {in_what}{_place(where)}"
        self._log(logging.ERROR, message, exception, **{REPEATS: name, "peer": peer})

    def report(self, client_address: object) -> None:
        """Report the exception that is being handled: of a handler, or of a hook."""
        client = "" if client_address is None else f" of {format_address(client_address)}"
        error = sys.exc_info()
        name = "an exception" if error[0] is None else error[0].__name__
        message = f"{name} ended the processing of a request{client}"
        if error[0] is None:
            self._log(logging.ERROR, message)
        else:
            self._log_error(message, error, "a request", client_address)

    def uncaught(
        self, kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        """As `sys.excepthook`."""
        self._log_error(f"{kind.__name__} was not caught", (kind, error, where), "the program")

    def uncaught_in_thread(self, arguments: threading.ExceptHookArgs) -> None:
        """As `threading.excepthook`."""
        if arguments.exc_type is SystemExit:
            return  # it ends the thread and is no error: `threading.excepthook` is silent too
        error = arguments.exc_value or arguments.exc_type()
        name = "a thread" if arguments.thread is None else f"the thread {arguments.thread.name}"
        self._log_error(
            f"{arguments.exc_type.__name__} ended {name}",
            (arguments.exc_type, error, arguments.exc_traceback),
            "a thread",
        )

    def unraisable(self, arguments: "sys.UnraisableHookArgs") -> None:
        """As `sys.unraisablehook`."""
        if is_undecoded_name(arguments):
            return  # an event tells of the handshake, and the name is the client's
        # Bytes, a string: what a client sent, perhaps.
        about = arguments.object
        what = f": {type(about).__name__}" if isinstance(about, bytes | str) else f": {about!r}"
        error = arguments.exc_value or arguments.exc_type()
        self._log_error(
            f"{arguments.err_msg or 'Exception ignored in'}{what}",
            (arguments.exc_type, error, arguments.exc_traceback),
            "a destructor or a callback",
        )

    def warn(  # noqa: PLR0913, PLR0917 - the hook's form
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,  # noqa: ARG002 - the hook's form
        line: str | None = None,  # noqa: ARG002
    ) -> None:
        """As `warnings.showwarning`."""
        place = f"{filename}:{lineno}"
        what = {REPEATS: f"{category.__name__} at {place}"}
        self._log(logging.WARNING, f"{category.__name__}: {message} ({place})", **what)


def _place(where: TracebackType | None) -> str:
    """Say where an exception was raised."""
    if where is None:
        return ""
    while where.tb_next is not None:
        where = where.tb_next
    return f" at {where.tb_frame.f_code.co_filename}:{where.tb_lineno}"


def take_over(handle: Handle | None = None) -> Callable[[], None]:
    """Log what would be printed as a traceback or a warning.

    Parameters
    ----------
    handle : callable, optional
        Handles the records; by default the logger of the events does.

    Returns
    -------
    callable
        Call it to have everything as it was.
    """
    hooks = _Uncaught(handle)
    places: tuple[tuple[Any, str, Any], ...] = (
        (sys, "excepthook", hooks.uncaught),
        (sys, "unraisablehook", hooks.unraisable),
        (threading, "excepthook", hooks.uncaught_in_thread),
        (warnings, "showwarning", hooks.warn),
    )
    end_reports = report_by(hooks.report)
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, hook in places:
        setattr(module, name, hook)

    def end() -> None:
        end_reports()
        for module, name, hook in before:
            setattr(module, name, hook)

    return end
