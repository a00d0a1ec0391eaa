"""An option: its name everywhere, its default, and what it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from manyhands.config.option_types import Choice, Kind, OptionValue, Switch
from manyhands.model.usage_errors import Mistake

LONGEST_SHOWN = 100
"""Characters of a value that does not fit which a sentence shows whole."""

SHOWN = 60
"""Characters of a longer one: enough to know it again."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name, its default, what it takes and whose class attribute it is.

    Attributes
    ----------
    name : str
        The keyword and the class attribute.
    default : OptionValue
        The class attribute's value when nobody sets it.
    kind : Kind
        What it takes.
    unit : str
        The unit of its value: `seconds`, `bytes`, ...; ``""`` where it has none.
    help : str
        What it does, for `--help`.
    owners : tuple of str
        The classes of `manyhands.socketserver` that have the attribute; none when only
        `manyhands.Server` and `manyhands serve` have the option.
    may_be_none : bool
        Whether None (`none` on the command line) turns it off.
    server_default : OptionValue
        The default of `manyhands.Server` and `manyhands serve` where theirs is another one.
    """

    name: str
    default: OptionValue
    kind: Kind
    unit: str
    help: str
    owners: tuple[str, ...]
    may_be_none: bool = False
    server_default: OptionValue = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        """Whether its flag takes no value."""
        return isinstance(self.kind, Switch)

    def default_for(self, *, served: bool) -> OptionValue:
        """Say the default: of `manyhands.Server` when served, else of the drop-in classes."""
        return self.default if not served or self.server_default is None else self.server_default

    def as_served(self) -> "Option":
        """Return the option as `manyhands.Server` takes it: no None that leaves a choice to the class."""
        is_chosen_here = self.server_default is not None and isinstance(self.kind, Choice)
        return replace(self, may_be_none=False) if is_chosen_here else self

    def parse(self, text: str) -> OptionValue:
        """Read the word that follows the flag.

        Raises
        ------
        Mistake
            The word does not fit; the sentence names the flag and quotes the word.
        """
        if self.may_be_none and text == "none":
            return None
        try:
            value = self.kind.read(text)
        except ValueError:
            raise self._mistake(self.flag, text) from None
        if not self.kind.fits(value):
            raise self._mistake(self.flag, text)
        return value

    def check(self, value: object) -> None:
        """Check the value of a keyword or a class attribute.

        Raises
        ------
        Mistake
            The value does not fit; the sentence names the option and shows the value.
        """
        if not (self.may_be_none and value is None) and not self.kind.fits(value):
            raise self._mistake(self.name, value)

    def _mistake(self, called: str, value: object) -> Mistake:
        none = ", or none" if self.may_be_none else ""
        return Mistake(f"{called} must be {self.kind.expected}{none}, not {_shown(value)}")


def _shown(value: object) -> str:
    # A repr of thousands of digits is itself an error, and no help.
    if isinstance(value, int) and abs(value) >= 1e100:
        return "such a number"
    shown = repr(value)
    if len(shown) <= LONGEST_SHOWN:
        return shown
    if isinstance(value, str):
        return f"{shown[:SHOWN]}... ({len(value)} characters, {len(value.encode(errors='replace'))} bytes)"
    return f"{shown[:SHOWN]}..."


# Which option is of no use without another one: who gives it alone has forgotten something, and is told.

Values = Mapping[str, Any]

Called = Callable[[str], str]
"""Turns the name of an option into what the person calls it: the keyword, or the flag."""


class Need(Protocol):
    """What an option needs."""

    def is_met(self, values: Values) -> bool:
        """Tell whether the values of all options, defaults included, have it."""

    def sentence(self, option: str, values: Values, called: Called) -> str:
        """Say what is missing."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """At least one of some options is on."""

    names: tuple[str, ...]

    def is_met(self, values: Values) -> bool:
        """Tell whether one of them is on: `wait` is what happens without any."""
        return any(values.get(name) and values[name] != "wait" for name in self.names)

    def sentence(self, option: str, values: Values, called: Called) -> str:  # noqa: ARG002 - the form
        """Say that none of them is."""
        *most, last = map(called, self.names)
        others = f"{', '.join(most)} or {last}" if most else last
        return f"{called(option)} without {others} is of no use"


@dataclass(frozen=True, slots=True)
class OnEngine:
    """The engine is a certain one. None, as in programs that choose theirs by a class, may be any."""

    name: str

    def is_met(self, values: Values) -> bool:
        """Tell whether it is."""
        return values.get("engine") in {None, self.name}

    def sentence(self, option: str, values: Values, called: Called) -> str:
        """Say which engine it would be of use on."""
        return (
            f"{called(option)} is of no use on the engine {values['engine']}: it is one of the "
            f"engine {self.name}"
        )


_REFUSE = ("when_full", "max_connections_per_ip", "max_rate", "max_rate_per_ip", "allow", "deny")

NEEDS: Mapping[str, Need] = {
    "max_threads": OnEngine("threads"),
    "max_children": OnEngine("processes"),
    "max_fibers": OnEngine("fibers"),
    "hub_block_time": OnEngine("fibers"),
    "ipv6_prefix": OneOf(("max_connections_per_ip", "max_rate_per_ip")),
    "rate_burst": OneOf(("max_rate",)),
    "rate_burst_per_ip": OneOf(("max_rate_per_ip",)),
    "when_full": OneOf(("max_connections",)),
    "refusal": OneOf(_REFUSE),
    "proxy_trusted": OneOf(("proxy_protocol",)),
}
"""What the options need, of those that need anything. (Those of TLS are `server_tls`'s.)"""


def check(given: Values, defaults: Values, called: Called = str) -> None:
    """Refuse options that would do nothing.

    Parameters
    ----------
    given : mapping
        The options that were given, each of which fits by itself.
    defaults : mapping
        What the others are. An option that is given its default asks for nothing, and is no mistake.
    called : callable
        What the person calls an option.

    Raises
    ------
    Mistake
        One of them needs another one; the sentence names both.
    """
    values = {**defaults, **given}
    for name, value in given.items():
        need = NEEDS.get(name)
        is_wanted = value is not None and value != defaults.get(name)
        if need is not None and is_wanted and not need.is_met(values):
            raise Mistake(need.sentence(name, values, called))
