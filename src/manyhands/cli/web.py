"""`manyhands web`: a page in the browser that shows what a server does."""

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from manyhands.cli.end_of_process import end_of_process
from manyhands.cli.flags import add_flags, given_options
from manyhands.cli.output import Report, announce, reporting
from manyhands.config.options import SERVER_OPTIONS
from manyhands.listening.bind import sentence_of
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import Mistake

if TYPE_CHECKING:
    from manyhands.server import Server

HELP = "show in a browser what a server does"

_FAILED = 1

_TLS = {name: SERVER_OPTIONS[name] for name in ("certfile", "keyfile")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands web` takes."""
    parser.description = (
        "Serve a page that shows what a server does: figures, connections, events, limits."
    )
    parser.add_argument(
        "--control",
        metavar="PATH|PID",
        help="the control socket of the server, or its process (default: your only server)",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        help="where: tcp://127.0.0.1:PORT, unix://PATH for a proxy, or tls://HOST:PORT; may be repeated "
        "(default: tcp://127.0.0.1:8010)",
    )
    parser.add_argument(
        "--admin",
        action="store_true",
        help="let the page close connections, set limits, suspend and resume (default: it only shows)",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        help="another name by which browsers call the page, such as a proxy's; may be repeated",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="keep the page's token in this file, which is made if it is not there, and print no link "
        "(default: a new token at each start)",
    )
    add_flags(parser, _TLS.values())


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until SIGINT or SIGTERM; return 0, or 1 when there is no such server."""
    # No event of the page's own server is of interest here, and in no line may a token be.
    arguments.log, arguments.access_log = None, False
    with reporting(arguments, only_errors=True) as report:
        return _run(arguments, report)


def _run(arguments: argparse.Namespace, report: Report) -> int:
    # Not at the top: it needs h11, an extra.
    from manyhands.control.client import Unreachable
    from manyhands.control.discovery import Follower
    from manyhands.model.addresses import parse
    from manyhands.web import addresses as safe
    from manyhands.web.feed import Feed
    from manyhands.web.page import Page

    addresses = [parse(text) for text in arguments.bind or [safe.DEFAULT]]
    for address in addresses:
        safe.refuse_unsafe(address)
    names = safe.names_of(addresses, arguments.host)
    token = _token(arguments.token_file)
    follower = Follower(arguments.control)
    try:
        client = follower.connect()
    except Unreachable as problem:
        print(f"manyhands: {escape(str(problem))}", file=sys.stderr)
        return _FAILED
    feed = Feed(follower, client)
    options = given_options(arguments, _TLS)
    page = Page(feed, token, names, *addresses, is_admin=arguments.admin, **options)
    server = page.server
    _listen(server)
    end_of_process.heed_stop_signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM), server.stop))
    shown = f"<what {arguments.token_file} has>" if arguments.token_file else token

    def say() -> None:
        announce(str(feed.now.server["sentence"]), report)
        for bound in server.addresses:
            url = safe.link(bound, addresses, arguments.host, shown)
            line = f"the page is on {bound}, its token is {shown}" if url is None else f"open {url}"
            # The log may be for others to read.
            announce(line, report, in_log=f"the page is on {bound}, and its token is not told here")

    with feed, page, end_of_process.comes_in_time(server):
        server.run(say)
    return 0


def _token(file: str | None) -> str:
    from manyhands.web.tokens import new_token, token_in

    if file is not None:
        return token_in(file)
    if _is_journal():
        raise Mistake(
            "the link to the page would be in the journal for others to read: give it --token-file FILE"
        )
    return new_token()


def _is_journal() -> bool:
    """Tell whether standard output is systemd's journal, which says so (systemd.exec(5))."""
    try:
        found = os.fstat(sys.stdout.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _listen(server: "Server") -> None:
    try:
        server.listen()
    except OSError as error:
        raise Mistake(sentence_of(error)) from None
