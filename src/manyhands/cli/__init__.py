"""The command line: `manyhands COMMAND`, one module for each command."""

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, Protocol, cast

from manyhands._version import __version__
from manyhands.cli.end_of_process import SIGNALLED, end_of_process
from manyhands.cli.parser import Parser
from manyhands.model.escaping import escape
from manyhands.model.usage_errors import MISTAKE, Mistake, closest

COMMANDS = ("serve", "run", "chat", "connect", "ctl", "top", "web", "transcript")

_FAILED = 1

_REST = {"run": "program", "ctl": "words"}
"""What the words are that a command's parser leaves to it: those of a program, and of a verb."""


class Command(Protocol):
    """What the module of each command has."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Describe the command's arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Carry the command out and return the exit status."""


class CommandWithRest(Command, Protocol):
    """What it has besides where some of its words are not for its parser."""

    def split(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Split the words after the command into those for the parser, and the rest."""


def command() -> NoReturn:
    """Be the command `manyhands`: carry out the command line of this process, and end it."""
    end_of_process.note_own_process()
    end_of_process.come(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after `manyhands`; those of this process by default.

    Returns
    -------
    int
        The exit status: 2 after a mistake, which was named in one line on standard error.
    """
    _accept_any_text()
    try:
        status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        end_of_process.leave_if_stuck(status)
        _flush_output()
    except SystemExit as end:
        end_of_process.leave_if_stuck(end.code)
        raise
    except Mistake as mistake:
        # One line, whatever was quoted in it: a word of the command line may hold anything.
        print(f"manyhands: {escape(str(mistake))}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        return SIGNALLED + signal.SIGINT
    except BrokenPipeError:
        # Its reader has ended, as in `manyhands transcript | head`; other tools end by SIGPIPE then.
        _forget_output()
        return SIGNALLED + signal.SIGPIPE
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EIO}:
            raise
        _forget_output()
        if error.errno == errno.EIO:
            return SIGNALLED + signal.SIGHUP  # the terminal has been closed
        print(f"manyhands: the output cannot be written: {error.strerror}", file=sys.stderr)
        return _FAILED
    return status


def _flush_output() -> None:
    try:
        print(end="", flush=True)
    except OSError:
        if not end_of_process.has_served:
            raise
        # What handlers printed, and were told of when it failed: the service itself has not failed.
        _forget_output()


def _accept_any_text() -> None:
    """Let standard output write what its encoding does not have as a backslash and a number."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _dispatch(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        return _carry_out(words[0], words[1:])
    _top_parser(words).parse_args(words[:1])  # ends here for --help and --version
    commands = ", ".join(COMMANDS)
    if not words:
        raise Mistake(f"say what to do, one of {commands} (see manyhands --help)")
    near = closest(words[0].lower(), COMMANDS)
    hint = f"; did you mean {near}?" if near else " (see manyhands --help)"
    raise Mistake(f"there is no command {words[0]!r}, only {commands}{hint}")


def _carry_out(name: str, words: list[str]) -> int:
    _refuse_a_deleted_folder()
    command = _load(name)
    parser = Parser(prog=f"{_prog()} {name}", description=command.HELP, allow_abbrev=False)
    command.add_arguments(parser)
    if name not in _REST:
        parser.refuse_unknown_options(words)
        return command.run(parser.parse_args(words))
    own, rest = cast("CommandWithRest", command).split(words)
    parser.refuse_unknown_options(own)
    return command.run(parser.parse_args(own, argparse.Namespace(**{_REST[name]: rest})))


def _refuse_a_deleted_folder() -> None:
    # Python's import machinery would fail with a traceback.
    try:
        os.getcwd()  # noqa: PTH109 - pathlib would be 3 ms of each command
    except FileNotFoundError:
        raise Mistake("the current folder has been deleted: change to another one") from None


def _top_parser(words: list[str]) -> Parser:
    parser = Parser(
        prog=_prog(),
        usage="%(prog)s [--help] [--version] COMMAND ...",
        description="Serve many clients at the same time with plain, blocking handler code.",
        # Only the help needs a line of every command.
        epilog=_list_of_commands() if {"-h", "--help"} & set(words[:1]) else "",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"manyhands {__version__}")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser


def _list_of_commands() -> str:
    lines = [f"  {name:<12}{_load(name).HELP}" for name in COMMANDS]
    return "\n".join(["commands:", *lines, "", "%(prog)s COMMAND --help says more."])


def _load(name: str) -> Command:
    return cast("Command", import_module(f"manyhands.cli.{name}"))


def _prog() -> str:
    # `python -m manyhands` has the path of __main__.py here.
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"  # noqa: PTH119 - as above
    return "python -m manyhands" if is_module else "manyhands"


def _forget_output() -> None:
    """Point standard output nowhere: the interpreter flushes it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
