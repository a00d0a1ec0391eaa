"""The kinds of values that options take: what is expected, how it reads, what fits."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from manyhands.model import networks
from manyhands.model.usage_errors import Mistake

OptionValue = bool | int | float | str | Sequence[str] | None

#: `poll` counts milliseconds in a C int: a longer wait overflows (poll(2)). It is 24.8 days.
LONGEST_WAIT = 2_147_483.0

#: Per second: about once a day. What is rarer is not limited by a rate, but by a list of who may.
LOWEST_RATE = 0.00001

#: Per second: more than a processor can accept, so more is no limit.
HIGHEST_RATE = 1_000_000.0


class Kind(Protocol):
    """The kind of value that an option takes."""

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""

    def read(self, text: str) -> OptionValue:
        """Turn a word of the command line into a value; a ValueError says that it is none."""

    def fits(self, value: object) -> bool:
        """Whether a value is of this kind and within its bounds."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds, both included."""

    at_least: int
    at_most: int | None = None

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        if self.at_most is None:
            return f"a whole number of at least {self.at_least}"
        return f"a whole number from {self.at_least} to {self.at_most}"

    def read(self, text: str) -> int:
        """Turn a word of the command line into a value; a ValueError says that it is none."""
        return int(text)

    def fits(self, value: object) -> bool:
        """Whether a value is of this kind and within its bounds."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.at_least <= value and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Seconds:
    """A time of up to `LONGEST_WAIT` seconds; 0 only where it means "at once"."""

    may_be_zero: bool = False

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        lowest = "from 0" if self.may_be_zero else "above 0 and"
        return f"a number of seconds {lowest} up to {LONGEST_WAIT:.0f}"

    def read(self, text: str) -> float:
        """Turn a word of the command line into a value; a ValueError says that it is none."""
        return float(text)

    def fits(self, value: object) -> bool:
        """Whether a value is of this kind and within its bounds."""
        if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
            return False
        return (0 if self.may_be_zero else math.ulp(0.0)) <= value <= LONGEST_WAIT


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def read(self, text: str) -> str:
        """Turn a word of the command line into a value."""
        return text

    def fits(self, value: object) -> bool:
        """Whether a value is one of the words."""
        return value in self.words


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off; on the command line `--name` or `--no-name`."""

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return "True or False"

    def read(self, text: str) -> bool:
        """Turn a word into a value; a ValueError says that it is none."""
        return bool(("False", "True").index(text))

    def fits(self, value: object) -> bool:
        """Whether a value is one of the two."""
        return isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something may happen, per second."""

    metavar = "RATE"

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"a number per second from {LOWEST_RATE:.5f} to {HIGHEST_RATE:.0f}"

    def read(self, text: str) -> float:
        """Turn a word of the command line into a value; a ValueError says that it is none."""
        return float(text)

    def fits(self, value: object) -> bool:
        """Whether a value is a rate within the bounds."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return LOWEST_RATE <= value <= HIGHEST_RATE


@dataclass(frozen=True, slots=True)
class NetworkList:
    """Networks and single addresses: texts with commas between them, or a list of such."""

    metavar = "NETWORK"
    is_repeated = True

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"a list of networks, as {networks.EXAMPLES}"

    def read(self, text: str) -> str:
        """Turn a word of the command line into a value.

        Raises
        ------
        Mistake
            An entry is no network; the sentence says which, and why.
        """
        return str(networks.Networks.parse(text))

    def fits(self, value: object) -> bool:
        """Whether a value is a list of networks."""
        if not isinstance(value, str | list | tuple):
            return False
        try:
            networks.Networks.parse(value)
        except Mistake:
            return False
        return True


@dataclass(frozen=True, slots=True)
class ChoiceOrHandler:
    """One of some words, or a handler: a class, or anything else that can be called."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """What stands for the value in `--help`."""
        return "|".join(self.words)

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"{', '.join(self.words)} or a handler"

    def read(self, text: str) -> str:
        """Turn a word of the command line into a value."""
        return text

    def fits(self, value: object) -> bool:
        """Whether a value is one of the words, or can be called."""
        return value in self.words if isinstance(value, str) else callable(value)


@dataclass(frozen=True, slots=True)
class Said:
    """Something to say: bytes, or a text, which goes out in UTF-8."""

    longest: int
    metavar = "TEXT"

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"a text or bytes, {self.longest} bytes at the most"

    def read(self, text: str) -> str:
        """Turn a word of the command line into a value."""
        return text

    def fits(self, value: object) -> bool:
        """Whether a value can be said."""
        try:
            return 0 < len(spoken(value)) <= self.longest
        except (TypeError, UnicodeEncodeError):
            return False


def spoken(value: object) -> bytes:
    """Return a value of the kind `Said` as bytes; a TypeError says that it is none."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{value!r} is neither a text nor bytes")


@dataclass(frozen=True, slots=True)
class File:
    """The path of a file."""

    metavar = "FILE"

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return "the path of a file"

    def read(self, text: str) -> str:
        """Turn a word of the command line into a value."""
        return text

    def fits(self, value: object) -> bool:
        """Whether a value is a path that the system would take."""
        return isinstance(value, str | os.PathLike) and str(value) != "" and "\0" not in str(value)


@dataclass(frozen=True, slots=True)
class Name:
    """A name in ASCII, without spaces, of up to `longest` characters."""

    longest: int
    metavar = "NAME"

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"a name of 1 to {self.longest} ASCII characters"

    def read(self, text: str) -> str:
        """Turn a word of the command line into a value."""
        return text

    def fits(self, value: object) -> bool:
        """Whether a value is such a name."""
        return (
            isinstance(value, str)
            and 0 < len(value) <= self.longest
            and value.isascii()
            and value.isprintable()
            and " " not in value
        )


@dataclass(frozen=True, slots=True)
class Several:
    """One value of a kind, or a list of them; on the command line the flag is repeated."""

    kind: File | Name
    is_repeated = True

    @property
    def metavar(self) -> str:
        """What stands for the value in `--help`."""
        return self.kind.metavar

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        return f"{self.kind.expected}, or a list of such"

    def read(self, text: str) -> str:
        """Turn a word of the command line into one of the values."""
        return self.kind.read(text)

    def fits(self, value: object) -> bool:
        """Whether a value is of the kind, or a list of such."""
        values = listed(value)
        return bool(values) and all(self.kind.fits(one) for one in values)


def listed(value: object) -> tuple[object, ...]:
    """Return the values that an option of several holds: none for None, one for what is no list."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return () if value is None else (value,)
