"""What happens in the program's process when it imports `socketserver`."""

import functools
import json
import os
import sys

from manyhands import installation, socketserver
from manyhands.config.option_types import OptionValue
from manyhands.config.options import DROP_IN_OPTIONS
from manyhands.dropin.prompts import take_over_input
from manyhands.launcher.environment import OPTIONS_VARIABLE, Log, control_of, has_gevent, log_of
from manyhands.model import events
from manyhands.runtime.error_reports import say
from manyhands.serving.serve_loops import process_watch
from manyhands.workers.role import is_template_of_program


def fill(names: dict[str, object]) -> None:
    """Fill a module of the name `socketserver` with ours; the first time, set up what the program was given.

    Raises
    ------
    Mistake
        The environment holds a value that does not fit, which `manyhands run` never puts there.
    """
    # First, so that what follows finds ours, if it imports `socketserver`.
    installation.fill(names)
    set_up()


def source() -> str:
    """Return the source of what `fill` puts into a module."""
    return installation.source()


def take_over() -> None:
    """Put ours in the place of a `socketserver` that was imported at the start of the process, before us."""
    installation.install()
    set_up()


# Once, unless it fails: then the next import fails as well.
@functools.cache
def set_up() -> None:
    """Make the options that `manyhands run` was given class attributes, and `input()` `manyhands.ask`.

    Class attributes are defaults: a class of the program that sets the attribute itself wins.
    """
    take_over_input()
    if is_template_of_program():
        # Of `manyhands run --workers`: not at the top, for other programs have none.
        from manyhands.launcher.workers import take_part  # noqa: PLC0415

        take_part()
    control = control_of(os.environ)
    if control.are_any:
        # Not at the top: it is small, but each child of the program would pay for it.
        from manyhands.launcher.control import ControlOpening  # noqa: PLC0415

        process_watch.on_begin = ControlOpening(control)
    given = json.loads(os.environ.get(OPTIONS_VARIABLE, "{}"))
    log = log_of(os.environ)
    if log.is_wanted:
        _log(log)
    if given.get("engine") == "fibers":
        _prepare_for_fibers(given, is_logged=log.is_wanted)
    for name, value in given.items():
        option = DROP_IN_OPTIONS[name]
        option.check(value)
        for owner in option.owners:
            setattr(getattr(socketserver, owner), name, value)


def _log(log: Log) -> None:
    # Not at the top: few programs want a log.
    from manyhands import logs  # noqa: PLC0415

    written = logs.StderrLog(logs.formatter_of(log.form or "text"), access=log.access)
    written.log_events()
    written.log_errors()
    written.log_prints()


def _prepare_for_fibers(given: dict[str, OptionValue], *, is_logged: bool) -> None:
    if has_gevent():
        # `startup` has patched this process by now.
        if not is_logged:
            events.hub.subscribe(BlockedHubTeller())
        return
    # A child of another installation.
    del given["engine"]
    what = (
        f"{sys.executable} has no gevent, so this process serves as its classes say, not on fibers"
    )
    if not is_logged:
        say(f"manyhands: {what}\n")
        return
    import logging  # noqa: PLC0415 - as `_log`

    logging.getLogger("manyhands").warning("%s", what)


class BlockedHubTeller:
    """Tells once of each handler that holds up all fibers, or spins: the program knows none of our events."""

    def __init__(self) -> None:
        self._told: set[tuple[type[events.Event], str]] = set()

    def __call__(self, event: events.Event) -> None:
        """Take notice of an event."""
        if not isinstance(event, events.HubBlocked | events.HandlerSpins):
            return
        if (type(event), event.handler) in self._told:
            return
        self._told.add((type(event), event.handler))
        is_blocked = isinstance(event, events.HubBlocked)
        silenced = "; --hub-block-time none silences it" if is_blocked else ""
        say(f"manyhands: {event}\n(said once for each handler{silenced})\n")
