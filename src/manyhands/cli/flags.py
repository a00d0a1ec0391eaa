"""The flags of the options: from the table to argparse, and back."""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from manyhands.config.option import Option, refuse_useless
from manyhands.config.option_types import OptionValue, Seconds
from manyhands.model.quantities import read_seconds
from manyhands.model.usage_errors import Mistake


def add_flags(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Give a parser the flags of options; one that is not given leaves no trace in the namespace.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Where the flags go. A word that does not fit raises `Mistake` from its parse.
    options : iterable of Option
        Which, in the order of `--help`, which shows their defaults.
    """
    for option in options:
        repeated = "may be repeated; " if option.kind.is_repeated else ""
        help_text = f"{option.help} ({repeated}default: {_default(option)})"
        # No default: one would look like a value that was given, and `refuse_useless` tells the two apart.
        if option.is_switch:
            parser.add_argument(
                option.flag,
                action=_Switched,
                default=argparse.SUPPRESS,
                help=help_text,
            )
        else:
            parser.add_argument(
                option.flag,
                action="append" if option.kind.is_repeated else "store",
                type=option.parse,
                default=argparse.SUPPRESS,
                metavar=option.kind.metavar,
                help=help_text,
            )


def given_options(
    arguments: argparse.Namespace, options: Mapping[str, Option]
) -> dict[str, OptionValue]:
    """Pick the options that were given on the command line.

    Parameters
    ----------
    arguments : argparse.Namespace
        What a parser that `add_flags` extended returned.
    options : mapping of str to Option
        Those that it was extended with.

    Returns
    -------
    dict
        Names and values, only of options that were given.

    Raises
    ------
    Mistake
        One of them does nothing without another one.
    """
    values = {name: value for name, value in vars(arguments).items() if name in options}
    refuse_useless(values, options, lambda name: options[name].flag)
    return values


class _Switched(argparse.Action):
    """A flag that turns something on, and another one that turns it off: `--no-delay` and `--delay`.

    `argparse.BooleanOptionalAction` takes each flag that begins with ``--no-`` for one that turns off.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, **keywords: Any) -> None:
        [on] = option_strings
        off = f"--{on.removeprefix('--no-')}" if on.startswith("--no-") else f"--no-{on[2:]}"
        super().__init__([on, off], dest, nargs=0, **keywords)

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
        namespace: argparse.Namespace,
        values: object,  # noqa: ARG002 - as above
        option_string: str | None = None,
    ) -> None:
        """Note which of the two it was."""
        setattr(namespace, self.dest, option_string == self.option_strings[0])

    def format_usage(self) -> str:
        """Return both, as the usage line has them."""
        return " | ".join(self.option_strings)


def _default(option: Option) -> str:
    if option.is_switch and option.default is not None:
        return "yes" if option.default else "no"
    if option.default is None:
        if option.is_switch or option.name == "engine":
            return "as the class says"
        return "no bound" if option.kind.unit else "none"
    return option.default_text


def encoding(flag: str, text: str) -> str:
    """Read the name of an encoding for lines of text.

    Raises
    ------
    Mistake
        There is none of this name, or it is not for lines.
    """
    from manyhands.desk import encodings

    try:
        return encodings.encoding(text)
    except Mistake as mistake:
        raise Mistake(f"{flag}: {mistake}") from None


def whole(flag: str, text: str) -> int:
    """Read a whole number of at most nine digits.

    Raises
    ------
    Mistake
        It is none.
    """
    # int() would take more than digits: signs, spaces, underscores.
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Mistake(f"{flag} must be a whole number, not {text!r}")
    return int(text)


def seconds(flag: str, text: str) -> float:
    """Read a time, as ``90``, ``5m`` or ``2h``, 0 included; return its seconds.

    Raises
    ------
    Mistake
        It is none, or too large for a wait.
    """
    kind = Seconds(may_be_zero=True)
    try:
        value = read_seconds(text)
    except ValueError:
        value = math.nan
    if not kind.fits(value):
        raise Mistake(f"{flag} must be {kind.expected}, or as 5m, 2h, not {text!r}")
    return value
