"""The terms of admission: what a server's options say now about the connections that it lets in."""

from collections.abc import Callable
from typing import Any

from manyhands.admission.limits import Limits
from manyhands.config.class_attributes import setting
from manyhands.config.option_types import encoded, listed
from manyhands.config.options import by_group
from manyhands.model.networks import Networks

_LIMIT_OPTIONS = by_group("limits")

Handler = Callable[[Any, Any, Any], Any]

_FOR_ADDRESSES_AND_RATES = (
    "max_connections_per_ip",
    "max_rate",
    "max_rate_per_ip",
    "allow",
    "deny",
)
"""The options that need the admission rules: one of them is enough to have each connection checked."""


class AdmissionTerms:
    """The terms of a server; the defaults refuse no client.

    Attributes
    ----------
    most : int or None
        Connections that are open at once.
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

    __slots__ = ("limits", "most", "overflow", "refusal", "waits")

    def __init__(
        self,
        most: int | None = None,
        limits: Limits | None = None,
        when_full: str | Handler = "wait",
        refusal: bytes = b"",
    ) -> None:
        self.most = most
        self.limits = limits
        self.overflow = when_full if callable(when_full) else None
        self.waits = most is not None and when_full == "wait"
        self.refusal = refusal


def attributes_of(source: Any) -> list[object]:
    """Return the attributes that terms are made from, to be compared: equal lists make equal terms. Cheap."""
    return [_comparable(getattr(source, name, None)) for name in _LIMIT_OPTIONS]


def _comparable(value: object) -> object:
    if value is None:
        return None
    # A copy, since the program may change a list in place. Objects of other types are left out: programs have
    # attributes of all sorts by these names, and their `==` could do anything.
    if isinstance(value, list | tuple):
        return tuple(part if isinstance(part, str) else None for part in value)
    return value if isinstance(value, bool | int | float | str | bytes) or callable(value) else None


def terms_of(source: Any) -> AdmissionTerms:
    """Make the terms of a server from the attributes of `source`."""
    said = {name: setting(name, source) for name in _LIMIT_OPTIONS}
    refusal = said["refusal"]
    told = b"" if refusal is None else encoded(refusal)
    return AdmissionTerms(said["max_connections"], _limits_of(said), said["when_full"], told)


def _limits_of(said: dict[str, Any]) -> Limits | None:
    if all(said[name] is None for name in _FOR_ADDRESSES_AND_RATES):
        return None
    allow, deny = (
        Networks.parse([text for text in listed(said[name]) if isinstance(text, str)])
        for name in ("allow", "deny")
    )
    limits = Limits(
        max_connections_per_ip=said["max_connections_per_ip"],
        ipv6_prefix=said["ipv6_prefix"],
        max_rate=said["max_rate"],
        max_rate_per_ip=said["max_rate_per_ip"],
        rate_burst=said["rate_burst"],
        rate_burst_per_ip=said["rate_burst_per_ip"],
        allow=allow,
        deny=deny,
    )
    # All values may have been invalid, or lists empty: then there is nothing to check.
    return None if limits == Limits(ipv6_prefix=limits.ipv6_prefix) else limits
