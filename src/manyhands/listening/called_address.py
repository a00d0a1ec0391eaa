"""The address that a datagram was sent to, and answers that come from there (IP_PKTINFO, ip(7); RFC 3542).

A socket for all addresses of a host sends from the one that the kernel prefers. A client that called another
one takes such an answer for a stranger's. So a listener for all addresses has the kernel tell which one each
datagram was sent to, and the answer says which one to send from.
"""

import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Self

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
"""include/uapi/linux/in.h; Python has the name since 3.14."""

IS_TOLD = sys.platform == "linux"
"""Whether the kernel tells, in the way that is known here."""

Control = tuple[tuple[int, int, bytes], ...]
"""What goes with a datagram, as `socket.sendmsg` takes it."""

_V4 = struct.Struct(
    "=i4s4s"
)  # `struct in_pktinfo`: the interface, the address here, that of the header
_V6 = struct.Struct("=16sI")  # `struct in6_pktinfo`: the address, the interface

ROOM = socket.CMSG_SPACE(_V4.size) + socket.CMSG_SPACE(_V6.size)
"""Bytes: of a client of IPv4, a socket for both versions is told in both forms."""


def ask_for_it(listener: socket.socket) -> None:
    """Have the kernel tell of each datagram that `listener` receives which address it was sent to."""
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    # Also of clients of IPv4 on a socket for both: it names an address of this host even of a datagram to a
    # group, or to all.
    listener.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def control_of_answer(told: Sequence[tuple[int, int, bytes]]) -> Control:
    """Return what goes with an answer, from what the kernel told of the datagram; nothing for a group's."""
    control: Control = ()
    for level, kind, data in told:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, here, _ = _V4.unpack(data)
            # By the usual route: the interface that the datagram came in by need not be the one back.
            return ((level, kind, _V4.pack(0, here, bytes(4))),)
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and data[0] != 0xFF:
            # An address of one link is one only with its interface (RFC 4007).
            is_of_link = data[0] == 0xFE and data[1] & 0xC0 == 0x80
            control = ((level, kind, data if is_of_link else data[:16] + bytes(4)),)
    return control


class AnsweringSocket:
    """The socket of a datagram's handler, which answers the client from the address that the client called.

    All else is the listening socket's.
    """

    __slots__ = ("_client_address", "_control", "socket")

    def __init__(self, listener: Any, client_address: Any, control: Control) -> None:
        self.socket = listener
        """The listening socket."""

        self._client_address = client_address
        self._control = control

    def over(self, other: Any) -> Self:
        """Return one that sends by another socket object on the same socket."""
        return type(self)(other, self._client_address, self._control)

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """Send a datagram, as `socket.socket.sendto` does."""
        sent: int
        if not flags_and_address or not self._is_client(flags_and_address[-1]):
            # To other peers the kernel chooses: from that address they might not be reached.
            sent = self.socket.sendto(data, *flags_and_address)
        else:
            flags = flags_and_address[0] if len(flags_and_address) > 1 else 0
            sent = self.socket.sendmsg((data,), self._control, flags, self._client_address)
        return sent

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        """Send a datagram, as `socket.socket.sendmsg` does."""
        control = (*ancdata, *self._control) if self._is_client(address) else ancdata
        sent: int = self.socket.sendmsg(buffers, control, flags, address)
        return sent

    def _is_client(self, address: Any) -> bool:
        client = self._client_address
        # Of the four parts of an address of IPv6 programs often give two.
        return address == client or (type(address) is tuple and address == client[:2])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)
