"""The IP address in what `accept` gives as a client's address."""

from socket import AF_INET, AF_INET6, inet_pton

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
            return _without_mapping(inet_pton(AF_INET6, host.partition("%")[0]))
        return 32, int.from_bytes(inet_pton(AF_INET, host))
    except (OSError, ValueError):
        return None


def _without_mapping(packed: bytes) -> IP:
    if packed.startswith(_MAPPED):
        return 32, int.from_bytes(packed[12:])
    return 128, int.from_bytes(packed)
