"""What a refused client is told: said at once, or not at all, and never waited for."""

import _socket
import contextlib
import socket
from typing import Any

from . import handshake

LONGEST_QUESTION = 65_536
"""Bytes of what the client has said already that are read, and thrown away, before the close."""


def say(request: Any, text: bytes) -> None:
    """Send `text` on a connection that is about to be closed, if it can be sent at once.

    Nothing is said on a TLS connection, whose handshake would have to come first, nor on what is no socket.
    """
    if not text or handshake.is_tls(request):
        return
    with contextlib.suppress(OSError, AttributeError, ValueError):
        # Another object for the same descriptor: a fiber's own would wait, and let others run, as it pleases.
        borrowed = _socket.socket(fileno=request.fileno())
        try:
            borrowed.send(text, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            borrowed.shutdown(socket.SHUT_WR)
            # What is unread at the close makes a reset of it, which takes the text back (RFC 1122, 4.2.2.13).
            borrowed.recv(LONGEST_QUESTION, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()
