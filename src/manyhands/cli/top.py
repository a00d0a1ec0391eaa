"""`manyhands top`: what a server is doing right now."""

import argparse
import os
import shutil
import sys
from typing import TYPE_CHECKING

from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MissingExtra, Mistake

if TYPE_CHECKING:
    from manyhands.console.view import View

HELP = "look at a server: its connections, books, rates and load"

_DESCRIPTION = """\
Look at a server that serves now: books and rates, the load of its engines, refusals by reason, and its
connections by page, sorted and filtered by the server. Keys look at one of them, with the line at which
its handler stands, close it, suspend listeners, adjust limits and tell rooms; ? names the keys. It is a
client of the server's control socket. Without --control it takes the only one of your servers, or says
which there are. The status is 0, and 1 when there is no such server."""

_SHORTEST, _LONGEST = 0.1, 60.0
"""Seconds between two looks, as the control protocol has them for `watch`."""

_USUAL_COLUMNS = 120
"""How wide the plain text is where there is no terminal, and no COLUMNS."""

_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands top` takes."""
    parser.description = _DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--control",
        metavar="PATH",
        help="the server's control socket: a path, @NAME, or the number of its process",
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=1.0,
        help=f"between two looks, from {_SHORTEST} to {_LONGEST:.0f} (default: 1)",
    )
    parser.add_argument(
        "--filter",
        metavar="WORDS",
        default="",
        help="only connections with this in peer, handler or id; also words as room:red, idle:60, state:open",
    )
    parser.add_argument(
        "--sort",
        metavar="FIELD",
        default="id",
        help="the order: id, peer, age, silent, in, out and so on; with - before it, the greatest first "
        "(as --sort=-in)",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="look twice, print plain text with the rates of the time between, and end",
    )


def run(arguments: argparse.Namespace) -> int:
    """Show the server; return 0, or 1 when there is none."""
    from manyhands.console.view import View
    from manyhands.control.client import ControlError

    view = View()
    view.filter(arguments.filter)
    view.order(arguments.sort)
    if not arguments.once:
        _refuse_without_screen()
    try:
        if arguments.once:
            return _print(arguments, view)
        return _show(arguments, view)
    except ControlError as problem:
        print(f"manyhands: {escape(str(problem))}", file=sys.stderr)
        return _FAILED


def _print(arguments: argparse.Namespace, view: "View") -> int:
    from manyhands.console import plain
    from manyhands.control.discovery import Follower

    columns = shutil.get_terminal_size((_USUAL_COLUMNS, 0)).columns
    with Follower(arguments.control).connect() as client:
        for line in plain.lines(client, view, arguments.interval, columns):
            print(line)
    return 0


def _show(arguments: argparse.Namespace, view: "View") -> int:
    from manyhands.console import screen
    from manyhands.control.discovery import Follower

    follower = Follower(arguments.control)
    return screen.show(follower.connect(), follower, view, arguments.interval)


def _refuse_without_screen() -> None:
    # Textual reads standard input, and writes to standard error.
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if not all(stream and stream.isatty() for stream in streams):
        what = "top needs a terminal as its input, output and standard error"
        raise Mistake(f"{what}: --once prints plain text")
    kind = os.environ.get("TERM", "")
    if kind in {"", "dumb"}:
        is_said = f"TERM is {kind}" if kind else "TERM is not set"
        what = "top needs a terminal that puts text anywhere on the screen"
        raise Mistake(f"{what}, and {is_said}: --once prints plain text")
    try:
        import textual  # noqa: F401 - an extra
    except ImportError:
        raise MissingExtra(
            "top at a terminal (--once prints plain text)", "textual", "top"
        ) from None


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not _SHORTEST <= value <= _LONGEST:
        expected = f"a number of seconds from {_SHORTEST} to {_LONGEST:.0f}"
        raise Mistake(f"--interval must be {expected}, not {text!r}")
    return value
