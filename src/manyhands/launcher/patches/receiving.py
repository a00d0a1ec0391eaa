"""`MSG_WAITALL` on a program's own sockets, which gevent's `recv` leaves to a call that does not wait."""

import socket
from typing import Any

import gevent.socket

_Socket: Any = gevent.socket.socket
_recv, _recv_into = _Socket.recv, _Socket.recv_into

_NOT_FOR_ALL = socket.MSG_DONTWAIT | socket.MSG_PEEK


def _waits_for_all(sock: Any, flags: int) -> bool:
    # With a timeout a receive takes what there is, as in C.
    return bool(flags & socket.MSG_WAITALL) and not flags & _NOT_FOR_ALL and sock.timeout is None


def _fill(sock: Any, view: memoryview, flags: int) -> int:
    filled = 0
    while filled < len(view):
        count: int = _recv_into(sock, view[filled:], 0, flags)
        if not count:
            break
        filled += count
    return filled


def _patient_recv(self: Any, bufsize: int, flags: int = 0) -> bytes:
    if bufsize > 0 and _waits_for_all(self, flags):
        view = memoryview(bytearray(bufsize))
        return bytes(view[: _fill(self, view, flags)])
    received: bytes = _recv(self, bufsize, flags)
    return received


def _patient_recv_into(self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
    if _waits_for_all(self, flags):
        with memoryview(buffer) as view, view.cast("B") as octets:
            return _fill(self, octets[: nbytes or None], flags)
    count: int = _recv_into(self, buffer, nbytes, flags)
    return count


def patch_receiving() -> None:
    """Have sockets wait for all of a message where a program asks for that."""
    _Socket.recv, _Socket.recv_into = _patient_recv, _patient_recv_into
