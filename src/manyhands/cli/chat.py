"""`manyhands chat`: the desk, where one operator talks with many callers."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from manyhands.cli.flags import add_flags, given_options
from manyhands.cli.output import (
    add_log_arguments,
    add_metrics_argument,
    announce_metrics,
    reporting,
    serving_metrics,
)
from manyhands.config.option_types import Choice, Whole
from manyhands.config.options import SERVER_OPTIONS, by_group
from manyhands.model.usage_errors import Mistake

if TYPE_CHECKING:
    from manyhands.server import Server

HELP = "open a desk: one operator talks with many callers"

#: Bytes. The most is far above any use, and still a size that memory has.
_BYTE_COUNT = Whole(at_least=1, at_most=2**30)

_LIMITS = {
    name: SERVER_OPTIONS[name]
    for name in by_group("limits")
    if name not in {"when_full", "refusal"}
}
"""The options that limit callers; what a refused one is told is the desk's own word."""

_ENGINES = Choice("threads", "fibers")

_DESCRIPTION = """\
Open a desk. Callers come in over TCP: with `manyhands connect`, netcat, telnet, a program. You see
who says what, and answer each of them from one prompt; /help says how. When standard input is no
terminal, the same lines are read from there; at its end the desk stays open for as long as callers are on
the line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands chat` takes."""
    parser.description = _DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        help="where callers call: tcp://HOST:PORT or unix://PATH; port 0 takes a free one; "
        "may be repeated (default: tcp://127.0.0.1:8008)",
    )
    parser.add_argument(
        "--transcript",
        metavar="FILE",
        help="where everything said is kept, an SQLite file; :memory: keeps nothing "
        "(default: transcript.sqlite in your data folder)",
    )
    parser.add_argument(
        "--max-line",
        metavar="BYTES",
        type=partial(_bytes, "--max-line"),
        help="the longest line that a caller may say (default: 8192 bytes)",
    )
    parser.add_argument(
        "--outbox",
        metavar="BYTES",
        type=partial(_bytes, "--outbox"),
        help="what may wait for a caller who does not read, before the call is ended "
        "(default: 262144 bytes)",
    )
    parser.add_argument(
        "--engine",
        metavar="threads|fibers",
        type=_engine,
        help="serve each call in a thread or in a fiber; fibers hold ten thousand callers, and need gevent "
        "(default: fibers where gevent is installed)",
    )
    parser.add_argument("--greeting", metavar="TEXT", help="said to everybody who calls in")
    add_flags(parser, _LIMITS.values())
    add_log_arguments(parser, unless="no log; what happens is told at the desk")
    add_metrics_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the desk until it is closed; return 0."""
    with _logged(arguments):
        _run(arguments)
    return 0


def _run(arguments: argparse.Namespace) -> None:
    from manyhands.desk import desk

    limits = given_options(arguments, _LIMITS)
    given = {name: getattr(arguments, name) for name in _SETTINGS}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.bind:
        given["addresses"] = [_stream(text) for text in arguments.bind]
    desk.run(desk.Settings(**given, limits=limits), partial(_measured, arguments))


_SETTINGS = ("transcript", "max_line", "outbox", "engine", "greeting")
"""The arguments that are the desk's own."""


def _logged(arguments: argparse.Namespace) -> AbstractContextManager[object]:
    if arguments.log is None and not arguments.access_log:
        return nullcontext()
    from manyhands.desk import environment

    if environment.has_terminal() and sys.stderr is not None and sys.stderr.isatty():
        raise Mistake(
            "a log would be written over the desk, on the same terminal: send standard error to a file, as "
            "in manyhands chat --log text 2>desk.log"
        )
    return reporting(arguments, "threads", str)


@contextmanager
def _measured(arguments: argparse.Namespace, server: "Server") -> Iterator[None]:
    with serving_metrics(arguments, server) as exporter:
        announce_metrics(exporter)
        yield


def _stream(text: str) -> str:
    from manyhands.model.addresses import parse

    address = parse(text)
    if address.scheme not in {"tcp", "unix"}:
        raise Mistake(f"a desk listens on tcp:// or unix:// addresses, not on {address}")
    return str(address)


def _engine(text: str) -> str:
    if not _ENGINES.fits(text):
        raise Mistake(f"--engine must be {_ENGINES.expected}, not {text!r}")
    return text


def _bytes(flag: str, text: str) -> int:
    try:
        value = _BYTE_COUNT.read(text)
    except ValueError:
        value = 0
    if not _BYTE_COUNT.fits(value):
        raise Mistake(f"{flag} must be {_BYTE_COUNT.expected}, not {text!r}")
    return value
