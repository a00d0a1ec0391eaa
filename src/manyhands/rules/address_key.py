"""What the limits per address count by."""

from manyhands.rules.client_ip import IP, ip_of

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
