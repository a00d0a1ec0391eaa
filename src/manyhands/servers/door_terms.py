"""On what terms a server lets connections in, as its attributes say now."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from manyhands.rules.admission_options import ADMISSION
from manyhands.rules.kinds import listed, spoken
from manyhands.rules.limits import Limits
from manyhands.rules.networks import Networks

from .settings import setting

NAMES = tuple(option.name for option in ADMISSION)

Handler = Callable[[Any, Any, Any], Any]

_NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a server; the defaults keep nobody out.

    Attributes
    ----------
    most : int or None
        Connections that are open at once.
    limits : Limits
        The other limits. `most` is not one of them, for the books count what is open anyway.
    when_full : str or callable
        ``"wait"``, ``"refuse"``, or a handler for those whom `most` keeps out.
    refusal : bytes
        What a refused client is told.
    waits : bool
        Whether those whom `most` keeps out wait in the backlog.
    asks : bool
        Whether anything but `most` may keep a connection out.
    """

    most: int | None = None
    limits: Limits = _NO_LIMITS
    when_full: str | Handler = "wait"
    refusal: bytes = b""

    # Settled once, for each connection asks.
    waits: bool = field(init=False)
    asks: bool = field(init=False)

    def __post_init__(self) -> None:
        nothing = Limits(ipv6_prefix=self.limits.ipv6_prefix)
        object.__setattr__(self, "waits", self.most is not None and self.when_full == "wait")
        object.__setattr__(self, "asks", self.limits != nothing)

    @property
    def overflow(self) -> Handler | None:
        """The handler for those whom `most` keeps out, if they have one."""
        return self.when_full if callable(self.when_full) else None


def attributes_of(source: Any) -> tuple[object, ...]:
    """Return the attributes that terms are read from: two that are equal make the same terms. Cheap."""
    return tuple(_settled(getattr(source, name, None)) for name in NAMES)


def _settled(value: object) -> object:
    # A copy of a list, which may be changed in place; and of nothing else, for programs have all sorts of
    # attributes, whose comparison could do anything.
    if isinstance(value, list | tuple):
        return tuple(part if isinstance(part, str) else None for part in value)
    return value if isinstance(value, bool | int | float | str | bytes) or callable(value) else None


def terms_of(source: Any) -> Terms:
    """Return the terms that the attributes of `source` say."""
    said = {name: setting(name, source) for name in NAMES}
    refusal = said["refusal"]
    limits = Limits(
        max_connections_per_ip=said["max_connections_per_ip"],
        ipv6_prefix=said["ipv6_prefix"],
        max_rate=said["max_rate"],
        max_rate_per_ip=said["max_rate_per_ip"],
        rate_burst=said["rate_burst"],
        rate_burst_per_ip=said["rate_burst_per_ip"],
        allow=_networks(said["allow"]),
        deny=_networks(said["deny"]),
    )
    told = b"" if refusal is None else spoken(refusal)
    return Terms(said["max_connections"], limits, said["when_full"], told)


def _networks(value: object) -> Networks:
    return Networks.parse([text for text in listed(value) if isinstance(text, str)])
