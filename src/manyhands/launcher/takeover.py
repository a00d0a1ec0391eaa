"""What happens in the program's process when it imports `socketserver`."""

import json
import os

from manyhands import events, socketserver
from manyhands.config.option_types import OptionValue
from manyhands.config.options import DROP_IN_OPTIONS
from manyhands.dropin.prompts import take_over_input
from manyhands.installation import install
from manyhands.launcher import fibers
from manyhands.launcher.environment import OPTIONS_VARIABLE, Log, log_of


def take_over() -> None:
    """Install ours as `socketserver`, with the options that `manyhands run` was given.

    The options become class attributes, that is defaults: a class of the program that sets the
    attribute itself wins. `input()` in a handler becomes `manyhands.ask`.

    Raises
    ------
    Mistake
        The environment holds a value that does not fit, which `manyhands run` never puts there.
    """
    install()
    take_over_input()
    given = json.loads(os.environ.get(OPTIONS_VARIABLE, "{}"))
    log = log_of(os.environ)
    if log.is_wanted:
        _log(log, given)
    if given.get("engine") == "fibers":
        _prepare_for_fibers(given, is_told=log.is_wanted)
    for name, value in given.items():
        option = DROP_IN_OPTIONS[name]
        option.check(value)
        for owner in option.owners:
            setattr(getattr(socketserver, owner), name, value)


def _log(log: Log, given: dict[str, OptionValue]) -> None:
    # Here, since few programs want it.
    from manyhands import logs  # noqa: PLC0415

    # A process that forks had better have no second thread.
    logs.to_stderr(log.form or "text", access=log.access, queued=given.get("engine") != "processes")
    if log.form == "json":
        logs.take_over()


def _prepare_for_fibers(given: dict[str, OptionValue], *, is_told: bool) -> None:
    if fibers.has_gevent():
        if not is_told:
            events.hub.subscribe(fibers.Teller())
    else:
        del given["engine"]
        fibers.say_without_gevent(is_logged=is_told)
