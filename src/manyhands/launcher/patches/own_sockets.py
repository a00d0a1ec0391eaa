"""A program's own sockets, which send and receive all that a call waits for.

gevent's `recv` leaves MSG_WAITALL to a call that does not wait, its `send` takes what there is room for, and
its waits know nothing of the limits that the kernel has for them.
"""

import contextlib
import errno
import os
import socket
from typing import Any

import gevent.socket
from gevent._hub_primitives import wait_on_watcher

from manyhands.runtime.socket_limits import seconds_of
from manyhands.runtime.sockets import named_family, named_kind

_Socket: Any = gevent.socket.socket
_recv, _recv_into = _Socket.recv, _Socket.recv_into
_send, _sendmsg = _Socket.send, _Socket.sendmsg
_wait = _Socket._wait

EV_WRITE = 2
"""As libev's header has it."""

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


def _patient_send(self: Any, data: Any, flags: int = 0, **timeout: Any) -> int:
    # gevent's `sendall` says by keyword how long this part of it may take.
    sent: int = _send(self, data, flags, **timeout)
    if timeout or self.timeout is not None or flags & socket.MSG_DONTWAIT:
        return sent
    with memoryview(data) as view, view.cast("B") as octets, contextlib.suppress(OSError):
        while sent < len(octets):
            sent += _send(self, octets[sent:], flags)
    return sent  # after an error too, which the next call will meet


def _patient_sendmsg(
    self: Any, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None
) -> int:
    pieces = [memoryview(each).cast("B") for each in buffers]
    sent: int = _sendmsg(self, pieces, ancdata, flags, address)
    if (
        self.timeout is None
        and not flags & socket.MSG_DONTWAIT
        and (rest := b"".join(pieces)[sent:])
    ):
        with contextlib.suppress(OSError):
            sent += _patient_send(self, rest, flags)
    return sent


def _patient_wait(self: Any, watcher: Any, **timeout_exc: Any) -> None:
    # A closed socket has neither, and gevent knows what to say then.
    if self.timeout is None and watcher is not None and self._sock.fileno() >= 0:
        option = socket.SO_SNDTIMEO if watcher.events & EV_WRITE else socket.SO_RCVTIMEO
        seconds = seconds_of(self._sock, option)
        if seconds is not None:
            late = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            wait_on_watcher(watcher, seconds, late, self.hub)
            return
    _wait(self, watcher, **timeout_exc)


def patch_own_sockets() -> None:
    """Have sockets wait as those that block, and say what they are by the standard library's names."""
    _Socket.recv, _Socket.recv_into = _patient_recv, _patient_recv_into
    _Socket.send, _Socket.sendmsg = _patient_send, _patient_sendmsg
    _Socket._wait = _patient_wait
    _Socket.family = property(lambda self: named_family(self._sock.family))
    _Socket.type = property(lambda self: named_kind(self._sock.type))
