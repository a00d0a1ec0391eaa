"""What the commands tell an operator while they serve: lines on standard error, and metrics."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MISTAKE, Mistake

if TYPE_CHECKING:
    from manyhands.metrics import Exporter
    from manyhands.model.events import Event

Report = Callable[[object], None]
"""Tells the operator something, in the form that was asked for."""


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


def announce(exporter: "Exporter | None") -> None:
    """Print where the metrics are, if anywhere."""
    for address in exporter.addresses if exporter is not None else ():
        print(f"metrics on {str(address).replace('tcp:', 'http:')}/metrics", flush=True)


@contextmanager
def told(
    arguments: argparse.Namespace, engine: str, tell: "Callable[[Event], str]"
) -> Iterator[Report]:
    """Tell of events as the flags say; yield what reports anything else in the same form.

    A standard error that nobody reads holds up nobody: see `manyhands.logs`. `tell` writes an event in the
    plain lines.
    """
    from manyhands import logs

    # A process that forks had better have no second thread.
    is_queued = engine != "processes"
    if arguments.log is not None:
        end = logs.to_stderr(arguments.log, access=arguments.access_log, queued=is_queued)
        try:
            with _nothing_else_said() if arguments.log == "json" else nullcontext():
                yield lambda what: logging.getLogger("manyhands").warning("%s", what)
        finally:
            end()
        return
    with _told_plainly(tell, access=arguments.access_log, queued=is_queued) as report:
        yield report


@contextmanager
def _nothing_else_said() -> Iterator[None]:
    """Have all that is said on standard error said by the log, the last words of the command included.

    Raises
    ------
    SystemExit
        In the place of what ended the command, which has been logged then.
    """
    from manyhands import logs

    end, stderr = logs.take_over(), sys.stderr
    sys.stderr = logs.LoggedStream(stderr)
    try:
        yield
    except Mistake as mistake:
        logging.getLogger("manyhands").log(logging.ERROR, "%s", mistake)
        raise SystemExit(MISTAKE) from None
    except Exception as error:
        logging.getLogger("manyhands").exception("%s ended the server", type(error).__name__)
        raise SystemExit(1) from None
    finally:
        sys.stderr = stderr
        end()


@contextmanager
def _told_plainly(
    tell: "Callable[[Event], str]", *, access: bool, queued: bool
) -> Iterator[Report]:
    from manyhands import events, logs

    lines = logs.BoundedQueue(
        logs.write_line, lambda count: _plain(str(events.EventsDropped(count)))
    )
    write = lines.put if queued else logs.write_line
    wanted = [events.Event] if access else []
    unsubscribe = events.hub.subscribe(lambda event: write(_plain(tell(event))), *wanted)
    try:
        yield lambda what: write(_plain(str(what)))
    finally:
        unsubscribe()
        lines.close()


def _plain(what: str) -> str:
    # Each line by itself: a stack has several, and what a peer chose must not move the cursor.
    return "manyhands: " + "\n".join(map(escape, what.split("\n")))


@contextmanager
def measured(arguments: argparse.Namespace, server: Any) -> "Iterator[Exporter | None]":
    """Serve the metrics that were asked for, if any; yield what serves them."""
    if arguments.metrics is None:
        yield None
        return
    from manyhands import metrics

    try:
        exporter = metrics.serve(server, arguments.metrics)
    except OSError as error:
        raise Mistake(error.strerror or str(error)) from None
    with exporter:
        yield exporter
