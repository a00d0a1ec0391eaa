"""`manyhands run`: an unmodified program on our engines."""

import argparse
import os
from collections.abc import Sequence

from manyhands.cli.control_flags import add_control_arguments, given_places
from manyhands.cli.flags import add_flags, given_options
from manyhands.cli.output import add_log_arguments
from manyhands.config.options import DROP_IN_OPTIONS

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
    parser.set_defaults(program=[])


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
    ]
)


def _is_ours(word: str) -> bool:
    return word.startswith("-") and word not in {"-", "--"} and not word.startswith("-m")


def run(arguments: argparse.Namespace) -> int:
    """Check the program, then become it: this returns only by raising `Mistake`."""
    # Not at the top: the list of commands in --help needs none of it.
    from manyhands.launcher import environment, program

    command = program.command(arguments.program)
    given = given_options(arguments, DROP_IN_OPTIONS)
    if given.get("engine") == "fibers":
        environment.require_gevent("manyhands run --engine fibers")
    log = environment.Log(arguments.log, access=arguments.access_log)
    control = environment.ControlPlaces(**given_places(arguments))
    program.replace_this_process(command, environment.extend(os.environ, given, log, control))
