"""The limits that a program sets on a socket's waits in the kernel: SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT.

The kernel follows them where a call blocks (socket(7)). One of a fiber's socket never does, nor of gevent's.
"""

import socket
import struct
import sys
from typing import Any, NamedTuple

_TIMEVAL = struct.Struct("@ll")  # struct timeval: seconds and microseconds, each a long

_WITH_64_BITS = {66, 67} if sys.platform == "linux" else set()
"""SO_RCVTIMEO_NEW and SO_SNDTIMEO_NEW, whose time has 64 bits (include/uapi/asm-generic/socket.h)."""

OPTIONS = frozenset({socket.SO_RCVTIMEO, socket.SO_SNDTIMEO, socket.SO_RCVLOWAT, *_WITH_64_BITS})
"""The options of SOL_SOCKET that set a limit."""


class Limits(NamedTuple):
    """What limits the waits of a socket without a timeout of Python's.

    Attributes
    ----------
    receive, send : float or None
        Seconds that one call waits before it fails with `EAGAIN`; None for ever.
    low_water : int
        Bytes that a receive waits for, or for as many as it asks for if that is less.
    """

    receive: float | None
    send: float | None
    low_water: int


def limits_of(sock: Any) -> Limits | None:
    """Ask the kernel for the limits of a socket; None where the program has set none."""
    found = Limits(
        seconds_of(sock, socket.SO_RCVTIMEO),
        seconds_of(sock, socket.SO_SNDTIMEO),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT),
    )
    return None if found == Limits(None, None, 1) else found


def seconds_of(sock: Any, option: int) -> float | None:
    """Ask the kernel how long a call may wait: `SO_RCVTIMEO` or `SO_SNDTIMEO`; None for ever."""
    seconds, microseconds = _TIMEVAL.unpack(
        sock.getsockopt(socket.SOL_SOCKET, option, _TIMEVAL.size)
    )
    total = seconds + microseconds / 1e6
    return total or None  # zero is none (socket(7))
