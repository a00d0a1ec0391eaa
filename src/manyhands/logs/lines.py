"""Events and records as lines: for people, dated ones, and JSON.

One event is one line, for people or for programs, whatever is in it: what a peer chose, its address on a Unix
socket for one, can neither begin a line of its own nor move a terminal's cursor.
"""

import enum
import functools
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from manyhands.model.escaping import escape, escape_json
from manyhands.model.events import Event
from manyhands.model.socket_addresses import address_text
from manyhands.runtime.worker_number import worker_number


def measurements(event: Event) -> dict[str, Any]:
    """Return the fields of an event by their names, as JSON has such values (RFC 8259).

    The address of a peer is text, as people write it, and so is a moment (RFC 3339). Bytes are only counted.
    """
    return _of_dataclass(event)


def text_line(event: Event, when: float, level: str | None = None) -> str:
    """Write an event for people: when, how serious, what kind, and its sentence; in a worker its number too.

    Parameters
    ----------
    event : Event
        The event.
    when : float
        When it happened, in seconds since 1970 (`time.time`).
    level : str, optional
        How serious it is; by default the event's own level.
    """
    head = f"{iso_time(when)} {level or event.level} {type(event).__name__}"
    return f"{head}: {_of_worker()}{escape(str(event))}"


def json_line(event: Event, when: float, level: str | None = None) -> str:
    """Write an event as one JSON object: `time`, `level`, `event`, `message`, and its fields.

    In a worker `worker` is its number.

    Parameters are those of `text_line`.
    """
    document = {
        "time": iso_time(when),
        "level": level or event.level,
        "event": type(event).__name__,
        "message": str(event),
        **_worker_field(),
        **measurements(event),
    }
    return escape_json(json.dumps(document, ensure_ascii=False))


def _of_worker() -> str:
    """Return what a line of a worker begins with: several write one log."""
    number = worker_number()
    return f"worker {number}: " if number else ""


def _worker_field() -> dict[str, int]:
    number = worker_number()
    return {"worker": number} if number else {}


def iso_time(when: float) -> str:
    """Write a time in seconds since 1970 as ``2026-03-01T12:00:00.000Z`` (RFC 3339)."""
    second, microsecond = divmod(round(when * 1e6), 1_000_000)
    return f"{_second(second)}.{microsecond // 1000:03}Z"


@functools.lru_cache(maxsize=64)
def _second(second: int) -> str:
    # Of thousands of events most are of the same few seconds.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _of_dataclass(record: Any) -> dict[str, Any]:
    return {
        name: _plain(getattr(record, name), name) for name in _names_of_fields(record.__class__)
    }


@functools.cache
def _names_of_fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _peers(value: Any) -> list[str]:
    return [address_text(peer) for peer in value]


_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "peer": address_text,
    "peers": _peers,
    "since": iso_time,
    "not_after": iso_time,
}
"""How people write the fields of these names; their types, tuples and floats, would not tell."""


_IN_JSON = frozenset({int, str, bool, type(None)})
"""The types whose values JSON has, but for their subclasses, which enumerations may be."""


def _plain(value: Any, name: str = "") -> Any:
    if name in _BY_NAME:
        return _BY_NAME[name](value)
    if type(value) in _IN_JSON:
        return value
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


VERBATIM = "verbatim"
"""The attribute of a record that is shown as it is: what a program printed, with its own end."""


class PlainLines(logging.Formatter):
    """Writes a record as ``manyhands: ...``: for people at a terminal.

    Parameters
    ----------
    sentence : callable, optional
        Writes an event; its own text by default.
    """

    def __init__(self, sentence: Callable[[Event], str] = str) -> None:
        super().__init__()
        self._sentence = sentence

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        if hasattr(record, VERBATIM):
            return record.getMessage()
        event = getattr(record, "event", None)
        text = record.getMessage() if event is None else self._sentence(event)
        return f"manyhands: {_of_worker()}{_escaped(text)}{_traceback(self, record)}"


class TextLines(logging.Formatter):
    """Writes an event as ``2026-03-01T12:00:00.000Z warning EngineFull: ...``, other records alike.

    A formatter for any handler of `logging`. A traceback follows its record's line, as ever.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        if hasattr(record, VERBATIM):
            return record.getMessage()
        event = getattr(record, "event", None)
        if event is not None:
            return text_line(event, record.created, record.levelname.lower())
        head = f"{iso_time(record.created)} {record.levelname.lower()} {record.name}"
        return f"{head}: {_of_worker()}{escape(record.getMessage())}{_traceback(self, record)}"


class JSONLines(logging.Formatter):
    """Writes an event as one JSON object with its fields, other records with their logger and message.

    A formatter for any handler of `logging`. A traceback is a field of its own: a record is one line, always.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        event = getattr(record, "event", None)
        if event is not None:
            return json_line(event, record.created, record.levelname.lower())
        document = {
            "time": iso_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_worker_field(),
        }
        traceback = _traceback_of(self, record)
        if traceback:
            document["traceback"] = traceback
        return escape_json(json.dumps(document, ensure_ascii=False))


def _traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    # A record that has been through a queue has the text alone.
    if record.exc_text or not record.exc_info:
        return record.exc_text or ""
    return formatter.formatException(record.exc_info)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    text = _traceback_of(formatter, record)
    return f"\n{_escaped(text)}" if text else ""


def _escaped(text: str) -> str:
    # Each line by itself: a stack has several, and what a peer chose must not move the cursor.
    return "\n".join(map(escape, text.split("\n")))
