"""What the commands tell an operator while they serve: lines on standard error, and pages for tools."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from manyhands.cli.end_of_process import OUTPUT_TIMEOUT, end_of_process
from manyhands.listening.bind import sentence_of
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MISTAKE, Mistake
from manyhands.runtime.sockets import descriptor_of, takes_more
from manyhands.workers.role import fail_template

if TYPE_CHECKING:
    from manyhands.http.server import PageServer
    from manyhands.model.addresses import Address
    from manyhands.model.events import Event
    from manyhands.server import Server

Report = Callable[[object], None]
"""Tells the operator something, in the form that the flags of the log ask for."""


def add_log_arguments(parser: argparse.ArgumentParser, unless: str = "plain lines") -> None:
    """Declare the flags of the log; `unless` says what there is without them."""
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="write what happens to standard error as dated lines, or as JSON objects, one a line "
        f"(default: {unless})",
    )
    parser.add_argument(
        "--access-log",
        action="store_true",
        help="write a line for each connection that ends: who, why, how many bytes, how long",
    )


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the pages for tools."""
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="let Prometheus scrape /metrics there, and have /healthz and /readyz beside it: a port alone is "
        "one of 127.0.0.1, 0.0.0.0:PORT is for every interface; port 0 takes a free one "
        "(needs prometheus-client; default: no metrics)",
    )
    parser.add_argument(
        "--health",
        metavar="[HOST:]PORT",
        help="answer balancers and orchestrators there: /healthz is 200 while the server lives, /readyz "
        "while it takes clients, and 503 once it drains; the address is written as that of --metrics "
        "(default: only beside the metrics)",
    )


def announce(line: str, report: Report, *, in_log: str | None = None) -> None:
    """Print a line to standard output; where it takes none, have the log tell, for the service goes on.

    Parameters
    ----------
    line : str
        The line.
    report
        Writes to the log.
    in_log : str, optional
        What the log has in its place, where the line is not for it.
    """
    try:
        _print_now(line)
    except OSError as error:
        # ENOSPC, EPIPE (its reader has gone), EIO (its terminal has), or not in time.
        told = line if in_log is None else in_log
        report(f"{told} (standard output cannot be written: {error.strerror or error})")


def _print_now(line: str) -> None:
    descriptor = descriptor_of(sys.stdout)
    if descriptor < 0:
        print(line, flush=True)
        return
    if not takes_more(descriptor, OUTPUT_TIMEOUT):
        raise TimeoutError("it takes no more")
    sys.stdout.flush()
    # In one write: a terminal that is stopped (Ctrl-S) takes none, and would take the line without its end.
    # And past the stream, which would keep a line that the disk has not taken.
    os.write(descriptor, f"{line}\n".encode(sys.stdout.encoding, "backslashreplace"))


@contextmanager
def reporting(
    arguments: argparse.Namespace,
    sentence: "Callable[[Event], str]" = str,
    *,
    only_errors: bool = False,
) -> Iterator[Report]:
    """Have the log say all that is said on standard error, and what ends the command too.

    Yields what reports anything else. The server does not wait for a standard error that is not read, and
    neither does its end: see `manyhands.logs`.

    Parameters
    ----------
    arguments
        With the flags of `add_log_arguments`.
    sentence
        Writes an event for the plain lines, which there are without ``--log``.
    only_errors
        Whether events, and what is printed, are told elsewhere.

    Raises
    ------
    SystemExit
        In the place of what ended the command, which has been logged then.
    """
    import logging

    from manyhands import logs

    formatter = logs.formatter_of(arguments.log, sentence)
    log = logs.StderrLog(formatter, access=arguments.access_log)
    if not only_errors:
        log.log_events()
        log.log_prints()
    log.log_errors()
    try:
        yield lambda what: log.say(logging.WARNING, what)
    except Mistake as mistake:
        if fail_template(str(mistake)):
            raise SystemExit(MISTAKE) from None  # its supervisor tells of it
        # One line, whatever was quoted in it: a word of the command line may hold anything.
        log.say(logging.ERROR, escape(str(mistake)))
        raise SystemExit(MISTAKE) from None
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EIO}:
            raise  # of standard output: `main` knows what to do
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            log.say(logging.ERROR, _too_few_descriptors())
        else:
            log.say(logging.ERROR, f"{type(error).__name__} ended the server", sys.exc_info())
        raise SystemExit(1) from None
    finally:
        end_of_process.note_end_of_service()
        log.end()


def _too_few_descriptors() -> str:
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"{most} open files are too few: each client is one, and the server needs some (ulimit -n)"
    )


@contextmanager
def serving_pages(arguments: argparse.Namespace, server: "Server") -> "Iterator[list[str]]":
    """Serve the pages for tools where ``--metrics`` and ``--health`` say; yield lines that tell where."""
    with ExitStack() as stack:
        lines: list[str] = []
        if arguments.metrics is not None:
            # Not at the top: it needs prometheus-client, an extra.
            from manyhands import metrics

            exporter = stack.enter_context(_served(metrics.serve, server, arguments.metrics))
            lines += [f"metrics on {_url(address)}/metrics" for address in exporter.addresses]
        if arguments.health is not None and not _is_beside_metrics(arguments):
            from manyhands.http import health

            pages = stack.enter_context(_served(health.serve, server, arguments.health))
            lines += [f"health on {_url(address)}{health.READY}" for address in pages.addresses]
        yield lines


def _served(
    serve: "Callable[[Server, str], PageServer]", server: "Server", address: str
) -> "PageServer":
    try:
        return serve(server, address)
    except OSError as error:
        raise Mistake(sentence_of(error)) from None


def _is_beside_metrics(arguments: argparse.Namespace) -> bool:
    """Tell whether both flags name one port: the metrics' pages have those of the health."""
    from manyhands.http.page_address import read_page_address

    if arguments.metrics is None:
        return False
    health = read_page_address(arguments.health)
    return bool(health.port) and health == read_page_address(arguments.metrics)


def _url(address: "Address") -> str:
    return str(address).replace("tcp:", "http:")
