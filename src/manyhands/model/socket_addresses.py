"""The address of a socket, as `accept` and `getsockname` give it: for people, and for limits to count by."""

import os
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from manyhands.model.escaping import escape

IP = tuple[int, int]
"""The bits that an address has (32 or 128), and the address as a number."""

IPV6_PREFIX = 64
"""Bits: the smallest network that a customer gets (RFC 6177); its 2**64 addresses are all his (RFC 4291)."""

_MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with when an IPv6 socket shows it: ::ffff:0:0/96 (RFC 4291, 2.5.5.2)."""


def format_address(address: object) -> str:
    """Write a socket's address for a person: ``127.0.0.1:8008``, ``[::1]:8008``, ``/run/echo.sock``.

    One line, whatever is in it: the client chooses the path of its own Unix socket.
    """
    return escape(address_text(address))


def address_text(address: object) -> str:
    """Write a socket's address as `format_address` does, with all that is in it: for programs."""
    if isinstance(address, tuple) and len(address) >= 2:
        # A client of IPv4 on a socket for both versions: people know it by its IPv4 address.
        host = str(address[0]).removeprefix("::ffff:") or "*"
        return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    if isinstance(address, str):
        # A name in Linux's abstract namespace begins with NUL (unix(7)), which people write as `@`.
        name = "@" + address[1:] if address.startswith("\0") else address
        return name or "an unnamed Unix socket"
    return str(address)


def plain_address(address: object) -> object:
    """Return a socket's address as JSON has it: for `address_of_plain`, in another process perhaps."""
    if isinstance(address, bytes):  # a name of Linux's that is of no file (unix(7))
        return {"bytes": address.decode("latin-1")}
    return list(address) if isinstance(address, tuple) else address


def address_of_plain(plain: Any) -> Any:
    """Return the address of which `plain_address` has made that.

    Raises
    ------
    ValueError
        When it is none.
    """
    if isinstance(plain, dict):
        return str(plain.get("bytes")).encode("latin-1")
    return tuple(plain) if isinstance(plain, list) else plain


def client_ip(client_address: object) -> IP | None:
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
    # `ipaddress` takes ten times as long, and every connection to a server with limits pays for it.
    # `inet_pton` only turns a text into bytes; it opens nothing.
    try:
        if ":" in host:
            packed = inet_pton(AF_INET6, host.partition("%")[0])
            if packed.startswith(_MAPPED):
                return 32, int.from_bytes(packed[12:])
            return 128, int.from_bytes(packed)
        return 32, int.from_bytes(inet_pton(AF_INET, host))
    except (OSError, ValueError):
        return None


def address_key(ip: IP | None, ipv6_prefix: int = IPV6_PREFIX) -> int | None:
    """Return the key by which the limits per address count a client.

    Parameters
    ----------
    ip : IP or None
        What `client_ip` reads of its address. An IPv4 address counts by itself, also where an IPv6 socket
        shows it as ``::ffff:192.0.2.1``; an IPv6 address counts with all of its network.
    ipv6_prefix : int
        The bits of that network, from 1 to 128.

    Returns
    -------
    int or None
        None for a client without an IP address, as of a Unix socket: no limit per address concerns it.
    """
    if ip is None:
        return None
    bits, number = ip
    # Negative numbers for IPv4: no network of IPv6 has the same key, whatever the prefix.
    return ~number if bits == 32 else number >> (128 - ipv6_prefix)
