"""`manyhands transcript`: what was said at the desk."""

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from manyhands.model.escaping import escape, escape_json

if TYPE_CHECKING:
    from manyhands.desk.transcript_reader import Conversation

HELP = "print what was said at the desk"

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
    """Print the conversations; return 0."""
    from manyhands.desk import environment, transcript_reader

    now = datetime.now(UTC)
    since = None if arguments.since is None else transcript_reader.moment(arguments.since, now)
    with transcript_reader.TranscriptReader(
        environment.transcript_file(arguments.transcript)
    ) as kept:
        for conversation in kept.conversations(arguments.caller, since):
            print(_json(conversation) if arguments.json else _text(conversation))
    return 0


def _json(conversation: "Conversation") -> str:
    return escape_json(json.dumps(asdict(conversation), ensure_ascii=False))


def _text(conversation: "Conversation") -> str:
    lines = [
        f"{_time(message.at, conversation.opened_at)} {_MARKS[message.direction]} {escape(message.text)}"
        for message in conversation.messages
    ]
    return "\n".join([_heading(conversation), *lines, _end(conversation), ""])


def _heading(conversation: "Conversation") -> str:
    name = f"{conversation.name}, " if conversation.name else ""
    caller = escape(f"{conversation.number} {name}{conversation.peer}")
    return f"== {caller}, {_moment(conversation.opened_at):%Y-%m-%d %H:%M:%S}"


def _end(conversation: "Conversation") -> str:
    if conversation.ended_at is None:
        return "-- no end: still on the line, or the desk was killed"
    return f"{_time(conversation.ended_at, conversation.opened_at)} -- {conversation.ending}"


def _moment(at: str) -> datetime:
    """Return a time of the transcript as this machine's clocks have it."""
    return datetime.fromisoformat(at).astimezone()


def _time(at: str, opened_at: str) -> str:
    """Write a time, with the date unless it is the day on which the call began."""
    moment = _moment(at)
    is_that_day = moment.date() == _moment(opened_at).date()
    return f"{moment:%H:%M:%S}" if is_that_day else f"{moment:%Y-%m-%d %H:%M:%S}"
