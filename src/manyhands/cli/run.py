"""`manyhands run`: an unmodified program on our engines."""

import argparse
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from manyhands.cli.control_flags import add_control_arguments, given_places
from manyhands.cli.flags import add_flags, given_options
from manyhands.cli.output import add_log_arguments
from manyhands.config.options import DROP_IN_OPTIONS, SERVER_OPTIONS, by_group
from manyhands.model.usage_errors import NOT_STARTED, Mistake, NotStarted

HELP = "run a program that uses socketserver, unchanged, on our engines"

_DESCRIPTION = """\
Run a program exactly as python would, with manyhands.socketserver in the place of the standard
library's socketserver, in the program itself and in the Python processes that it starts.

PROGRAM is a file, or a folder or zip file with a __main__.py. All that follows PROGRAM or MODULE
belongs to the program. An option sets the default of a class attribute: a class of the program that
sets it itself wins."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser the options of `manyhands run`; PROGRAM and what follows are not for it."""
    parser.usage = "%(prog)s [options] PROGRAM [args]\n       %(prog)s [options] -m MODULE [args]"
    parser.description = _DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_flags(parser, DROP_IN_OPTIONS.values())
    add_log_arguments(parser)
    add_control_arguments(parser)
    add_flags(parser, _OF_WORKERS.values())
    parser.set_defaults(program=[])


_OF_WORKERS = {name: SERVER_OPTIONS[name] for name in (*by_group("workers"), "drain_timeout")}
"""The options of the supervisor, where the program is served by workers."""


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the words after `manyhands run` into our options and the program with its arguments.

    argparse has no form for this that leaves a program's `--` and options alone in all the versions
    of Python.

    Parameters
    ----------
    words : sequence of str
        The words.

    Returns
    -------
    list of str, list of str
        Our options with their values; the rest from `PROGRAM`, `-m` or `--` on.
    """
    position = 0
    while position < len(words) and _is_ours(words[position]):
        position += 2 if words[position] in _FLAGS_WITH_VALUE else 1
    return list(words[:position]), list(words[position:])


_FLAGS_WITH_VALUE = frozenset(
    [
        "--log",
        "--control",
        "--control-read",
        *(option.flag for option in DROP_IN_OPTIONS.values() if not option.is_switch),
        *(option.flag for option in _OF_WORKERS.values()),
    ]
)


def _is_ours(word: str) -> bool:
    return word.startswith("-") and word not in {"-", "--"} and not word.startswith("-m")


def run(arguments: argparse.Namespace) -> int:
    """Check the program, then become it; with workers be their supervisor, and return the exit status."""
    # Not at the top: the list of commands in --help needs none of it.
    from manyhands.launcher import environment, program
    from manyhands.workers.role import hand_on, is_template

    command = program.command(arguments.program)
    given = given_options(arguments, DROP_IN_OPTIONS)
    if given.get("engine") == "fibers":
        environment.require_gevent("manyhands run --engine fibers")
    log = environment.Log(arguments.log, access=arguments.access_log)
    of_workers = given_options(arguments, _OF_WORKERS)
    if of_workers and not of_workers.get("workers"):
        flag = _OF_WORKERS[next(iter(of_workers))].flag
        raise Mistake(f"{flag} does nothing without --workers: the program ends as it will")
    if of_workers.get("workers") and is_template():
        # A supervisor looks whether the program would do, before an upgrade.
        extended = environment.extend(os.environ, given, log)
        return program.replace_this_process(command, hand_on(extended))
    if of_workers.get("workers"):
        places = given_places(arguments)
        extended = environment.extend(os.environ, given, log, environment.ASKED_ABOVE)
        line = program.interpreter_line(command)
        return _supervise(arguments, line, extended, {**of_workers, **places})
    control = environment.ControlPlaces(**given_places(arguments))
    extended = environment.extend(os.environ, given, log, control)
    return program.replace_this_process(command, extended)


def _supervise(
    arguments: argparse.Namespace,
    command: Sequence[str],
    environment: Mapping[str, str],
    options: Mapping[str, Any],
) -> int:
    """Have workers run the program; return the exit status."""
    from manyhands.cli.end_of_process import end_of_process
    from manyhands.cli.output import reporting
    from manyhands.control.own_name import own_name
    from manyhands.server import Server
    from manyhands.server.stand_ins import ProgramElsewhere

    own_name.given = f"run {' '.join(arguments.program)}"
    limits = {
        name: value
        for name, value in given_options(arguments, DROP_IN_OPTIONS).items()
        if name in by_group("limits")
    }
    with reporting(arguments) as report:
        # Without limits where none was given, as the program has it without workers.
        server = Server(
            ProgramElsewhere(arguments.program, command, environment),
            **{"max_connections": None, "max_datagrams": None, **limits, **options},
        )
        end_of_process.heed_stop_signals(
            dict.fromkeys((signal.SIGINT, signal.SIGTERM), server.stop)
        )
        try:
            cut_off = server.run()
        except NotStarted as failure:
            report(f"the workers cannot serve: {failure}")
            return NOT_STARTED
        for connection in cut_off:
            report(f"cut off {connection}")
    return 1 if cut_off else 0
