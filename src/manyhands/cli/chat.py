"""`manyhands chat`: the desk, where one operator talks with many callers."""

import argparse
from functools import partial

from manyhands.rules import options
from manyhands.rules.kinds import Choice, Whole
from manyhands.rules.mistakes import Mistake

HELP = "open a desk: one operator talks with many callers"

#: Bytes. The most is far above any use, and still a size that memory has.
_COUNT = Whole(at_least=1, at_most=2**30)

_LIMITS = tuple(name for name in options.LIMITS if name not in {"when_full", "refusal"})
"""The options that limit callers; what a refused one is told is the desk's own word."""

_ENGINES = Choice(("threads", "fibers"))

_DESCRIPTION = """\
Open a desk. Anybody can call in over TCP: with `manyhands connect`, netcat, telnet, a program. You see
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
    options.add_to(parser, _LIMITS, served=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the desk until it is closed; return 0."""
    from manyhands.desk import operation
    from manyhands.desk.settings import Settings

    limits = {
        name: value
        for name, value in options.given(arguments, served=True).items()
        if name in _LIMITS
    }
    given = {
        name: value
        for name, value in vars(arguments).items()
        if value is not None and name not in _LIMITS
    }
    if "bind" in given:
        given["addresses"] = [_stream(text) for text in given.pop("bind")]
    operation.run(Settings(**given, limits=limits))
    return 0


def _stream(text: str) -> str:
    from manyhands.rules.address import parse

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
        value = _COUNT.read(text)
    except ValueError:
        value = 0
    if not _COUNT.fits(value):
        raise Mistake(f"{flag} must be {_COUNT.expected}, not {text!r}")
    return value
