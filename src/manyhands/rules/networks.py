"""Lists of networks, as `allow` and `deny` have them, and whether a client is in one."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import (
    AddressValueError,
    IPv4Network,
    IPv6Network,
    NetmaskValueError,
    collapse_addresses,
)
from typing import TypeVar

from manyhands.rules.client_ip import IP, ip_of
from manyhands.rules.escaping import escape
from manyhands.rules.mistakes import Mistake

Network = IPv4Network | IPv6Network
_Network = TypeVar("_Network", IPv4Network, IPv6Network)

EXAMPLES = "10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"
"""How networks and single addresses are written."""

_Ranges = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Networks:
    """Some networks, or none. Immutable, so safe for any thread.

    A look-up is one bisection of the sorted bounds of the networks: about 1 µs, also in thousands.

    Parameters
    ----------
    networks : tuple of IPv4Network or IPv6Network
        Which; `parse` reads them from text.

    Examples
    --------
    >>> networks = Networks.parse("10.0.0.0/8, 2001:db8::/32, 192.0.2.1")
    >>> ("10.1.2.3", 50000) in networks
    True
    """

    networks: tuple[Network, ...] = ()
    _ranges: dict[int, _Ranges] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fourth = [network for network in self.networks if isinstance(network, IPv4Network)]
        sixth = [network for network in self.networks if isinstance(network, IPv6Network)]
        object.__setattr__(self, "_ranges", {32: _ranges_of(fourth), 128: _ranges_of(sixth)})

    @classmethod
    def parse(cls, entries: str | Iterable[str]) -> "Networks":
        """Read networks.

        Parameters
        ----------
        entries : str or iterable of str
            Networks and single addresses, in one text with commas between them, or one by one. IPv4 networks
            that are written as IPv6 shows them (``::ffff:10.0.0.0/104``) are IPv4 networks. Otherwise the two
            are apart: ``::/0`` is every IPv6 client, and no IPv4 client.

        Raises
        ------
        Mistake
            An entry is no network; the sentence quotes it and says what would be one.
        """
        texts = entries.split(",") if isinstance(entries, str) else entries
        return cls(tuple(_parse(text) for text in texts))

    def __len__(self) -> int:
        return len(self.networks)

    def __str__(self) -> str:
        return ", ".join(map(_text, self.networks))

    def __contains__(self, client_address: object) -> bool:
        """Tell whether a client, by the address that `accept` gave, is in one of the networks."""
        return self.hold(ip_of(client_address))

    def hold(self, ip: IP | None) -> bool:
        """Tell whether one of the networks has an address that `ip_of` read; none has None."""
        if ip is None:
            return False
        bits, number = ip
        firsts, lasts = self._ranges[bits]
        index = bisect_right(firsts, number) - 1
        return index >= 0 and number <= lasts[index]


def _ranges_of(networks: Iterable[_Network]) -> _Ranges:
    """Return the first and the last addresses of networks, sorted, no two of them overlapping."""
    apart = list(collapse_addresses(networks))
    firsts = [int(network.network_address) for network in apart]
    return firsts, [int(network.broadcast_address) for network in apart]


def _text(network: Network) -> str:
    alone = network.prefixlen == network.max_prefixlen
    return str(network.network_address if alone else network)


def _parse(entry: object) -> Network:
    if not isinstance(entry, str):
        raise Mistake(f"{entry!r} is not a network: networks are texts, as {EXAMPLES}")
    text = entry.strip()
    address, _, prefix = text.partition("/")
    if "%" in address:
        raise Mistake(f"{text!r} is not a network: a network has no scope; leave out the '%'")
    try:
        network = _network(text, address)
    except NetmaskValueError:
        bits = 128 if ":" in address else 32
        raise Mistake(
            f"{text!r} is not a network: /{escape(prefix)} must be a whole number from /0 to /{bits}"
        ) from None
    except (AddressValueError, ValueError):
        raise Mistake(f"{text!r} is not a network: networks are written {EXAMPLES}") from None
    if int(network.network_address) != int(type(network)(address).network_address):
        raise Mistake(
            f"{text!r} is not a network: the address has bits set after its first {network.prefixlen}; "
            f"the network is {_text(network)}, the one address {address}"
        )
    return _without_mapping(network)


def _network(text: str, address: str) -> Network:
    return IPv6Network(text, strict=False) if ":" in address else IPv4Network(text, strict=False)


def _without_mapping(network: Network) -> Network:
    if isinstance(network, IPv4Network) or network.prefixlen < 96:
        return network
    mapped = network.network_address.ipv4_mapped
    return network if mapped is None else IPv4Network((mapped, network.prefixlen - 96))
