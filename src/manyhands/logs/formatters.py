"""Formatters for handlers of `logging`: a line for each record, of events and of all else."""

import json
import logging

from manyhands.rules.escaping import escape, escape_json
from manyhands.rules.event_lines import json_line, moment, text_line


class TextLines(logging.Formatter):
    """Writes an event as ``2026-03-01T12:00:00.000Z warning EngineFull: ...``, other records alike.

    A traceback follows its record's line, as ever.
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

    A traceback is a field of its own: a record is one line, always.
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
