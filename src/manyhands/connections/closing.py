"""Ending what a connection receives, under whoever waits for it; what is sent on it goes on.

Only the kernel is told (shutdown(2), SHUT_RD). On Linux what has arrived by then can still be read; then
comes the end. The methods of TLS sockets do more: `SSLSocket.shutdown` takes TLS away, and the handler's
answer would go out in clear. A TLS read sees its peer end without a goodbye, and reads an end of file; where
the context has `ssl.OP_IGNORE_UNEXPECTED_EOF`, TLS can still be written afterwards, and ended in good order.
"""

import _socket
import contextlib
import socket
import sys
from typing import Any

from manyhands.connections import socket_classes, tls_handshake
from manyhands.connections.socket_classes import behind


def half_close(request: Any) -> None:
    """Have `request`, a connection of any class, come to the end of what it receives. Thread-safe.

    Of what is no connection, or closed, nothing happens.
    """
    connection = behind(request)
    if type(connection).__module__.startswith("gevent."):
        connection = connection._sock  # its own method would have waits fail that are to see an end
    shutdown = (
        _socket.socket.shutdown
        if isinstance(connection, _socket.socket)
        else getattr(type(connection), "shutdown", None)
    )
    with contextlib.suppress(OSError, AttributeError):
        if shutdown is not None:
            shutdown(connection, _socket.SHUT_RD)


# The goodbye of a TLS connection: said, and never waited for.
#
# Without it a client cannot tell the end of what it was sent from an attacker's cut (RFC 8446, section 6.1),
# and strict ones say so: "unexpected EOF while reading". `SSLSocket.shutdown` sends none, and
# `SSLSocket.unwrap` waits for the client's own, for ever where that does not come.


def say_goodbye(request: Any) -> None:
    """Send close_notify on a TLS connection whose handshake is done, if that can be done at once.

    Of anything else, and of a connection that is closed or broken, nothing is sent, and nothing raised.
    """
    if not tls_handshake.is_tls(request) or isinstance(request, tls_handshake.Unshaken):
        return
    try:
        usual_timeout = request.gettimeout()
        request.settimeout(0.0)
        try:
            request.unwrap()
        finally:
            # A program may have a duplicate of the descriptor, which shares whether it blocks.
            request.settimeout(usual_timeout)
    except (OSError, ValueError, AttributeError):
        # As a rule `SSLWantReadError`: the goodbye is on its way, and the client's would be waited for.
        # Or the connection has been closed or shut down, just now by another thread perhaps.
        return


def is_said_after_the_end(request: Any) -> bool:
    """Tell whether a connection that was half-closed beneath TLS can still be said goodbye to, in TLS.

    OpenSSL takes the missing goodbye of the client for an error, and tells the client so in place of ours,
    unless the context has `ssl.OP_IGNORE_UNEXPECTED_EOF`.
    """
    holder = request if tls_handshake.is_tls(request) else socket_classes.manner_due(request)
    ignores = getattr(sys.modules.get("ssl"), "OP_IGNORE_UNEXPECTED_EOF", 0)
    return holder is not None and bool(holder.context.options & ignores)


# What a refused client is told: said at once, or not at all, and never waited for.

LONGEST_QUESTION = 65_536
"""Bytes of what the client has said already that are read, and thrown away, before the close."""


def say(request: Any, text: bytes) -> None:
    """Send `text` on a connection that is about to be closed, if it can be sent at once.

    Nothing is said on a TLS connection, whose handshake would have to come first, nor on what is no socket.
    """
    if not text or tls_handshake.is_tls(request):
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
