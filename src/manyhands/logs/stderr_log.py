"""The log on standard error: events and records as lines, behind one queue."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from manyhands.logs.line_writer import LineWriter
from manyhands.logs.lines import VERBATIM, JSONLines, PlainLines, TextLines
from manyhands.logs.records import NAME, RecordQueue, record_of
from manyhands.logs.uncaught import LoggedStream, take_over
from manyhands.model.event_hub import event_hub
from manyhands.model.events import ConnectionClosed, Event, LinesLost
from manyhands.model.usage_errors import Mistake

Form = Literal["text", "json"]


class StderrHandler(logging.Handler):
    """Writes records to standard error in a thread of its own, so that no other waits for it.

    Parameters
    ----------
    formatter : logging.Formatter
        Makes the line of a record.
    queued : bool
        False: the thread writes in which a record was made, and waits for that.
    """

    def __init__(self, formatter: logging.Formatter, *, queued: bool = True) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._writer = LineWriter(
            lambda count, why: f"{self.format(record_of(NAME, LinesLost(count, why)))}\n",
            # Programs read it, wherever (RFC 8259, section 8.1).
            "utf-8" if isinstance(formatter, JSONLines) else None,
        )
        self._queue = RecordQueue(self._write, handle_within=self._write_within)
        self.emit = self._queue.put if queued else self._queue.consume_now  # type: ignore[method-assign]

    def handle(self, record: logging.LogRecord) -> bool:
        """Handle a record, without the lock of other handlers: the queue needs none."""
        is_wanted = bool(self.filter(record))
        if is_wanted:
            self.emit(record)
        return is_wanted

    def _write(self, record: logging.LogRecord, timeout: float | None = None) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - of a program's arguments; a log never fails its server
            text = f"a record of {record.name} cannot be written: {type(error).__name__}"
        end = "" if hasattr(record, VERBATIM) else "\n"
        self._writer.write(f"{text}{end}", timeout)

    def _write_within(self, record: logging.LogRecord, deadline: float) -> None:
        self._write(record, deadline - time.monotonic())

    def close(self) -> None:
        """Wait for what is queued, for half a second at most."""
        self._queue.close()
        super().close()


class StderrLog:
    """A log on standard error, from `begin` to `end`. The methods are for one thread.

    Parameters
    ----------
    formatter : logging.Formatter
        Makes the line of a record.
    access : bool
        Whether each connection that ends is logged too.
    queued : bool
        As of `StderrHandler`.
    """

    def __init__(
        self, formatter: logging.Formatter, *, access: bool = False, queued: bool = True
    ) -> None:
        self._handler = StderrHandler(formatter, queued=queued)
        self._is_verbatim = not isinstance(formatter, JSONLines)
        self._access = access
        self._ends: list[Callable[[], object]] = []

    def log_events(self) -> None:
        """Log all events from now on, and what is logged by their logger."""
        logger = logging.getLogger(NAME)
        before = logger.level, logger.propagate
        logger.addHandler(self._handler)
        # The root's level is `warning` unless the program sets another.
        logger.setLevel(logging.INFO)
        # The program's own handlers may write to standard error too, and each event would be there twice.
        logger.propagate = False

        def end() -> None:
            logger.removeHandler(self._handler)
            level, logger.propagate = before
            logger.setLevel(level)

        # Not by way of the logger: a program that configures `logging` may disable it.
        self._ends += [
            end,
            event_hub.subscribe(self._log_event, *([Event] if self._access else [])),
        ]

    def _log_event(self, event: Event) -> None:
        kind = f"{NAME}.access" if isinstance(event, ConnectionClosed) else NAME
        self._handler.handle(record_of(kind, event))

    def log_errors(self) -> None:
        """Log from now on what would be printed of errors and warnings: see `take_over`."""
        self._ends.append(take_over(self._handler.handle))

    def log_prints(self) -> None:
        """Log from now on what is printed to standard error; as it is, but in a log of JSON lines."""
        stderr = sys.stderr
        stream = LoggedStream(stderr, self._handler.handle, verbatim=self._is_verbatim)
        sys.stderr = stream

        def end() -> None:
            stream.flush()
            if sys.stderr is stream:
                sys.stderr = stderr

        self._ends.append(end)

    def say(self, level: int, message: object, exception: Any = None) -> None:
        """Log a message of our own; `exception` as `logging` has it."""
        record = logging.getLogger(NAME).makeRecord(NAME, level, "", 0, "%s", (message,), exception)
        self._handler.handle(record)

    def end(self) -> None:
        """Have everything as it was; what waits is written first, for half a second at most."""
        while self._ends:
            self._ends.pop()()
        self._handler.close()


def formatter_of(form: Form | None, sentence: Callable[[Event], str] = str) -> logging.Formatter:
    """Return what makes the lines of a form; without one plain lines, with `sentence` of an event.

    Raises
    ------
    Mistake
        When there is no such form.
    """
    if form not in {None, "text", "json"}:
        raise Mistake(f"a log is written as 'text' or 'json', not as {form!r}")
    if form == "json":
        return JSONLines()
    return TextLines() if form == "text" else PlainLines(sentence)


def to_stderr(
    form: Form = "text", *, access: bool = False, queued: bool = True
) -> Callable[[], None]:
    """Log every event to standard error, whatever the program does with its own logs.

    What standard error does not take costs lines, which are counted, and told of when it takes some again.

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

    Raises
    ------
    Mistake
        When there is no such form.
    """
    log = StderrLog(formatter_of(form), access=access, queued=queued)
    log.log_events()
    return log.end
