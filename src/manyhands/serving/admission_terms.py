"""What a server's options say of the clients that it lets in.

Programs set them as attributes of any sort, at any time: a mistake in one takes no protection away.
"""

import functools
from collections.abc import Callable
from typing import Any

# Loaded with the server's class, little as most servers need it: see `admission_control`.
from manyhands.admission.admission import Limits
from manyhands.config.option_types import encoded, listed
from manyhands.config.options import (
    ACCESS_RULES,
    OPTIONS,
    access_mistake,
    by_group,
    setting,
    slips,
)
from manyhands.model.networks import Networks
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.error_reports import warn
from manyhands.serving.request_hooks import Listener

Handler = Callable[[Any, Any, Any], Any]

LIMIT_OPTIONS = by_group("limits")
"""The names of the options that limit what a server lets in."""

_RULES = tuple(name for name in Limits._fields if not OPTIONS[name].needs)
"""The options that need the admission rules: one of them is enough to have each connection checked. The other
limits, such as a burst, do nothing without one of these."""


class AdmissionTerms:
    """The terms of a server; the defaults refuse no client.

    Attributes
    ----------
    most : int or None
        Connections that are open at once.
    most_datagrams : int or None
        Datagrams that are served at once.
    limits : Limits or None
        The limits for addresses and rates; None where there are none. `most` is not one of them, for the
        registry counts what is open anyway.
    overflow : callable or None
        The handler of connections beyond `most`, if the server has one.
    waits : bool
        Whether clients beyond `most` wait in the backlog.
    refusal : bytes
        What is sent to a refused client.
    """

    __slots__ = ("limits", "most", "most_datagrams", "overflow", "refusal", "waits")

    def __init__(
        self,
        most: int | None = None,
        most_datagrams: int | None = None,
        limits: Limits | None = None,
        when_full: str | Handler = "wait",
        refusal: bytes = b"",
    ) -> None:
        self.most = most
        self.most_datagrams = most_datagrams
        self.limits = limits
        self.overflow = when_full if callable(when_full) else None
        self.waits = most is not None and when_full == "wait"
        self.refusal = refusal


def comparable(value: object) -> object:
    """Return what a later value of an attribute can be compared with."""
    # A copy, since the program may change a list in place. Of other objects the type alone: programs have
    # attributes of all sorts by these names, and their `==` could do anything.
    if isinstance(value, list | tuple | set | frozenset | dict):
        return tuple(part if isinstance(part, str | bytes) else type(part) for part in value)
    is_plain = isinstance(value, bool | int | float | str | bytes) or callable(value)
    return value if is_plain else type(value)


_NO_CLIENT = "0.0.0.0/0, ::/0"
"""Networks that deny every client that has an address of the Internet protocol."""

_CLOSED = dict.fromkeys(ACCESS_RULES, _NO_CLIENT)
"""The access rules of a server whose own ones cannot be read."""


def settings_of(source: object, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the limits of a server are, by their names, from the attributes of `source`.

    Where `allow` or `deny` has a mistake in it no client is let in, and a limit that held `before` goes on to
    hold while its attribute has one: a mistake takes no protection away. A warning names it.
    """
    said = {name: setting(name, source) for name in LIMIT_OPTIONS}
    # Copies: what held is to be known when the program has changed its list in place.
    said |= {name: listed(said[name]) for name in ACCESS_RULES}
    held = said if before is None else before
    for name, limit in held.items():
        option = OPTIONS[name]
        if name in ACCESS_RULES or not slips(name, source):
            continue
        value = getattr(source, name)
        # Without a limit before, the attribute may be the program's own; but a number in a text is none.
        if limit == option.default and not _is_number_in_text(value):
            continue
        said[name] = limit
        warn(
            f"{name} of a server must be {option.kind.expected}, not {value!r}: ignored, and {limit!r} holds",
            stacklevel=2,
        )
    mistakes = [mistake for name in ACCESS_RULES if (mistake := _mistake_in(name, source, before))]
    if mistakes:
        said |= _CLOSED
        warn(
            f"no client is served, for an access rule of the server has a mistake in it: {mistakes[0]}",
            stacklevel=2,
        )
    return said


def _mistake_in(name: str, source: object, before: dict[str, Any] | None) -> str | None:
    """Return what is wrong with an access rule; None where nothing is."""
    value = getattr(source, name, None)
    was_rule = before is not None and before[name] and before[name] != _NO_CLIENT
    # The attribute is ours then, and no longer what a program may have by that name.
    if was_rule and value is not None and not OPTIONS[name].fits(value):
        return f"{name}: {value!r} is not {OPTIONS[name].kind.expected}"
    # A property that raises AttributeError looks as if it was not there.
    is_lost = value is None and isinstance(getattr(type(source), name, None), property)
    if is_lost and not hasattr(source, name):
        return f"{name}: the property raises AttributeError"
    return access_mistake(name, value)


def closed_settings() -> dict[str, Any]:
    """Return what the limits are of a server whose attributes cannot be read: no client is let in."""
    return {name: OPTIONS[name].default for name in LIMIT_OPTIONS} | _CLOSED


def _is_number_in_text(value: object) -> bool:
    return isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal()


def admission_terms_of(settings: dict[str, Any]) -> AdmissionTerms:
    """Make the terms of a server from what its limits are."""
    said = dict(settings)
    most, most_datagrams = map(said.pop, ("max_connections", "max_datagrams"))
    when_full, refusal = map(said.pop, ("when_full", "refusal"))
    told = b"" if refusal is None else encoded(refusal)
    return AdmissionTerms(most, most_datagrams, _limits_of(said), when_full, told)


def _limits_of(said: dict[str, Any]) -> Limits | None:
    if not [name for name in _RULES if said[name]]:
        return None  # as of most servers
    for name in ("allow", "deny"):
        said[name] = Networks.parse([text for text in listed(said[name]) if isinstance(text, str)])
    # All of them, so that an option which the rules do not know is an error, and no limit that does not hold.
    limits = Limits(**said)
    # A list may hold no text: then there is nothing to check.
    return limits if [name for name in _RULES if said[name]] else None


def trusted_networks(server: Listener) -> Networks:
    """Return the networks of the balancers whose PROXY headers count."""
    entries = listed(server.proxy_trusted)
    # A value that is no list of networks trusts no peer: falling back on the default would let peers forge
    # addresses.
    return _networks(entries) if all(isinstance(entry, str) for entry in entries) else Networks()


# Each connection asks, and to parse the networks would be most of the cost of accepting it.
@functools.lru_cache(maxsize=64)
def _networks(entries: tuple[str, ...]) -> Networks:
    try:
        return Networks.parse(entries)
    except Mistake:
        return Networks()
