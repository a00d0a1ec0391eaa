"""What admission limits, and to how much."""

from dataclasses import dataclass

from manyhands.admission.rate_limits import Pace
from manyhands.config.options import OPTIONS
from manyhands.model.networks import IP, IPV6_PREFIX, Networks
from manyhands.model.usage_errors import Mistake

_NUMBERS = (
    "max_connections",
    "max_connections_per_ip",
    "ipv6_prefix",
    "max_rate",
    "max_rate_per_ip",
    "rate_burst",
    "rate_burst_per_ip",
)

_NONE = Networks()


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server; None: no limit. Replaced as a whole, never changed.

    Raises
    ------
    Mistake
        A value does not fit; the sentence names it.

    Attributes
    ----------
    max_connections : int or None
        Connections that are open at once.
    max_connections_per_ip : int or None
        Connections of one address, of IPv6 one network, that are open at once.
    ipv6_prefix : int
        Bits of the IPv6 network that the limits per address count as one address.
    max_rate : float or None
        New connections per second.
    max_rate_per_ip : float or None
        New connections per second of one address.
    rate_burst, rate_burst_per_ip : int or None
        Connections that may come at once, as long as the rate holds on average; None: as many as may come
        in one second, at least one.
    allow : Networks
        Where clients must come from; when empty, they may come from anywhere. Neither `allow` nor `deny`
        concerns a Unix socket: its file's permissions say who may connect.
    deny : Networks
        Where they must not come from, `allow` or not.
    """

    max_connections: int | None = None
    max_connections_per_ip: int | None = None
    ipv6_prefix: int = IPV6_PREFIX
    max_rate: float | None = None
    max_rate_per_ip: float | None = None
    rate_burst: int | None = None
    rate_burst_per_ip: int | None = None
    allow: Networks = _NONE
    deny: Networks = _NONE

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            option, value = OPTIONS[name], getattr(self, name)
            if not option.fits(value):
                none = ", or None" if option.may_be_none else ""
                raise Mistake(f"{name} must be {option.kind.expected}{none}, not {value!r}")

    @property
    def pace(self) -> Pace | None:
        """How fast connections may come; None: as fast as they like."""
        return None if self.max_rate is None else Pace(self.max_rate, self.rate_burst)

    @property
    def pace_per_ip(self) -> Pace | None:
        """How fast those of one address may come; None: as fast as they like."""
        if self.max_rate_per_ip is None:
            return None
        return Pace(self.max_rate_per_ip, self.rate_burst_per_ip)

    def denies(self, client_address: object, ip: IP | None) -> bool:
        """Tell whether `allow` and `deny` keep a client out.

        Parameters
        ----------
        client_address : object
            What `accept` gave.
        ip : IP or None
            What `ip_of` reads of it.
        """
        if ip is None and not isinstance(client_address, tuple):
            return False
        return self.deny.hold(ip) or (bool(self.allow) and not self.allow.hold(ip))
