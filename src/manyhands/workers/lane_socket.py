"""The socket of a worker's lane, on which its datagrams come. For a time another process may read it too.

The other one takes a datagram of which this one was just told that it is there. To receive would then wait
for the next one, with the accept loop.
"""

import socket
from typing import Any

from manyhands.runtime.unpatched import original

_AT_ONCE = socket.MSG_DONTWAIT

# The system's, as a dealt socket's: what it is polled by is the system's as well.
_Socket: type[socket.socket] = original(socket, "socket")


class LaneSocket(_Socket):  # type: ignore[misc, valid-type]  # known when it is loaded
    """Receives what is there, and raises `BlockingIOError` where nothing is, though it is a blocking socket.

    What is sent waits for its turn, as on any blocking socket. With a timeout of its own it waits to receive.
    """

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """Receive a datagram that is there, and tell from where."""
        received: tuple[bytes, Any] = super().recvfrom(bufsize, flags | _AT_ONCE)
        return received

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Receive one into a buffer, and tell from where."""
        received: tuple[int, Any] = super().recvfrom_into(buffer, nbytes, flags | _AT_ONCE)
        return received

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[Any, ...]:
        """Receive one, with what comes beside the data."""
        received: tuple[Any, ...] = super().recvmsg(bufsize, ancbufsize, flags | _AT_ONCE)
        return received
