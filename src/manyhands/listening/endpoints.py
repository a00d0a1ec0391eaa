"""From an address to the sockets to make: names resolved, both IP versions, Unix paths, inherited sockets."""

import errno
import os
import socket
from typing import Any, NamedTuple

from manyhands.listening.bind import explained
from manyhands.listening.inherited_sockets import GivenSocket, given_sockets
from manyhands.listening.multicast import is_group, number_of_interface
from manyhands.listening.unix_access import Access, access_of
from manyhands.model.addresses import Address
from manyhands.model.socket_addresses import client_ip
from manyhands.model.usage_errors import Mistake

NOT_HERE = frozenset(
    {
        errno.EADDRNOTAVAIL,  # no interface has it, such as ::1 where IPv6 is switched off
        errno.EAFNOSUPPORT,  # the kernel was built without that version of IP
    }
)
"""Errors of `socket` and `bind` that mean: this machine does not have that address."""


class Endpoint(NamedTuple):
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
    is_tls : bool
        Whether its connections begin with a TLS handshake.
    descriptor : int
        Of a socket that is given, bound already; -1 of one that is to be made.
    access : Access or None
        Whose the file of a Unix socket is to be, and who may connect; None leaves it as it comes.
    interface : int
        The number of the interface on which a group of a multicast address is to be joined; 0 leaves it to
        the kernel.
    """

    family: int
    kind: int
    address: Any
    is_dual_stack: bool = False
    is_tls: bool = False
    descriptor: int = -1
    access: Access | None = None
    interface: int = 0


def endpoints(address: Address) -> list[Endpoint]:
    """Return what to listen on for `address`: one endpoint, or one for each IP address that a name has.

    Of a name's addresses those that this machine does not have are left out: ``/etc/hosts`` commonly has
    ``::1`` for localhost where IPv6 is switched off.

    Raises
    ------
    Mistake
        When the host has no IP address, or a socket that should be given is none that can be served.
    OSError
        When a name has addresses, and this machine none of them.
    """
    if address.is_given:
        return [_given(given, address) for given in given_sockets(address)]
    kind = socket.SOCK_STREAM if address.is_stream else socket.SOCK_DGRAM
    if address.path:
        access = access_of(address)
        return [Endpoint(socket.AF_UNIX, kind, socket_path(address), access=access)]
    is_for_all = address.host in {"", "::"}
    found = [_every_interface(kind, address)] if is_for_all else _resolved(kind, address)
    if address.is_stream:
        _refuse_groups(found, address)
    interface = number_of_interface(address)
    return [_on(interface, endpoint)._replace(is_tls=address.is_tls) for endpoint in found]


def _refuse_groups(found: list[Endpoint], address: Address) -> None:
    """Refuse a group for connections: the kernel binds IPv4's, and no client can connect to it (RFC 9293)."""
    for endpoint in found:
        if is_group(endpoint.family, endpoint.address[0]):
            raise Mistake(
                f"cannot listen on {address}: {endpoint.address[0]} is a group of multicast addresses, "
                "which has datagrams and no connections, as in udp://"
            )


def _on(interface: int, endpoint: Endpoint) -> Endpoint:
    if not interface:
        return endpoint
    host, port, *flow_and_zone = endpoint.address
    # The kernel binds a group of one link only in its zone (RFC 4007).
    zoned = (host, port, flow_and_zone[0], interface) if flow_and_zone else (host, port)
    return endpoint._replace(address=zoned, interface=interface)


def _given(given: GivenSocket, address: Address) -> Endpoint:
    if address.is_tls and given.kind != socket.SOCK_STREAM:
        raise Mistake(
            f"cannot listen on {address}: descriptor {given.descriptor} is a socket for datagrams, and TLS "
            "needs a stream"
        )
    return Endpoint(
        given.family,
        given.kind,
        given.address,
        is_tls=address.is_tls,
        descriptor=given.descriptor,
    )


def socket_path(address: Address) -> str:
    """Return a Unix address's path as a socket takes it: ``@name`` is abstract, and begins with NUL there."""
    return "\0" + address.path[1:] if address.path.startswith("@") else address.path


def _every_interface(kind: int, address: Address) -> Endpoint:
    # One socket for both: two of them would get different ports where the kernel chooses.
    if socket.has_dualstack_ipv6():
        return Endpoint(socket.AF_INET6, kind, ("::", address.port), is_dual_stack=True)
    return Endpoint(socket.AF_INET, kind, ("0.0.0.0", address.port))  # noqa: S104 - what was asked for


def _resolved(kind: int, address: Address) -> list[Endpoint]:
    # Of a text Python loads its tables of Unicode names first, which an address needs not. Names stay text:
    # a program may have put a resolver of its own in the place of the system's.
    host = address.host.encode() if client_ip((address.host, 0)) else address.host
    try:
        found = socket.getaddrinfo(host, address.port, type=kind, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Mistake(
            f"cannot listen on {address}: the host {address.host!r} has no address here "
            f"({error.strerror})"
        ) from None
    # In the system's order, each once.
    ordered = {(family, sockaddr): None for family, _, _, _, sockaddr in found}
    resolved = [Endpoint(family, kind, sockaddr) for family, sockaddr in ordered]
    if [endpoint.address[0] for endpoint in resolved] == [address.host]:
        return resolved  # no name; if it is not this machine's, `bind` says so
    usable = [endpoint for endpoint in resolved if is_of_this_machine(endpoint)]
    if not usable:
        raise _none_is_here(address, resolved)
    # With port 0 each endpoint would get a port of its own; one is what was asked for.
    return usable if address.port else usable[:1]


def is_of_this_machine(endpoint: Endpoint) -> bool:
    """Tell whether this machine has the IP address of `endpoint`, by binding it on any port."""
    host, _, *rest = endpoint.address
    try:
        with socket.socket(endpoint.family, endpoint.kind) as probe:
            probe.bind((host, 0, *rest))
    except OSError as error:
        # Any other error comes again when the server listens there, and is explained then.
        return error.errno not in NOT_HERE
    return True


def _none_is_here(address: Address, resolved: list[Endpoint]) -> OSError:
    hosts = ", ".join(endpoint.address[0] for endpoint in resolved)
    return explained(
        OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)),
        f"cannot listen on {address} (no interface of this machine has an address of {address.host!r}: "
        f"{hosts})",
    )
