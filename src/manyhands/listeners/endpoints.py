"""From an address to sockets' addresses: names resolved, both IP versions, Unix paths."""

import socket
from dataclasses import dataclass
from typing import Any

from manyhands.rules.address import Address
from manyhands.rules.mistakes import Mistake

_STREAMS = {"tcp", "unix"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What one listening socket is made of.

    Attributes
    ----------
    family : int
        The address family of the socket.
    kind : int
        Its type: `SOCK_STREAM` or `SOCK_DGRAM`.
    address : object
        What `socket.bind` takes.
    is_dual_stack : bool
        Whether an IPv6 socket is to take IPv4 clients as well (IPV6_V6ONLY off, RFC 3493 section 5.3).
    """

    family: int
    kind: int
    address: Any
    is_dual_stack: bool = False


def endpoints(address: Address) -> list[Endpoint]:
    """Return what to listen on for `address`: one endpoint, or one for each IP address that a name has.

    Raises
    ------
    Mistake
        When the host has no IP address.
    """
    kind = socket.SOCK_STREAM if address.scheme in _STREAMS else socket.SOCK_DGRAM
    if address.path:
        return [Endpoint(socket.AF_UNIX, kind, socket_path(address))]
    if address.host in {"", "::"}:
        return [_every_interface(kind, address)]
    return _resolved(kind, address)


def socket_path(address: Address) -> str:
    """Return a Unix address's path as a socket takes it: ``@name`` is abstract, and begins with NUL there."""
    return "\0" + address.path[1:] if address.path.startswith("@") else address.path


def _every_interface(kind: int, address: Address) -> Endpoint:
    if socket.has_dualstack_ipv6():
        return Endpoint(socket.AF_INET6, kind, ("::", address.port), is_dual_stack=True)
    return Endpoint(socket.AF_INET, kind, ("0.0.0.0", address.port))  # noqa: S104 - what was asked for


def _resolved(kind: int, address: Address) -> list[Endpoint]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=kind, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Mistake(
            f"cannot listen on {address}: the host {address.host!r} has no address here "
            f"({error.strerror})"
        ) from None
    ordered = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
    # With port 0 each endpoint would get a port of its own; one is what was asked for.
    wanted = list(ordered) if address.port else list(ordered)[:1]
    return [Endpoint(family, kind, sockaddr) for family, sockaddr in wanted]
