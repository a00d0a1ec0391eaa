"""The types of values that options take: how a word of the command line is read, and what fits."""

import math
import os
from collections import UserString
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice
from typing import Any

from manyhands.model.networks import EXAMPLES, Networks
from manyhands.model.usage_errors import Mistake

OptionValue = bool | int | float | str | Sequence[str] | None

LONGEST_WAIT = 2_147_483.0
"""Seconds: `poll` counts milliseconds in a C int, and a longer wait overflows (poll(2)). It is 24.8 days."""

LOWEST_RATE = 0.00001
"""Per second: about once a day. What is rarer is not limited by a rate, but by a list of networks."""

HIGHEST_RATE = 1_000_000.0
"""Per second: more than a processor can accept, so more is no limit."""


class OptionType:
    """What an option takes. Immutable."""

    annotation: str
    """The type as a type checker reads it, in the module `keywords`."""

    unit = ""
    """The unit of a value: `seconds`, `bytes` and so on; ``""`` where it has none."""

    is_repeated = False
    """Whether the flag may be given several times."""

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        raise NotImplementedError

    @property
    def metavar(self) -> str:
        """What stands for the value in `--help`."""
        return self.unit.upper() or "NUMBER"

    def read(self, text: str) -> OptionValue:
        """Turn a word of the command line into a value.

        Raises
        ------
        ValueError or Mistake
            The word is no such value; the sentence of a `Mistake` says why.
        """
        return text

    def fits(self, value: object) -> bool:
        """Tell whether a value is of this type and within its bounds."""
        raise NotImplementedError

    def is_meant(self, value: object) -> bool:
        """Tell whether a value that does not fit is meant for the option, and not the program's own.

        Programs have attributes of all names: methods, objects, a switch; a number of 0 or below is one's way
        to say that there is no limit.
        """
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value > 0
        return isinstance(value, str | bytes)


class Whole(OptionType):
    """A whole number within bounds, both included."""

    annotation = "int"

    def __init__(self, at_least: int, at_most: int | None = None, unit: str = "") -> None:
        self._at_least = at_least
        self._at_most = at_most
        self.unit = unit

    @property
    def expected(self) -> str:
        """The bounds."""
        if self._at_most is None:
            return f"a whole number of at least {self._at_least}"
        return f"a whole number from {self._at_least} to {self._at_most}"

    def read(self, text: str) -> int:
        """Turn a word into a number; a ValueError says that it is none."""
        return int(text)

    def fits(self, value: object) -> bool:
        """Tell whether a value is a number within the bounds; True and False are none."""
        # In Python True is a whole number; as the value of an option it is a slip.
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self._at_least <= value and (self._at_most is None or value <= self._at_most)


class Number(OptionType):
    """A number within bounds, both included, whole or not."""

    annotation = "float"

    def __init__(self, at_least: float, at_most: float) -> None:
        self._at_least = at_least
        self._at_most = at_most

    def read(self, text: str) -> float:
        """Turn a word into a number; a ValueError says that it is none."""
        return float(text)

    def fits(self, value: object) -> bool:
        """Tell whether a value is a number within the bounds; True, False and nan are none."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return self._at_least <= value <= self._at_most


class Seconds(Number):
    """A time of up to `LONGEST_WAIT` seconds; 0 only where it means "at once"."""

    unit = "seconds"

    def __init__(self, *, may_be_zero: bool = False) -> None:
        # The least number above 0, for both bounds are included.
        super().__init__(0.0 if may_be_zero else math.ulp(0.0), LONGEST_WAIT)

    def read(self, text: str) -> float:
        """Turn a word such as ``90``, ``5m`` or ``2h`` into seconds; a ValueError says that it is no time."""
        # Most programs read no times, and have no use for `re`.
        from manyhands.model.quantities import read_seconds  # noqa: PLC0415

        try:
            return float(text)
        except ValueError:
            return read_seconds(text)

    @property
    def expected(self) -> str:
        """The bounds."""
        lowest = "above 0 and" if self._at_least else "from 0"
        return f"a number of seconds {lowest} up to {LONGEST_WAIT:.0f}"


class Rate(Number):
    """How often something may happen, per second."""

    unit = "per second"
    metavar = "RATE"

    def __init__(self) -> None:
        super().__init__(LOWEST_RATE, HIGHEST_RATE)

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"a number per second from {LOWEST_RATE:.5f} to {HIGHEST_RATE:.0f}"


class Choice(OptionType):
    """One of some words."""

    def __init__(self, *words: str) -> None:
        self._words = words
        quoted = ", ".join(f'"{word}"' for word in words)
        self.annotation = f"Literal[{quoted}]"

    @property
    def expected(self) -> str:
        """The words."""
        return f"{', '.join(self._words[:-1])} or {self._words[-1]}"

    @property
    def metavar(self) -> str:
        """The words."""
        return "|".join(self._words)

    def fits(self, value: object) -> bool:
        """Tell whether a value is one of the words."""
        return value in self._words


class ChoiceOrHandler(Choice):
    """One of some words, or a handler: a class, or anything else that can be called."""

    def __init__(self, *words: str) -> None:
        super().__init__(*words)
        self.annotation += " | Handler"

    @property
    def expected(self) -> str:
        """The words, and that a handler fits."""
        return f"{', '.join(self._words)} or a handler"

    def fits(self, value: object) -> bool:
        """Tell whether a value is one of the words, or can be called."""
        return super().fits(value) if isinstance(value, str) else callable(value)


class Switch(OptionType):
    """On or off; on the command line `--name` or `--no-name` (`--delay` undoes `--no-delay`)."""

    annotation = "bool"
    expected = "True or False"

    def read(self, text: str) -> bool:
        """Turn a word into a value; a ValueError says that it is none."""
        return bool(("False", "True").index(text))

    def fits(self, value: object) -> bool:
        """Tell whether a value is one of the two."""
        return isinstance(value, bool)


class NetworkList(OptionType):
    """Networks and single addresses: texts with commas between them, or a list of such.

    Parameters
    ----------
    may_be_empty : bool
        Whether a list without a network fits. (It would let every client in, or none: a slip in either case.)
    """

    annotation = "str | Sequence[str]"
    metavar = "NETWORK"
    is_repeated = True

    def __init__(self, *, may_be_empty: bool = True) -> None:
        self._may_be_empty = may_be_empty

    @property
    def expected(self) -> str:
        """How networks are written."""
        count = "" if self._may_be_empty else ", one at least"
        return f"a list of networks{count}, as {EXAMPLES}"

    def read(self, text: str) -> str:
        """Turn a word into a list; a `Mistake` says which entry is no network, and why."""
        return str(Networks.parse(text))

    def fits(self, value: object) -> bool:
        """Tell whether a value is a list of networks."""
        if not isinstance(value, str | list | tuple):
            return False
        return (bool(value) or self._may_be_empty) and _networks_mistake(value) is None

    def is_meant(self, value: object) -> bool:
        """Tell whether a value is meant as a list of networks: all of it is text, or some of it networks."""
        if isinstance(value, Iterator):
            return True  # to look at what is in it would be to use it up
        if isinstance(value, _WRITTEN) or _is_network(value):
            return True
        entries = _entries(value)
        # None: of `os.environ.get`, say. A dict is a program's own way to keep something by names.
        are_written = all(entry is None or isinstance(entry, _WRITTEN) for entry in entries)
        is_list_of_text = bool(entries) and are_written and not isinstance(value, Mapping)
        return is_list_of_text or any(_holds_network(entry, _DEEPEST) for entry in entries)

    def mistake(self, value: object) -> str:
        """Say what is wrong with a value that is meant as a list of networks, and is none."""
        found = _networks_mistake(value) if isinstance(value, str | list | tuple) else None
        return found or f"{value!r} is not {self.expected}"


_WRITTEN = (str, bytes, bytearray, memoryview, UserString, os.PathLike)
"""What an entry may be written as, rightly or not."""

_AN_IP = (IPv4Address, IPv4Network, IPv6Address, IPv6Network)

_MOST_ENTRIES = 10_000
"""Entries that are looked at of an object of the program's own, which may have them without end."""

_DEEPEST = 3
"""Lists in lists that are looked into: one may hold itself."""


def _entries(value: object) -> list[object]:
    """Return what is in a value, of any class, that hands its entries out again and again; else nothing."""
    # What can be called is the program's own: a method, a class, a mock.
    if isinstance(value, _WRITTEN) or callable(value) or not isinstance(value, Iterable):
        return []
    try:
        return list(islice(value, _MOST_ENTRIES))
    except Exception:  # noqa: BLE001 - of an object of the program's own, which is no list then
        return []


def _is_network(value: object) -> bool:
    """Tell whether an object, be it of another library's, is written as a network or an address."""
    if isinstance(value, _AN_IP):
        return True
    try:
        return not callable(value) and _networks_mistake(str(value)) is None
    except Exception:  # noqa: BLE001 - of an object of the program's own
        return False


def _networks_mistake(value: "str | list[object] | tuple[object, ...]") -> str | None:
    entries: Any = value
    try:
        Networks.parse(entries)
    except Mistake as mistake:
        return str(mistake)
    return None


def _holds_network(entry: object, depth: int) -> bool:
    if _is_network(entry):
        return True
    return depth > 0 and any(_holds_network(inner, depth - 1) for inner in _entries(entry))


class Message(OptionType):
    """What a client is told: bytes, or a text, which goes out in UTF-8."""

    annotation = "str | bytes"
    metavar = "TEXT"

    def __init__(self, longest: int) -> None:
        self._longest = longest

    @property
    def expected(self) -> str:
        """How long it may be."""
        return f"a text or bytes, {self._longest} bytes at the most"

    def fits(self, value: object) -> bool:
        """Tell whether a value can be sent, and is not too long."""
        try:
            return 0 < len(encoded(value)) <= self._longest
        except (TypeError, UnicodeEncodeError):
            return False


def encoded(value: object) -> bytes:
    """Return a value of the type `Message` as bytes; a TypeError says that it is none."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    raise TypeError(f"{value!r} is neither a text nor bytes")


class File(OptionType):
    """The path of a file."""

    annotation = "str | PathLike[str]"
    metavar = "FILE"
    expected = "the path of a file"

    def fits(self, value: object) -> bool:
        """Tell whether a value is a path that the system would take."""
        # Paths go to the system as C strings, which end at a NUL.
        return isinstance(value, str | os.PathLike) and str(value) != "" and "\0" not in str(value)


AUTO = "auto"
"""What is chosen by itself: how many workers there are, or the place of a control socket (see
`manyhands.control.places.defaults`)."""


MOST_WORKERS = 512
"""Workers of a generation at the most: more than machines have processors. Each costs the supervisor a slot
of the page, and some descriptors."""


class Workers(OptionType):
    """How many workers there are: a whole number, or ``auto`` for one on each processor."""

    annotation = 'int | Literal["auto"]'

    def __init__(self, at_most: int) -> None:
        self._count = Whole(at_least=0, at_most=at_most)

    @property
    def expected(self) -> str:
        """The word, and the bounds."""
        return f"{AUTO}, or {self._count.expected}"

    @property
    def metavar(self) -> str:
        """A number, or the word."""
        return f"{self._count.metavar}|{AUTO}"

    def read(self, text: str) -> OptionValue:
        """Turn a word into a number, unless it is ``auto``; a ValueError says that it is neither."""
        return text if text == AUTO else self._count.read(text)

    def fits(self, value: object) -> bool:
        """Tell whether a value is the word, or a number within the bounds."""
        return value == AUTO if isinstance(value, str) else self._count.fits(value)


class SocketPlace(OptionType):
    """Where a control socket is: the path of a Unix socket, ``@NAME``, or ``auto`` where that is one."""

    annotation = "str | PathLike[str]"
    metavar = "PATH"

    def __init__(self, *, may_be_auto: bool) -> None:
        self._may_be_auto = may_be_auto

    @property
    def expected(self) -> str:
        """What a place is."""
        return f"the path of a socket{', @NAME or auto' if self._may_be_auto else ' or @NAME'}"

    def fits(self, value: object) -> bool:
        """Tell whether a value is a place; whether the system takes it is found out when it is opened."""
        return (
            isinstance(value, str | os.PathLike)
            and str(value) not in {"", "@"}
            and (self._may_be_auto or str(value) != AUTO)
            and "\0" not in str(value)
        )


class Name(OptionType):
    """A name in ASCII, without spaces, of up to `longest` characters."""

    annotation = "str"
    metavar = "NAME"

    def __init__(self, longest: int) -> None:
        self._longest = longest

    @property
    def expected(self) -> str:
        """How long it may be."""
        return f"a name of 1 to {self._longest} ASCII characters"

    def fits(self, value: object) -> bool:
        """Tell whether a value is such a name."""
        return (
            isinstance(value, str)
            and 0 < len(value) <= self._longest
            and value.isascii()
            and value.isprintable()
            and " " not in value
        )


class Several(OptionType):
    """One value of a type, or a list of them; on the command line the flag is repeated."""

    is_repeated = True

    def __init__(self, one: OptionType) -> None:
        self._one = one
        self.annotation = f"{one.annotation} | Sequence[{one.annotation}]"

    @property
    def metavar(self) -> str:
        """What stands for one of them."""
        return self._one.metavar

    @property
    def expected(self) -> str:
        """What fits for one of them."""
        return f"{self._one.expected}, or a list of such"

    def read(self, text: str) -> OptionValue:
        """Turn a word into one of the values."""
        return self._one.read(text)

    def fits(self, value: object) -> bool:
        """Tell whether a value is of the type, or a list of such."""
        values = listed(value)
        return bool(values) and all(map(self._one.fits, values))


def listed(value: object) -> tuple[object, ...]:
    """Return the values of an option that may have several: none for None, one for what is no list."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return () if value is None else (value,)
