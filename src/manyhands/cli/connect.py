"""`manyhands connect`: the client of a desk."""

import argparse
import sys
from functools import partial

from manyhands.cli.flags import encoding, seconds
from manyhands.model.usage_errors import Mistake

HELP = "call a desk"

_DESCRIPTION = """\
Call a desk. Type to talk; `byebye` says goodbye. When standard input is no terminal, its lines are sent;
at its end, answers are awaited until the desk has been silent for --wait seconds, and then goodbye is
said for you. The status is 0 after a goodbye, and 1 when the desk could not be reached, ended the call, or
was lost."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands connect` takes."""
    parser.description = _DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "address", metavar="ADDRESS", help="HOST:PORT, tcp://HOST:PORT or unix://PATH"
    )
    parser.add_argument("--name", metavar="NAME", help="what the operator is to call you")
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        type=partial(encoding, "--encoding"),
        help="what the desk speaks: gbk, big5, latin-1 and so on (default: utf-8)",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=partial(seconds, "--wait"),
        default=2.0,
        help="of silence, after the end of piped input, until the call is ended (default: 2)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Hold the conversation; return 0 after a goodbye and 1 when the call failed."""
    from manyhands.desk import client
    from manyhands.model.addresses import parse

    address = parse(arguments.address)
    if address.scheme not in {"tcp", "unix"}:
        raise Mistake(f"a desk is called on a tcp:// or unix:// address, not on {address}")
    name = None if arguments.name is None else client.check_name(arguments.name)
    try:
        client.run(address, name, arguments.wait, arguments.encoding)
    except client.CallFailed as failure:
        print(f"manyhands: {failure}", file=sys.stderr)
        return 1
    return 0
