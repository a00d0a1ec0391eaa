"""A traffic counter of our own for connections that the kernel does not count: Unix sockets, other systems.

The methods of such a connection note when something was received and how much was sent. What goes another
way, such as `os.read` on its descriptor, a duplicate of it, or a TLS connection made of it, is not seen.
"""

import fcntl
import math
import mmap
import socket
import termios
import time
import weakref
from collections.abc import MutableSequence
from typing import Any

from manyhands.connections.tcp_info import Traffic
from manyhands.runtime.socket_classes import mix_into

Record = MutableSequence[float]
"""When something was received last, by `time.monotonic`, infinity where that is not to be known any more;
then bytes received, bytes sent, and when something was sent last."""

_ESTABLISHED = 1
"""`TCP_ESTABLISHED` in ``include/net/tcp_states.h``."""

_CHUNK = 65536
"""Bytes that `sendall` sends between two notes, so that a slow peer is seen to take something."""

_records: "weakref.WeakKeyDictionary[Any, Record]" = weakref.WeakKeyDictionary()


def new_record(*, is_shared: bool) -> Record:
    """Return a record that begins now, to be kept by this process or by a forked one."""
    start = (time.monotonic(), 0.0, 0.0, time.monotonic())
    if not is_shared:
        return list(start)
    shared: Any = memoryview(mmap.mmap(-1, 8 * len(start))).cast("d")
    for position, value in enumerate(start):
        shared[position] = value
    record: Record = shared
    return record


def begin(connection: Any, record: Record) -> None:
    """Have a connection keep a record from now on; of what is no socket like ours nothing is to be known."""
    try:
        mix_into(connection, Counted)
        _records[connection] = record
    except TypeError:  # another layout, or none of Python's classes
        record[0] = math.inf


def traffic_by(record: Record, connection: Any) -> Traffic | None:
    """Return what a record says of a connection; None where that is not to be known any more."""
    received_at, bytes_in, bytes_out, sent_at = record
    if received_at == math.inf:
        return None
    now = time.monotonic()
    waiting = _waiting(connection)
    return Traffic(
        state=_ESTABLISHED,
        bytes_in=int(bytes_in),
        bytes_out=int(bytes_out),
        acknowledged=int(bytes_out) - waiting,
        silent=now - received_at,
        unanswered=now - sent_at,
        waits_for_peer=waiting > 0,
    )


def _waiting(connection: Any) -> int:
    """Return how much the peer has not taken yet (SIOCOUTQ, unix(7)), with the kernel's own share of it."""
    try:
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
                # Which is for all of it.
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
            raw.__class__ = socket.SocketIO  # a fiber's goes past the methods above
        return file

    def detach(self) -> int:
        """Give the descriptor up: what goes over it from now on is not to be known."""
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
