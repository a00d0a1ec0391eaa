"""The traffic of a connection: bytes, silence, and what the peer has not acknowledged.

Of TCP, one ``getsockopt(TCP_INFO)`` reads it in a microsecond or two, so nothing is counted while requests
are served. The layout is ``struct tcp_info`` in Linux's ``include/uapi/linux/tcp.h``: fields are only ever
added at its end, and an older kernel returns fewer bytes. The last ones that are needed here,
`tcpi_bytes_sent` and `tcpi_bytes_retrans`, came with Linux 4.19.

Of Unix sockets, and of TCP outside of Linux, the kernel keeps no such record. There the methods of the
connection note when bytes were received, and how many were sent. Bytes that go another way are not seen:
`os.read` on the descriptor, a duplicate of it, a TLS connection made of it.
"""

import _socket
import fcntl
import functools
import math
import socket
import struct
import sys
import termios
import time
import weakref
from collections.abc import MutableSequence
from typing import Any, NamedTuple

from manyhands.runtime.fork_hooks import shared_with_copies
from manyhands.runtime.sockets import mix_into

# state, then from byte 24: unacked; 44: last_data_sent, (last_ack_sent), last_data_recv in milliseconds;
# 120: bytes_acked, bytes_received; 144: notsent_bytes; 200: bytes_sent, bytes_retrans.
_LAYOUT = struct.Struct("=B23xI16xI4xI64xQQ8xI52xQQ")

_TCP_INFO: int | None = getattr(_socket, "TCP_INFO", None) if sys.platform == "linux" else None

TCP_ESTABLISHED = 1
"""A connection that is open on both sides, in ``include/net/tcp_states.h`` as the states below."""

TCP_CLOSE = 7
"""A connection that is none any more: after a reset."""

TCP_TIME_WAIT = 6
"""Both sides have closed, and all has been acknowledged."""

PEER_HAS_CLOSED = frozenset({TCP_TIME_WAIT, 8, 9, 11})
"""The others are `TCP_CLOSE_WAIT`, `TCP_LAST_ACK` and `TCP_CLOSING`: the peer's FIN has come."""


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


_SO_MEMINFO: int | None = 55 if sys.platform == "linux" else None
"""``asm-generic/socket.h``, since Linux 4.12; its layout is in ``include/uapi/linux/sock_diag.h``."""

_MEMORY = struct.Struct("=32xI")  # the last is SK_MEMINFO_DROPS


def dropped_datagrams(sock: Any) -> int | None:
    """Ask the kernel how many datagrams it has dropped since the socket of a UDP listener was made.

    They came when its receive buffer was full (`net.core.rmem_default`, or SO_RCVBUF in socket(7)).
    Thread-safe.

    Returns
    -------
    int or None
        None when the socket is closed, is none of UDP, or the system does not tell.
    """
    try:
        is_udp = sock.type == socket.SOCK_DGRAM and sock.family in {socket.AF_INET, socket.AF_INET6}
        if _SO_MEMINFO is None or not is_udp:
            return None
        told = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMORY.size)
        (dropped,) = _MEMORY.unpack(told)
    except (OSError, AttributeError, struct.error):
        return None
    return int(dropped)


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
    if state == TCP_CLOSE and acked > out - again:
        # The peer has acknowledged our FIN, which counts as a byte: no reset has ended the connection. The
        # kernel keeps the rest of it elsewhere (`tcp_time_wait` in net/ipv4/tcp_minisocks.c). A reset that
        # came after that is told by an error of the handler's call alone.
        state = TCP_TIME_WAIT
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


Record = MutableSequence[float]
"""When bytes were received last, by `time.monotonic`, and infinity once that cannot be known any more; then
the bytes received, the bytes sent, and when bytes were sent last."""

_CHUNK = 65536
"""Bytes that `sendall` sends between two notes: else a large one to a slow peer would look stalled."""

# Beside the connections, since a socket takes no attributes.
_records: "weakref.WeakKeyDictionary[Any, Record]" = weakref.WeakKeyDictionary()


def new_record(*, is_shared: bool) -> Record:
    """Return a record that begins now; a shared one may be kept by a forked process, and read by this one."""
    start = [time.monotonic(), 0.0, 0.0, time.monotonic()]
    return shared_with_copies(start) if is_shared else start


def begin_counting(connection: Any, record: Record) -> None:
    """Have a connection keep a record from now on; of one that is no socket of Python's nothing is known."""
    try:
        mix_into(connection, Counted)
        _records[connection] = record
    except TypeError:  # see `mix_into`
        record[0] = math.inf


def traffic_by(record: Record, connection: Any) -> Traffic | None:
    """Return what a record says of a connection; None once that cannot be known any more."""
    received_at, bytes_in, bytes_out, sent_at = record
    if received_at == math.inf:
        return None
    now = time.monotonic()
    waiting = _waiting(connection)
    return Traffic(
        state=TCP_ESTABLISHED,
        bytes_in=int(bytes_in),
        bytes_out=int(bytes_out),
        acknowledged=int(bytes_out) - waiting,
        silent=now - received_at,
        unanswered=now - sent_at,
        waits_for_peer=waiting > 0,
    )


def _waiting(connection: Any) -> int:
    """Return how many bytes the peer has not read yet, the kernel's overhead included (SIOCOUTQ, unix(7))."""
    try:
        # TIOCOUTQ has the number of SIOCOUTQ (include/uapi/linux/sockios.h), which Python does not name.
        told = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, AttributeError):
        return 0
    return int.from_bytes(told, "little" if socket.htons(1) != 1 else "big")


class Counted:
    """Mixed into the class of a connection that keeps a record."""

    __slots__ = ()

    def recv(self, *arguments: Any) -> Any:
        """Receive, and note it."""
        data = super().recv(*arguments)  # type: ignore[misc]  # the class that this is mixed into
        return _received(self, data, len(data))

    def recv_into(self, *arguments: Any, **keywords: Any) -> Any:
        """Receive, and note it."""
        count = super().recv_into(*arguments, **keywords)  # type: ignore[misc]
        return _received(self, count, count)

    def recvfrom(self, *arguments: Any) -> Any:
        """Receive, and note it."""
        result = super().recvfrom(*arguments)  # type: ignore[misc]
        return _received(self, result, len(result[0]))

    def recvmsg(self, *arguments: Any) -> Any:
        """Receive, and note it."""
        result = super().recvmsg(*arguments)  # type: ignore[misc]
        return _received(self, result, len(result[0]))

    def recvmsg_into(self, *arguments: Any) -> Any:
        """Receive, and note it."""
        result = super().recvmsg_into(*arguments)  # type: ignore[misc]
        return _received(self, result, result[0])

    def send(self, data: Any, *flags: Any) -> int:
        """Send, and note it."""
        return note_sent(self, super().send(data, *flags))  # type: ignore[misc]

    def sendmsg(self, *arguments: Any) -> int:
        """Send, and note it."""
        return note_sent(self, super().sendmsg(*arguments))  # type: ignore[misc]

    def sendall(self, data: Any, *flags: Any) -> None:
        """Send all, noting it piece by piece."""
        with memoryview(data) as view, view.cast("B") as octets:
            if self.gettimeout() is not None:  # type: ignore[attr-defined]
                # The timeout is for the whole `sendall`, and would begin anew with each piece.
                super().sendall(octets, *flags)  # type: ignore[misc]
                note_sent(self, len(octets))
                return
            sent = 0
            while sent < len(octets):
                sent += self.send(octets[sent : sent + _CHUNK], *flags)

    def makefile(self, *arguments: Any, **keywords: Any) -> Any:
        """Return a file of the connection, whose reads are noted."""
        file = super().makefile(*arguments, **keywords)  # type: ignore[misc]
        raw = getattr(file, "buffer", file)
        raw = getattr(raw, "raw", raw)
        if isinstance(raw, socket.SocketIO):
            # A fiber's own class of file reads past the methods above; the standard one calls `recv_into`.
            raw.__class__ = socket.SocketIO
        return file

    def detach(self) -> int:
        """Give the descriptor up: its traffic cannot be known from now on."""
        record = _records.get(self)
        if record is not None:
            record[0] = math.inf
        descriptor: int = super().detach()  # type: ignore[misc]
        return descriptor


def _received(connection: Any, result: Any, count: int) -> Any:
    record = _records.get(connection)
    if record is not None and record[0] != math.inf:
        record[0] = time.monotonic()
        record[1] += count
    return result


def note_sent(connection: Any, count: int) -> int:
    """Note that so many bytes were sent on a connection that keeps a record; return their number."""
    record = _records.get(connection)
    if record is not None:
        record[2] += count
        record[3] = time.monotonic()
    return count
