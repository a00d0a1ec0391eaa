"""The IP address in what `accept` gives as a client's address."""

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
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeVar

from manyhands.model.escaping import escape
from manyhands.model.usage_errors import Mistake

# `inet_pton` turns a text into bytes and opens nothing. `ipaddress` takes ten times as long to do the same,
# and every connection pays for it.

IP = tuple[int, int]
"""The bits that an address has (32 or 128), and the address as a number."""

#: What an IPv4 address begins with when an IPv6 socket shows it: ::ffff:0:0/96 (RFC 4291, 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"


def ip_of(client_address: object) -> IP | None:
    """Return the IP address of a client.

    Parameters
    ----------
    client_address : object
        What `accept` gave: ``(host, port)``, or the four of IPv6, with or without a scope
        (``fe80::1%eth0``). ``::ffff:192.0.2.1`` counts as the IPv4 address that it is.

    Returns
    -------
    IP or None
        None for a client without one: of a Unix socket (``""``, bytes or a path), or a host that is a name.
    """
    host = client_address[0] if isinstance(client_address, tuple) and client_address else None
    if not isinstance(host, str):
        return None
    try:
        if ":" in host:
            return _ipv4_where_mapped(inet_pton(AF_INET6, host.partition("%")[0]))
        return 32, int.from_bytes(inet_pton(AF_INET, host))
    except (OSError, ValueError):
        return None


def _ipv4_where_mapped(packed: bytes) -> IP:
    if packed.startswith(_MAPPED):
        return 32, int.from_bytes(packed[12:])
    return 128, int.from_bytes(packed)


# What the limits per address count by.

IPV6_PREFIX = 64
"""Bits: the smallest network that a customer gets (RFC 6177); its 2**64 addresses are all his (RFC 4291)."""


def address_key(client_address: object, ipv6_prefix: int = IPV6_PREFIX) -> int | None:
    """Return the key by which the limits per address count a client.

    Parameters
    ----------
    client_address : object
        What `accept` gave. An IPv4 address counts by itself, also where an IPv6 socket shows it as
        ``::ffff:192.0.2.1``; an IPv6 address counts with all of its network.
    ipv6_prefix : int
        The bits of that network, from 1 to 128.

    Returns
    -------
    int or None
        None for a client without an IP address, as of a Unix socket: no limit per address concerns it.
    """
    return key_of(ip_of(client_address), ipv6_prefix)


def key_of(ip: IP | None, ipv6_prefix: int) -> int | None:
    """Return the key of an address that `ip_of` read."""
    if ip is None:
        return None
    bits, number = ip
    # Negative numbers for IPv4: no network of IPv6 has the same key, whatever the prefix.
    return ~number if bits == 32 else number >> (128 - ipv6_prefix)


# Lists of networks, as `allow` and `deny` have them, and whether a client is in one.

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
            Networks and single addresses, in one text with commas between them, or in several. IPv4 networks
            that are written as IPv6 shows them (``::ffff:10.0.0.0/104``) are IPv4 networks. Otherwise the two
            are apart: ``::/0`` is every IPv6 client, and no IPv4 client.

        Raises
        ------
        Mistake
            An entry is no network; the sentence quotes it and says what would be one.
        """
        texts = [entries] if isinstance(entries, str) else entries
        return cls(tuple(_parse(entry) for text in texts for entry in _split(text)))

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


def _split(text: object) -> Iterable[object]:
    return text.split(",") if isinstance(text, str) else (text,)


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
