"""An event as one line of a log, for people or for programs.

One event is one line, whatever is in it: what a peer chose, its address on a Unix socket for one, can neither
begin a line of its own nor move a terminal's cursor.
"""

import enum
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from manyhands.model.escaping import escape, escape_json
from manyhands.model.events import Event
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
    return f"{moment(when)} {event.level} {type(event).__name__}: {escape(str(event))}"


def json_line(event: Event, when: float) -> str:
    """Write an event as one JSON object: `time`, `level`, `event`, `message`, and its fields.

    Parameters are those of `text_line`.
    """
    document = {
        "time": moment(when),
        "level": event.level,
        "event": type(event).__name__,
        "message": str(event),
        **measurements(event),
    }
    return escape_json(json.dumps(document, ensure_ascii=False))


def moment(when: float) -> str:
    """Write a time in seconds since 1970 as ``2026-03-01T12:00:00.000Z`` (RFC 3339)."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _of_dataclass(record: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(record, field.name), field.name) for field in fields(record)}


def _peers(value: Any) -> list[str]:
    return [format_address(peer) for peer in value]


_BY_NAME: dict[str, Callable[[Any], Any]] = {
    "peer": format_address,
    "peers": _peers,
    "since": moment,
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
        head = f"{moment(record.created)} {record.levelname.lower()} {record.name}"
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
            "time": moment(record.created),
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
