"""The parameters of verbs: what each takes, and a sentence for what it does not take. No I/O."""

# Loaded here for `closest`: a child that is forked while a thread imports would have the module's lock taken.
import difflib  # noqa: F401
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from manyhands.control.messages import Refusal
from manyhands.control.protocol import Code
from manyhands.model.usage_errors import closest

_LONGEST_SHOWN = 60
"""Characters of a value that a sentence shows."""


class Kind:
    """What a parameter takes. Immutable."""

    name: str
    """The type, for the list of verbs."""

    @property
    def expected(self) -> str:
        """What fits, as it follows "must be" in a sentence."""
        raise NotImplementedError

    def fits(self, value: Any) -> bool:
        """Tell whether a value is of this kind."""
        raise NotImplementedError

    def check(self, called: str, value: Any) -> Any:
        """Check a value, and return it.

        Raises
        ------
        Refusal
            It does not fit; the sentence names the parameter, what was given, and what it takes.
        """
        if not self.fits(value):
            raise Refusal(Code.BAD_PARAMS, f"{called} must be {self.expected}, not {shown(value)}")
        return value


def shown(value: object) -> str:
    """Return a value as a sentence shows it: not all of it, where it is long."""
    if value is None:
        return "null"
    if isinstance(value, int) and abs(value) >= 1e100:
        return "such a number"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


class Text(Kind):
    """A text of up to `longest` characters."""

    name = "string"

    def __init__(self, longest: int = 1000) -> None:
        self._longest = longest

    @property
    def expected(self) -> str:
        """How long it may be."""
        return f"a text of at most {self._longest} characters"

    def fits(self, value: Any) -> bool:
        """Tell whether a value is such a text."""
        return isinstance(value, str) and len(value) <= self._longest


class Word(Kind):
    """One of some words."""

    name = "string"

    def __init__(self, *words: str) -> None:
        self._words = words

    @property
    def expected(self) -> str:
        """The words."""
        *most, last = self._words
        return f"{', '.join(most)} or {last}" if most else last

    def fits(self, value: Any) -> bool:
        """Tell whether a value is one of them."""
        return isinstance(value, str) and value in self._words


class Whole(Kind):
    """A whole number within bounds, both included."""

    name = "integer"

    def __init__(self, at_least: int, at_most: int) -> None:
        self._at_least = at_least
        self._at_most = at_most

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"a whole number from {self._at_least} to {self._at_most}"

    def fits(self, value: Any) -> bool:
        """Tell whether a value is a whole number within the bounds."""
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and self._at_least <= value <= self._at_most


class Number(Kind):
    """A number within bounds, both included."""

    name = "number"

    def __init__(self, at_least: float, at_most: float) -> None:
        self._at_least = at_least
        self._at_most = at_most

    @property
    def expected(self) -> str:
        """The bounds."""
        return f"a number from {self._at_least:g} to {self._at_most:g}"

    def fits(self, value: Any) -> bool:
        """Tell whether a value is a number within the bounds."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self._at_least <= value <= self._at_most


class Several(Kind):
    """A list of values of one kind."""

    name = "array"

    def __init__(self, one: Kind, at_most: int) -> None:
        self._one = one
        self._at_most = at_most

    @property
    def expected(self) -> str:
        """How many, and of what."""
        return f"a list of at most {self._at_most}, each {self._one.expected}"

    def fits(self, value: Any) -> bool:
        """Tell whether a value is such a list."""
        return (
            isinstance(value, list)
            and len(value) <= self._at_most
            and all(map(self._one.fits, value))
        )


class Values(Kind):
    """An object of names and values of any kind: what takes them checks them."""

    name = "object"
    expected = "an object of names and values"

    def fits(self, value: Any) -> bool:
        """Tell whether a value is an object."""
        return isinstance(value, dict)


class Param(NamedTuple):
    """One parameter of a verb.

    Attributes
    ----------
    name : str
        Its name.
    kind : Kind
        What it takes.
    help : str
        What it says.
    is_required : bool
        Whether it must be there.
    """

    name: str
    kind: Kind
    help: str
    is_required: bool = False


class Fields(Kind):
    """An object that has some of the given fields."""

    name = "object"

    def __init__(self, *fields: Param) -> None:
        self.members = fields
        """The fields."""

    @property
    def expected(self) -> str:
        """The fields."""
        return f"an object with some of {', '.join(field.name for field in self.members)}"

    def fits(self, value: Any) -> bool:
        """Tell whether a value is an object; `check` looks at its fields."""
        return isinstance(value, dict)

    def check(self, called: str, value: Any) -> Any:
        """Check the fields too, and return those that are given."""
        return check(self.members, super().check(called, value), f"{called}.")


def check(
    params: Sequence[Param],
    given: Mapping[str, Any],
    place: str = "",
    *,
    null_is_none: bool = True,
) -> dict[str, Any]:
    """Check what was given against the parameters that there are; return those that are given.

    Parameters
    ----------
    params
        Those that there are.
    given
        What was given, by name.
    place
        What stands before their names in a sentence.
    null_is_none
        Whether one that is null is left out: so a client sends what it has, as the `next` of the last page.

    Raises
    ------
    Refusal
        One is unknown, one is missing, or a value does not fit.
    """
    known = {param.name: param for param in params}
    checked = {}
    for name, value in given.items():
        if name not in known:
            raise Refusal(
                Code.BAD_PARAMS, unknown("parameter", name, list(known), called=place + name)
            )
        if value is not None or not null_is_none:
            checked[name] = known[name].kind.check(place + name, value)
    for param in params:
        if param.is_required and param.name not in checked:
            raise Refusal(
                Code.BAD_PARAMS, f"{place}{param.name} is missing: it must be {param.kind.expected}"
            )
    return checked


def unknown(what: str, name: str, known: list[str], *, called: str = "") -> str:
    """Say that there is no `what` of a name, and which there are, or the one that was meant."""
    if not known:
        return f"there is no {what} {shown(called or name)}: there is none at all"
    near = closest(name, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
    return f"there is no {what} {shown(called or name)}; {hint}"
