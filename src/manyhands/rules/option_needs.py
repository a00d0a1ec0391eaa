"""Which option is of no use without another one: who gives it alone has forgotten something, and is told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from manyhands.rules.mistakes import Mistake

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
