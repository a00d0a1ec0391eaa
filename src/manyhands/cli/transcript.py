"""`manyhands transcript`: what was said at the desk."""

import argparse
import re
import shutil
import sys
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manyhands.model.escaping import escape, escape_json
from manyhands.runtime.error_reports import encoding_of

if TYPE_CHECKING:
    from manyhands.desk.transcript_reader import Conversation

HELP = "print what was said at the desk"

_UNKNOWN = "??:??:??"
"""A time that cannot be read."""

_BEGINNING = re.compile(r"\d+[:.-]\d|\?\?:|==")
"""How lines of a conversation begin: with a time or a date, or as a heading."""

_MARKS = {"in": "<", "out": ">", "notice": "> desk:"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands transcript` takes."""
    parser.description = "Print conversations, oldest first; also while a desk is writing them."
    parser.add_argument(
        "--transcript",
        metavar="FILE",
        help="the transcript (default: transcript.sqlite in your data folder)",
    )
    parser.add_argument(
        "--caller",
        metavar="CALLER",
        help="only conversations with this caller: a number, a name, an address with or without port",
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="only what was said since: 30m, 2h, 3d, or an ISO date or time (local unless it says its zone)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object for each conversation, on a line of its own",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the conversations; return 0, or 1 when some of it could not be read."""
    from manyhands.desk import environment, transcript_reader

    now = datetime.now(UTC)
    since = None if arguments.since is None else transcript_reader.moment(arguments.since, now)
    with transcript_reader.TranscriptReader(
        environment.transcript_file(arguments.transcript)
    ) as kept:
        for conversation in kept.conversations(arguments.caller, since):
            print(_json(conversation) if arguments.json else _text(conversation))
        if kept.is_damaged:
            what = "some of the transcript is damaged: it is printed as far as it can be read"
            print(f"manyhands: {what}", file=sys.stderr)
            return 1
    return 0


def _json(conversation: "Conversation") -> str:
    import json
    from dataclasses import asdict

    document = json.dumps(asdict(conversation), ensure_ascii=False)
    return escape_json(document, encoding_of(sys.stdout))


def _text(conversation: "Conversation") -> str:
    lines = [
        _line(
            f"{_time(message.at, conversation.opened_at)} {_MARKS[message.direction]} ",
            escape(message.text),
        )
        for message in conversation.messages
    ]
    return "\n".join([_heading(conversation), *lines, _end(conversation), ""])


def _line(label: str, text: str) -> str:
    """Return a line; at a terminal with a mark where a row of it would be taken for another line."""
    if not sys.stdout or not sys.stdout.isatty():
        return label + text
    from manyhands.desk.marked_rows import with_marked_rows

    columns = shutil.get_terminal_size().columns
    return label + with_marked_rows(text, len(label), columns, _begins)


def _begins(row: str) -> bool:
    from manyhands.desk.look_alikes import INVISIBLE, begins_as_a_line

    seen = unicodedata.normalize("NFKC", INVISIBLE.sub("", row)).lstrip()
    return begins_as_a_line(row) or _BEGINNING.match(seen) is not None


def _heading(conversation: "Conversation") -> str:
    name = f"{conversation.name}, " if conversation.name else ""
    caller = escape(f"{conversation.number} {name}{conversation.peer}")
    return f"== {caller}, {_date(conversation.opened_at)}"


def _end(conversation: "Conversation") -> str:
    if conversation.ended_at is None:
        return "-- no end: still on the line, or the desk was killed"
    return f"{_time(conversation.ended_at, conversation.opened_at)} -- {escape(conversation.ending or '')}"


def _date(at: str) -> str:
    """Write a time of the transcript, with its date, as this machine's clocks have it."""
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M:%S}" if at else _UNKNOWN


def _time(at: str, opened_at: str) -> str:
    """Write a time, with the date unless it is the day on which the call began."""
    date, _, time = _date(at).rpartition(" ")
    return time if date == _date(opened_at).partition(" ")[0] or not date else f"{date} {time}"
