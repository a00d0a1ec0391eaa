"""The same interpreter once more, with the same flags, on another program."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from manyhands.model.usage_errors import Mistake

#: The letters of a word of flags, up to one that takes a value (`-W`, `-X`) or names the program
#: (`-m`, `-c`): see `python --help`.
_LETTERS = re.compile("-[^mcWX]*")

#: The one long flag whose value is a word of its own.
_LONG_WITH_VALUE = "--check-hash-based-pycs"


def replace(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Turn this process into the interpreter that runs another program; return only by raising.

    Parameters
    ----------
    command : sequence of str
        What follows the interpreter and its flags: the program, and its arguments.
    environment : mapping of str to str
        The program's environment.

    Raises
    ------
    Mistake
        The interpreter was started so that it ignores `PYTHONPATH` or `sitecustomize`, or it
        cannot be started again.
    """
    _refuse_isolation()
    words = [sys.executable, *flags(sys.orig_argv), *command]
    try:
        os.execve(sys.executable, words, dict(environment))  # noqa: S606 - no shell is the point
    except (OSError, ValueError) as error:
        raise Mistake(f"cannot start {sys.executable!r} on {command[0]!r}: {error}") from error


def flags(orig_argv: Sequence[str]) -> list[str]:
    """Pick the interpreter's own flags, such as `-u` and `-X dev`, out of its command line.

    Parameters
    ----------
    orig_argv : sequence of str
        The whole command line, as `sys.orig_argv` has it.

    Returns
    -------
    list of str
        The flags with their values.
    """
    words = iter(orig_argv[1:])
    found: list[str] = []
    for word in words:
        if not word.startswith("-") or word in {"-", "--"}:
            break
        letters = word if word.startswith("--") else _LETTERS.findall(word)[0]
        rest = word.removeprefix(letters)
        if rest.startswith(("m", "c")):
            found += [letters] if letters != "-" else []
            break
        found.append(word)
        if rest in {"W", "X"} or word == _LONG_WITH_VALUE:
            found.append(next(words))
    return found


def _refuse_isolation() -> None:
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise Mistake(
            "Python was started with -E, -I or -S, so it would not look at what manyhands run puts "
            "into PYTHONPATH: start it without"
        )
