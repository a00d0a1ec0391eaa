"""`manyhands chat`: the desk, where one operator talks with many callers."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from manyhands.cli import control_flags
from manyhands.cli.control_flags import add_control_arguments, controlled
from manyhands.cli.end_of_process import SIGNALLED, end_of_process
from manyhands.cli.flags import add_flags, encoding, given_options
from manyhands.cli.output import (
    Report,
    add_log_arguments,
    add_page_arguments,
    announce,
    reporting,
    serving_pages,
)
from manyhands.config.option_types import Choice, OptionType, Rate, Whole
from manyhands.config.options import SERVER_OPTIONS, by_group
from manyhands.model.usage_errors import NOT_STARTED, Mistake, NotStarted
from manyhands.workers.role import is_template

if TYPE_CHECKING:
    from datetime import timedelta

    from manyhands.desk.settings import Settings
    from manyhands.server import Server

HELP = "open a desk: one operator talks with many callers"

#: Bytes. The most is far above any use, and still a size that memory has.
_BYTE_COUNT = Whole(at_least=1, at_most=2**30)

_LINE_COUNT = Whole(at_least=1, at_most=2**30)

_LIMITS = {
    name: SERVER_OPTIONS[name]
    for name in by_group("limits")
    if name not in {"when_full", "refusal"}
}
"""The options that limit callers; what a refused one is told is the desk's own word."""

_WORKERS = {name: SERVER_OPTIONS[name] for name in by_group("workers")}

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
        "--transcript-max-size",
        metavar="SIZE",
        type=_size,
        help="the size of the transcript, as 500k, 100M or 2G; the oldest calls are removed when it is "
        "reached (default: no bound)",
    )
    parser.add_argument(
        "--keep",
        metavar="TIME",
        type=_time,
        help="how long what was said is kept, as 12h, 90d or 52w (default: for ever)",
    )
    parser.add_argument(
        "--max-line",
        metavar="BYTES",
        type=partial(_value, "--max-line", _BYTE_COUNT),
        help="the longest line that a caller may say (default: 8192 bytes)",
    )
    parser.add_argument(
        "--max-line-rate",
        metavar="RATE",
        type=partial(_value, "--max-line-rate", Rate()),
        help="lines a second that a caller may say; one that says more is heard later (default: 100)",
    )
    parser.add_argument(
        "--line-burst",
        metavar="LINES",
        type=partial(_value, "--line-burst", _LINE_COUNT),
        help="lines that a caller may say at once while --max-line-rate holds on average (default: 1000)",
    )
    parser.add_argument(
        "--outbox",
        metavar="BYTES",
        type=SERVER_OPTIONS["outbox"].parse,
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
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        type=partial(encoding, "--encoding"),
        help="what callers send, and what is sent to them: gbk, big5, latin-1 and so on (default: utf-8)",
    )
    parser.add_argument("--greeting", metavar="TEXT", help="said to each caller")
    add_flags(parser, (_LIMITS | _WORKERS).values())
    add_control_arguments(parser)
    add_log_arguments(parser, unless="no log; what happens is told at the desk")
    add_page_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the desk until it is closed; return 0, or 3 when its workers do not come up."""
    with _logged(arguments) as report:
        settings = _settings(arguments)
        if settings.has_workers and is_template():
            from manyhands.desk import worker

            worker.serve(settings)
            return 0
        try:
            _run(arguments, settings, report)
        except NotStarted as failure:
            report(f"the workers cannot serve: {failure}")
            return NOT_STARTED
    return 0


def _settings(arguments: argparse.Namespace) -> "Settings":
    from manyhands.desk.call_handler import Terms
    from manyhands.desk.settings import Settings
    from manyhands.desk.transcript_limits import Limits

    limits = given_options(arguments, _LIMITS | _WORKERS) | _given(arguments, "outbox")
    if limits.get("workers"):
        # A supervisor asks its workers for operators, and has the places from its server.
        limits |= _given(arguments, *control_flags.NAMES)
    given = _given(arguments, "transcript", "engine")
    if arguments.bind:
        given["addresses"] = [_stream(text) for text in arguments.bind]
    given["keep"] = Limits(arguments.transcript_max_size, arguments.keep)
    terms = _given(arguments, *(field.name for field in fields(Terms)))
    return Settings(**given, terms=Terms(**terms), limits=limits)


def _run(arguments: argparse.Namespace, settings: "Settings", report: Report) -> None:
    from manyhands.control.own_name import own_name
    from manyhands.desk import desk

    is_open = False

    def stop(number: signal.Signals) -> None:
        # While the desk is open it has handlers of its own, and afterwards there is nothing to stop.
        if not is_open:
            raise SystemExit(SIGNALLED + number)
        end_of_process.comes_soon()

    @contextmanager
    def beside(server: "Server") -> Iterator[None]:
        nonlocal is_open
        is_open = True
        controls = server.controls
        # The calls get their goodbyes from the desk, which closes then.
        controls.end_process = partial(os.kill, os.getpid(), signal.SIGTERM)
        with ExitStack() as stack:
            if not settings.has_workers:
                stack.enter_context(controlled(arguments, controls, "chat"))
            stack.enter_context(_measured(arguments, server, report))
            yield

    # A terminal that is closed sends SIGHUP, and its shell may send another.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    end_of_process.heed_stop_signals({number: partial(stop, number) for number in numbers})
    own_name.given = "chat"
    desk.run(settings, beside)


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Pick the arguments that were given on the command line, of those with these names."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _logged(arguments: argparse.Namespace) -> AbstractContextManager[Report]:
    if arguments.log is None and not arguments.access_log:
        return reporting(arguments, only_errors=True)
    from manyhands.desk import environment

    if environment.has_terminal() and sys.stderr is not None and sys.stderr.isatty():
        raise Mistake(
            "a log would be written over the desk, on the same terminal: send standard error to a file, as "
            "in manyhands chat --log text 2>desk.log"
        )
    return reporting(arguments)


@contextmanager
def _measured(arguments: argparse.Namespace, server: "Server", report: Report) -> Iterator[None]:
    with serving_pages(arguments, server) as pages:
        for line in pages:
            announce(line, report)
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


def _size(text: str) -> int:
    from manyhands.desk.transcript_limits import size

    return size("--transcript-max-size", text)


def _time(text: str) -> "timedelta":
    from manyhands.desk.transcript_limits import duration

    return duration("--keep", text)


def _value(flag: str, kind: OptionType, text: str) -> object:
    try:
        value = kind.read(text)
    except ValueError:
        value = None
    if not kind.fits(value):
        raise Mistake(f"{flag} must be {kind.expected}, not {text!r}")
    return value
