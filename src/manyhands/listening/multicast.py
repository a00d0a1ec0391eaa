"""Groups of multicast addresses: a socket joins one to receive what is sent to it (RFC 1112, RFC 3493)."""

import errno
import socket
import struct
from typing import Any

from manyhands.listening.bind import explained
from manyhands.model.addresses import Address
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake

FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})
"""The address families that have groups."""


def number_of_interface(address: Address) -> int:
    """Return the number of the interface that an address names; 0 when it names none.

    Raises
    ------
    Mistake
        When this machine has none of that name.
    """
    if not address.interface:
        return 0
    try:
        return socket.if_nametoindex(address.interface)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise Mistake(
            f"cannot listen on {address}: there is no interface {address.interface!r}; there are {names}"
        ) from None


def is_group(family: int, host: str) -> bool:
    """Tell whether an IP address is that of a group."""
    packed = socket.inet_pton(family, host.partition("%")[0])
    # 224.0.0.0/4 (RFC 5771) and ff00::/8 (RFC 4291, section 2.7).
    return packed[0] >> 4 == 0b1110 if family == socket.AF_INET else packed[0] == 0xFF


def prepare(listener: socket.socket) -> None:
    """Let other programs on this machine receive the group too: each gets every datagram (socket(7))."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def join(listener: socket.socket, address: Any, interface: int) -> None:
    """Join the group at `address`, to which `listener` is bound.

    Raises
    ------
    OSError
        When it cannot be joined; its text says what to do.
    """
    host, _, *flow_and_zone = address
    group = socket.inet_pton(listener.family, host.partition("%")[0])
    try:
        if listener.family == socket.AF_INET:
            # `struct ip_mreqn` of ip(7): the group, no local address, the interface.
            request = struct.pack("=4s4si", group, bytes(4), interface)
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            # `struct ipv6_mreq` of ipv6(7).
            zone = interface or (flow_and_zone[1] if len(flow_and_zone) > 1 else 0)
            request = struct.pack("=16sI", group, zone)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    except OSError as error:
        sentence = f"cannot join the group {format_address(address)}{_reason(error, interface)}"
        raise explained(error, sentence) from None


def _reason(error: OSError, interface: int) -> str:
    if error.errno == errno.ENODEV and not interface:
        return " (no route tells on which interface: name one, as in ?interface=eth0)"
    if error.errno == errno.ENOBUFS:
        return " (this socket has joined net.ipv4.igmp_max_memberships groups)"
    return ""
