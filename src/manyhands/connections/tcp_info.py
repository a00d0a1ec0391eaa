"""The kernel's record of a TCP connection: bytes, silence, and what the peer has not acknowledged.

One ``getsockopt(TCP_INFO)`` reads it in a microsecond or two, so nothing is counted while requests are
served. The layout is ``struct tcp_info`` in Linux's ``include/uapi/linux/tcp.h``: fields are only ever added
at its end, and an older kernel returns fewer bytes. The last ones that are needed here, `tcpi_bytes_sent` and
`tcpi_bytes_retrans`, came with Linux 4.19.
"""

import _socket
import functools
import socket
import struct
import sys
from typing import Any, NamedTuple

# state, then from byte 24: unacked; 44: last_data_sent, (last_ack_sent), last_data_recv in milliseconds;
# 120: bytes_acked, bytes_received; 144: notsent_bytes; 200: bytes_sent, bytes_retrans.
_LAYOUT = struct.Struct("=B23xI16xI4xI64xQQ8xI52xQQ")

_TCP_INFO: int | None = getattr(_socket, "TCP_INFO", None) if sys.platform == "linux" else None

TCP_ESTABLISHED = 1
"""A connection that is open on both sides, in ``include/net/tcp_states.h`` as the states below."""

TCP_CLOSE = 7
"""A connection that is none any more: after a reset."""

PEER_HAS_CLOSED = frozenset({8, 9, 11})
"""`TCP_CLOSE_WAIT`, `TCP_LAST_ACK` and `TCP_CLOSING`: the peer's FIN has come."""


class Traffic(NamedTuple):
    """How many bytes have gone over a connection, and when the last ones.

    Attributes
    ----------
    state : int
        The kernel's state of the connection.
    bytes_in, bytes_out : int
        Bytes received, and bytes sent, each counted once.
    acknowledged : int
        Bytes that the peer has acknowledged.
    silent : float
        Seconds since the last byte was received; since it was accepted, where there was none.
    unanswered : float
        Seconds since the last byte was sent.
    waits_for_peer : bool
        Whether there are bytes, sent or still to be sent, that the peer has not acknowledged.
    """

    state: int
    bytes_in: int
    bytes_out: int
    acknowledged: int
    silent: float
    unanswered: float
    waits_for_peer: bool

    @property
    def peer_has_closed(self) -> bool:
        """Whether the peer has closed its side."""
        return self.state in PEER_HAS_CLOSED

    @property
    def was_reset(self) -> bool:
        """Whether a reset has ended the connection."""
        return self.state == TCP_CLOSE


TCP_LISTEN = 10
"""The state of a listening socket."""

# state, then from byte 24: unacked, sacked.
_OF_LISTENER = struct.Struct("=B23xII")


class Backlog(NamedTuple):
    """What the kernel holds for a listening socket.

    Attributes
    ----------
    waiting : int
        Connections that are complete and wait to be accepted.
    limit : int
        How many may wait: what `listen` was given, or ``net.core.somaxconn`` where that is less.
    """

    waiting: int
    limit: int


def backlog_of(listener: Any) -> Backlog | None:
    """Ask the kernel about a listening socket. Thread-safe.

    For a listening socket Linux gives the queue in the fields of unacknowledged segments (``tcp_get_info`` in
    ``net/ipv4/tcp.c``, since Linux 2.6.18).

    Returns
    -------
    Backlog or None
        None when the socket is closed, is no listening TCP socket, or the system does not tell.
    """
    if _TCP_INFO is None:
        return None
    try:
        told = listener.getsockopt(_socket.IPPROTO_TCP, _TCP_INFO, _OF_LISTENER.size)
        state, waiting, limit = _OF_LISTENER.unpack(told)
    except (OSError, AttributeError, struct.error):
        return None
    return Backlog(waiting, limit) if state == TCP_LISTEN else None


def traffic_of(sock: Any) -> Traffic | None:
    """Ask the kernel about a socket of any class; nothing is received or sent. Thread-safe.

    Returns
    -------
    Traffic or None
        None when the socket is closed, is no TCP socket, or the system does not tell.
    """
    if _TCP_INFO is None:
        return None
    try:
        told = sock.getsockopt(_socket.IPPROTO_TCP, _TCP_INFO, _LAYOUT.size)
        state, unacked, sent, received, acked, bytes_in, unsent, out, again = _LAYOUT.unpack(told)
    except (OSError, AttributeError, struct.error):
        return None  # no TCP socket, no socket at all, closed, or fewer bytes from an old kernel
    waits_for_peer = bool(unacked or unsent)
    if state in PEER_HAS_CLOSED:
        bytes_in -= (
            1  # `tcpi_bytes_received` counts the sequence number of the peer's FIN as a byte
        )
    return Traffic(
        state, bytes_in, out - again, acked, received / 1000, sent / 1000, waits_for_peer
    )


def kernel_counts(client_address: Any) -> bool:
    """Return whether the kernel counts the traffic of a connection from this address: of TCP, on Linux."""
    return type(client_address) is tuple and _kernel_counts_tcp()


@functools.cache
def _kernel_counts_tcp() -> bool:
    # Tried, not looked up by version: a sandbox that imitates Linux may return fewer bytes than its version.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return traffic_of(probe) is not None
