"""`manyhands serve`: a handler class, on addresses, without a line of server code."""

import argparse
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from manyhands.cli.control_flags import add_control_arguments
from manyhands.cli.end_of_process import end_of_process
from manyhands.cli.flags import add_flags, given_options
from manyhands.cli.output import (
    Report,
    add_log_arguments,
    add_page_arguments,
    announce,
    reporting,
    serving_pages,
)
from manyhands.config.options import SERVER_OPTIONS
from manyhands.listening.bind import sentence_of
from manyhands.model.usage_errors import NOT_STARTED, Mistake, NotStarted

if TYPE_CHECKING:
    from manyhands.model.events import Event
    from manyhands.server import Server

HELP = "serve a handler class on addresses"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `manyhands serve` takes."""
    parser.add_argument(
        "handler",
        metavar="MODULE:HANDLER",
        help="a handler class or callable; MODULE is a module, from the current folder too, or a .py file",
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS",
        action="append",
        required=True,
        help="where to listen: tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix://PATH, "
        "unix-datagram://PATH, with the mode, owner and group of the file as in ?mode=660&group=www; "
        "of sockets that are given fd://NUMBER, systemd://NAME or systemd:// for all "
        "of them, with tls+ before it for TLS; "
        "without HOST on every interface, IPv4 and IPv6; port 0 takes a free one; may be repeated",
    )
    add_flags(parser, [each for each in SERVER_OPTIONS.values() if each.group != "control"])
    parser.add_argument(
        "--reload",
        action="store_true",
        help="for developers: have a new worker whenever a file of the program changes "
        "(--workers 1 unless that says more; needs watchfiles)",
    )
    add_control_arguments(parser)
    add_log_arguments(parser)
    add_page_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; return 0, or 1 when connections had to be cut off."""
    given: dict[str, Any] = given_options(arguments, SERVER_OPTIONS)
    if arguments.reload and not given.get("workers"):
        given["workers"] = 1
    engine = str(given.get("engine", SERVER_OPTIONS["engine"].default))
    if engine == "fibers" and not _supervises(given):
        # Before the handler is loaded: its module imports what has to be patched.
        _patch_for_fibers()
    with reporting(arguments, _sentence) as report:
        return _serve(arguments, given, report)


def _serve(arguments: argparse.Namespace, given: dict[str, Any], report: Report) -> int:
    from manyhands.control.own_name import own_name
    from manyhands.server import Server

    own_name.given = f"serve {arguments.handler}"
    if _supervises(given):
        # What serves is imported by the workers' template alone: so new code is as good as a new start.
        from manyhands.server.stand_ins import HandlerElsewhere

        handler: Any = HandlerElsewhere(arguments.handler)
    else:
        from manyhands.cli.loading import load_handler

        handler = load_handler(arguments.handler)
    server = Server(handler, *arguments.bind, **given)
    with server.reloading_on_change() if arguments.reload else nullcontext():
        return _serve_it(arguments, server, report)


def _serve_it(arguments: argparse.Namespace, server: "Server", report: Report) -> int:
    from manyhands.server.process import keep_signals_of_start
    from manyhands.workers.role import is_template

    if server.workers and not is_template():
        # They come up before it listens, which may take long.
        _heed_stop_signals(server)
        keep_signals_of_start(server.stop)
    try:
        _listen(server)
    except NotStarted as failure:
        if server.is_stopping:
            return 0
        report(f"the workers cannot serve: {failure}")
        return NOT_STARTED
    if server.is_worker:
        # Its supervisor tells the operator all, and has the pages for tools.
        server.run()
        return 0
    if not server.workers:
        _heed_stop_signals(server)
    with serving_pages(arguments, server) as pages, end_of_process.comes_in_time(server):
        cut_off = server.run(lambda: _announce(server, pages, report))
    for connection in cut_off:
        report(f"cut off {connection}")
    if cut_off:
        end_of_process.note_threads_left()
    return 1 if cut_off else 0


def _heed_stop_signals(server: "Server") -> None:
    end_of_process.heed_stop_signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM), server.stop))


def _supervises(given: dict[str, Any]) -> bool:
    """Tell whether this process is to be the supervisor of workers."""
    from manyhands.workers.role import is_template

    return bool(given.get("workers")) and not is_template()


def _patch_for_fibers() -> None:
    from manyhands.launcher.environment import require_gevent

    require_gevent("manyhands serve --engine fibers")
    from manyhands.launcher.startup import _manyhands_patch

    _manyhands_patch.patch()


def _listen(server: "Server") -> None:
    try:
        server.listen()
    except OSError as error:
        raise Mistake(sentence_of(error)) from None


def _announce(server: "Server", pages: list[str], report: Report) -> None:
    for line in (*(f"listening on {address}" for address in server.addresses), *pages):
        announce(line, report)


def _sentence(event: "Event") -> str:
    from manyhands.model.events import Draining

    hint = "; a second signal ends it at once" if isinstance(event, Draining) else ""
    return f"{event}{hint}"
