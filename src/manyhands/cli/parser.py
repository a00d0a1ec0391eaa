"""The parser of the command line: argparse, whose complaints are one line with what is right."""

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from manyhands.model.usage_errors import Mistake, closest

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_USUAL_COLUMNS = 80

_OTHER_WORDS = {
    "--address": "--bind",
    "--host": "--bind",
    "--listen": "--bind",
    "--port": "--bind",
    "--cert": "--certfile",
    "--key": "--keyfile",
    "--file": "--transcript",
    "--socket": "--control",
    "--nick": "--name",
    "--threads": "--max-threads",
    "--timeout": "--idle-timeout",
    "--user": "--name",
    "--verbose": "--log",
}
"""Options as other programs have them, and what they are called here, where a command has that."""

_HINTS = {
    ("serve", "unrecognized"): "--bind says where to listen",
    ("serve", "required"): "as in manyhands serve shop.py:Echo --bind tcp://127.0.0.1:8008",
    ("chat", "unrecognized"): "--bind says where to listen",
    ("connect", "unrecognized"): "an address is one word, HOST:PORT",
    ("connect", "required"): "as in manyhands connect 127.0.0.1:8008",
    (
        "close",
        "required",
    ): "as in manyhands ctl close 1742; manyhands ctl connections has their ids",
    ("tell", "required"): "as in manyhands ctl tell red 'closing in ten minutes'",
    ("tell", "unrecognized"): "the text is one word, in quotes",
    ("call", "required"): "as in manyhands ctl call connections.list '{\"limit\": 5}'",
    ("call", "unrecognized"): "the params are one word, an object of JSON in quotes",
    ("transcript", "unrecognized"): "--transcript says which file, and --caller which caller",
}
"""What is right, for a command whose words are too many, or too few."""


class _Help(argparse.HelpFormatter):
    """As wide as the terminal: argparse asks `shutil` for that, which loads all compressors."""

    def __init__(self, prog: str, **terms: Any) -> None:
        super().__init__(prog, **{"width": _columns() - 2, **terms})


def _columns() -> int:
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(1).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are mistakes: one line, like all the others."""

    def __init__(self, **terms: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **terms})

    def refuse_unknown_options(self, words: Sequence[str]) -> None:
        """Name the option that was meant, before another one is missed."""
        for word in words[: words.index("--") if "--" in words else None]:
            name, known = word.partition("=")[0], self._option_string_actions
            if name.startswith("--") and name not in known:
                meant = _OTHER_WORDS.get(name) or closest(name, known)
                is_right_elsewhere = name in _flags_of_servers()
                hint = f"; did you mean {meant}?" if meant in known else ""
                self._refuse(f"unrecognized arguments: {word}{'' if is_right_elsewhere else hint}")

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print together with the usage."""
        command = self.prog.rpartition(" ")[2]
        hints = [hint for (of, kind), hint in _HINTS.items() if of == command and kind in message]
        self._refuse("; ".join([message, *hints]))

    def _refuse(self, message: str) -> NoReturn:
        raise Mistake(f"{message} (see {self.prog} --help)")

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help; unlike argparse, with an error when that cannot be done."""
        print(self.format_help(), end="", file=file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Flush before leaving, so that a reader that has gone shows here and not at the exit."""
        print(end="", flush=True)
        super().exit(status, message)


def _flags_of_servers() -> set[str]:
    from manyhands.config.options import SERVER_OPTIONS

    return {option.flag for option in SERVER_OPTIONS.values()}
