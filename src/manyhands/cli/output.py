"""What the commands tell an operator while they serve: lines on standard error, and metrics."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from manyhands.listening.bind import sentence_of
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MISTAKE, Mistake

if TYPE_CHECKING:
    from manyhands.metrics import Exporter
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


def add_metrics_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the flag of the metrics."""
    parser.add_argument(
        "--metrics",
        metavar="[HOST:]PORT",
        help="let Prometheus scrape /metrics there: a port alone is one of 127.0.0.1, 0.0.0.0:PORT is for "
        "every interface; port 0 takes a free one "
        "(needs prometheus-client; default: no metrics)",
    )


def announce_metrics(exporter: "Exporter | None") -> None:
    """Print where the metrics are, if they are served."""
    for address in exporter.addresses if exporter is not None else ():
        print(f"metrics on {str(address).replace('tcp:', 'http:')}/metrics", flush=True)


@contextmanager
def reporting(
    arguments: argparse.Namespace, engine: str, sentence: "Callable[[Event], str]"
) -> Iterator[Report]:
    """Tell of events as the flags of the log say; yield what reports anything else in the same form.

    The server does not wait for a standard error that is not read: see `manyhands.logs`.

    Parameters
    ----------
    arguments
        With the flags of `add_log_arguments`.
    engine
        The server's engine, by its name.
    sentence
        Writes an event for the plain lines, which there are without ``--log``.
    """
    import logging

    from manyhands import logs

    # A process that forks should have no second thread, which may hold a lock at the moment of the fork.
    is_queued = engine != "processes"
    if arguments.log is not None:
        end = logs.to_stderr(arguments.log, access=arguments.access_log, queued=is_queued)
        try:
            with _all_else_logged() if arguments.log == "json" else nullcontext():
                yield lambda what: logging.getLogger("manyhands").warning("%s", what)
        finally:
            end()
        return
    with _reporting_plainly(sentence, access=arguments.access_log, queued=is_queued) as report:
        yield report


@contextmanager
def _all_else_logged() -> Iterator[None]:
    """Have the log say all that is said on standard error, and what ends the command too.

    Raises
    ------
    SystemExit
        In the place of what ended the command, which has been logged then.
    """
    import logging

    from manyhands import logs

    logger, stderr = logging.getLogger("manyhands"), sys.stderr
    end = logs.take_over()
    sys.stderr = logs.LoggedStream(stderr)
    try:
        yield
    except Mistake as mistake:
        logger.log(logging.ERROR, "%s", mistake)
        raise SystemExit(MISTAKE) from None
    except Exception as error:
        logger.exception("%s ended the server", type(error).__name__)
        raise SystemExit(1) from None
    finally:
        sys.stderr = stderr
        end()


@contextmanager
def _reporting_plainly(
    sentence: "Callable[[Event], str]", *, access: bool, queued: bool
) -> Iterator[Report]:
    from manyhands import logs
    from manyhands.model import events

    lines = logs.BoundedQueue(
        logs.write_line, lambda count: _plain(str(events.EventsDropped(count)))
    )
    write = lines.put if queued else logs.write_line
    wanted = [events.Event] if access else []
    unsubscribe = events.hub.subscribe(lambda event: write(_plain(sentence(event))), *wanted)
    try:
        yield lambda what: write(_plain(str(what)))
    finally:
        unsubscribe()
        lines.close()


def _plain(what: str) -> str:
    # Each line by itself: a stack has several, and what a peer chose must not move the cursor.
    return "manyhands: " + "\n".join(map(escape, what.split("\n")))


@contextmanager
def serving_metrics(arguments: argparse.Namespace, server: "Server") -> "Iterator[Exporter | None]":
    """Serve the metrics of a server where ``--metrics`` says; yield what serves them."""
    if arguments.metrics is None:
        yield None
        return
    # Not at the top: it needs prometheus-client, an extra.
    from manyhands import metrics

    try:
        exporter = metrics.serve(server, arguments.metrics)
    except OSError as error:
        raise Mistake(sentence_of(error)) from None
    with exporter:
        yield exporter
