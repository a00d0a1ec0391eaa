"""A traffic counter for connections that the kernel does not count: Unix sockets, and TCP outside of Linux.

The methods of such a connection note when bytes were received, and how many were sent. Bytes that go another
way are not seen: `os.read` on the descriptor, a duplicate of it, a TLS connection made of it.
"""

import fcntl
import math
import socket
import termios
import time
import weakref
from collections.abc import MutableSequence
from typing import Any

from manyhands.connections.tcp_info import TCP_ESTABLISHED, Traffic
from manyhands.runtime.fork_hooks import shared_with_copies
from manyhands.runtime.socket_classes import mix_into

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


def begin(connection: Any, record: Record) -> None:
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
        return _sent(self, super().send(data, *flags))  # type: ignore[misc]

    def sendmsg(self, *arguments: Any) -> int:
        """Send, and note it."""
        return _sent(self, super().sendmsg(*arguments))  # type: ignore[misc]

    def sendall(self, data: Any, *flags: Any) -> None:
        """Send all, noting it piece by piece."""
        with memoryview(data) as view, view.cast("B") as octets:
            if self.gettimeout() is not None:  # type: ignore[attr-defined]
                # The timeout is for the whole `sendall`, and would begin anew with each piece.
                super().sendall(octets, *flags)  # type: ignore[misc]
                _sent(self, len(octets))
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


def _sent(connection: Any, count: int) -> int:
    record = _records.get(connection)
    if record is not None:
        record[2] += count
        record[3] = time.monotonic()
    return count
