"""Subscribers to the events: `logging`, lines on standard error, and any other behind a queue.

One event is one line, for people or for programs, whatever is in it: what a peer chose, its address on a Unix
socket for one, can neither begin a line of its own nor move a terminal's cursor.
"""

import contextlib
import enum
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from manyhands.logs.bounded_queue import LIMIT, BoundedQueue
from manyhands.model.escaping import escape, escape_json
from manyhands.model.event_hub import event_hub
from manyhands.model.events import ConnectionClosed, Event, EventsDropped, Subscriber
from manyhands.model.socket_addresses import format_address


def measurements(event: Event) -> dict[str, Any]:
    """Return the fields of an event by their names, as JSON has such values (RFC 8259).

    The address of a peer is text, as people write it, and so is a moment (RFC 3339). Bytes are only counted.
    """
    return _of_dataclass(event)


def text_line(event: Event, when: float) -> str:
    """Write an event for people: when, how serious, what kind, and its sentence.

    Parameters
    ----------
    event : Event
        The event.
    when : float
        When it happened, in seconds since 1970 (`time.time`).
    """
    return f"{iso_time(when)} {event.level} {type(event).__name__}: {escape(str(event))}"


def json_line(event: Event, when: float) -> str:
    """Write an event as one JSON object: `time`, `level`, `event`, `message`, and its fields.

    Parameters are those of `text_line`.
    """
    document = {
        "time": iso_time(when),
        "level": event.level,
        "event": type(event).__name__,
        "message": str(event),
        **measurements(event),
    }
    return escape_json(json.dumps(document, ensure_ascii=False))


def iso_time(when: float) -> str:
    """Write a time in seconds since 1970 as ``2026-03-01T12:00:00.000Z`` (RFC 3339)."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _of_dataclass(record: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(record, field.name), field.name) for field in fields(record)}


def _peers(value: Any) -> list[str]:
    return [format_address(peer) for peer in value]


_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "peer": format_address,
    "peers": _peers,
    "since": iso_time,
}
"""How people write the fields of these names; their types, tuples and floats, would not tell."""


def _plain(value: Any, name: str = "") -> Any:
    if name in _BY_NAME:
        return _BY_NAME[name](value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        # JSON has no infinity (RFC 8259, section 6); `json` would write one, which few programs read.
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _contents(value)


def _contents(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        # What a client sent stays out of the log.
        return f"{len(value)} bytes"
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return _of_dataclass(value)
    return str(value)


class TextLines(logging.Formatter):
    """Writes an event as ``2026-03-01T12:00:00.000Z warning EngineFull: ...``, other records alike.

    A formatter for any handler of `logging`. A traceback follows its record's line, as ever.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        event = getattr(record, "event", None)
        if event is not None:
            return text_line(event, record.created)
        head = f"{iso_time(record.created)} {record.levelname.lower()} {record.name}"
        return f"{head}: {escape(record.getMessage())}{_traceback(self, record)}"


class JSONLines(logging.Formatter):
    """Writes an event as one JSON object with its fields, other records with their logger and message.

    A formatter for any handler of `logging`. A traceback is a field of its own: a record is one line, always.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        event = getattr(record, "event", None)
        if event is not None:
            return json_line(event, record.created)
        document = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        traceback = _traceback(self, record).lstrip("\n")
        if traceback:
            document["traceback"] = traceback
        return escape_json(json.dumps(document, ensure_ascii=False))


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info:
        return ""
    return "\n" + formatter.formatException(record.exc_info)


NAME = "manyhands"
"""The logger of events; that of connections which end is its child ``access``."""

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Queued(BoundedQueue[Event]):
    """A subscriber that the server does not wait for: another one, behind a queue and in a thread.

    Parameters
    ----------
    subscriber
        Called with each event, in the thread. When it is too slow, events are dropped, and `EventsDropped`
        tells it how many.
    limit
        How many events may wait.
    """

    def __init__(self, subscriber: Subscriber, limit: int = LIMIT) -> None:
        super().__init__(subscriber, EventsDropped, limit)

    def __call__(self, event: Event) -> None:
        """Have the subscriber called soon."""
        self.put(event)


def to_logging(
    name: str = NAME, *, access: bool = False, queued: bool = True, limit: int = LIMIT
) -> Callable[[], None]:
    """Hand every event to `logging`, as a record that has it as its attribute `event`.

    Parameters
    ----------
    name : str
        The logger. The level is the event's own: `info`, `warning` or `error`.
    access : bool
        Whether each connection that ends is logged too, by the logger's child ``access``.
    queued : bool
        Whether the handlers run in a thread of their own, so that the server does not wait for them;
        else in the thread in which the event happened. A process that forks for its connections (the engine
        ``processes``) should have no second thread.
    limit : int
        How many records may wait for the handlers; what comes then is dropped, and counted in one record.

    Returns
    -------
    callable
        Call it to end that: what waits is handled first, for a second at most.
    """
    queue = BoundedQueue(_handle, lambda count: record_of(name, EventsDropped(count)), limit)
    consume = queue.put if queued else _handle

    def subscriber(event: Event) -> None:
        kind = f"{name}.access" if isinstance(event, ConnectionClosed) else name
        # Asked first: a sentence is made for no log that does not want it.
        if logging.getLogger(kind).isEnabledFor(_LEVELS[event.level]):
            consume(record_of(kind, event))

    unsubscribe = event_hub.subscribe(subscriber, *([Event] if access else []))

    def end() -> None:
        unsubscribe()
        queue.close()

    return end


def record_of(name: str, event: Event) -> logging.LogRecord:
    """Make the record of an event, for the logger called `name`."""
    # Made where the event happened: the time, the process and the thread are those.
    return logging.getLogger(name).makeRecord(
        name, _LEVELS[event.level], "", 0, escape(str(event)), (), None, extra={"event": event}
    )


def _handle(record: logging.LogRecord) -> None:
    logging.getLogger(record.name).handle(record)


Form = Literal["text", "json"]


def write_line(line: str) -> None:
    """Write a line to the descriptor of standard error, unless it is closed or its reader has gone."""
    left = f"{line}\n".encode(errors="backslashreplace")
    # Past the stream `sys.stderr`: its lock is held while a pipe is full; a forked handler would then find it
    # held for ever, and so would the exit of the interpreter.
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
        Whether a thread of its own writes, so that no other waits for it.
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
    # The root's level is `warning` unless the program sets another.
    logger.setLevel(logging.INFO)
    # The program's own handlers may write to standard error too, and each event would be there twice.
    logger.propagate = False
    # The handler has a queue of its own.
    end = to_logging(access=access, queued=False)

    def end_all() -> None:
        end()
        logger.removeHandler(handler)
        level, logger.propagate = before
        logger.setLevel(level)
        handler.close()

    return end_all
