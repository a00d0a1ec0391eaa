"""Ways to end a connection, or a side of it, that never wait for the client."""

import _socket
import contextlib
import socket
import sys
from typing import Any

from manyhands.connections.socket_classes import connection_behind, tls_due
from manyhands.connections.tls_handshake import AwaitingHandshake, is_tls
from manyhands.runtime.sockets import system_socket

LONGEST_QUESTION = 65_536
"""Bytes of what the client has said already that are read, and thrown away, before a refusal's close."""


def half_close(request: Any) -> None:
    """Have `request`, a connection of any class, come to the end of what it receives. Thread-safe.

    What is sent on it goes on, and on Linux what has arrived by now can still be read (shutdown(2), SHUT_RD).
    Of what is no connection, or closed, nothing happens.
    """
    # The kernel alone is told. The methods of TLS sockets do more: `SSLSocket.shutdown` takes TLS away, and
    # the handler's answer would go out in clear. A TLS read sees its peer end without close_notify, and
    # reads an end of file; with `ssl.OP_IGNORE_UNEXPECTED_EOF` TLS can still be written afterwards, and
    # ended in good order. gevent's own method fails waits, which are to see an end of file.
    connection = system_socket(connection_behind(request))
    shutdown = (
        _socket.socket.shutdown
        if isinstance(connection, _socket.socket)
        else getattr(type(connection), "shutdown", None)
    )
    with contextlib.suppress(OSError, AttributeError):
        if shutdown is not None:
            shutdown(connection, _socket.SHUT_RD)


def send_close_notify(request: Any) -> None:
    """Send close_notify on a TLS connection whose handshake is done, if that can be done at once.

    Of anything else, and of a connection that is closed or broken, nothing is sent, and nothing raised.
    """
    # Without it a client cannot tell the end of what it was sent from an attacker's cut (RFC 8446, section
    # 6.1), and strict ones say so: "unexpected EOF while reading". `SSLSocket.shutdown` sends none, and
    # `SSLSocket.unwrap` waits for the client's own, for ever where that does not come.
    if not is_tls(request) or isinstance(request, AwaitingHandshake):
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
        # As a rule `SSLWantReadError`: ours is on its way, and the client's would be waited for.
        # Or another thread has closed the connection or shut it down just now.
        return


def can_send_close_notify(request: Any) -> bool:
    """Tell whether close_notify can still be sent on a connection that was half-closed beneath TLS.

    OpenSSL takes the client's missing close_notify for an error, and tells the client so in place of ours,
    unless the context has `ssl.OP_IGNORE_UNEXPECTED_EOF`.
    """
    holder = request if is_tls(request) else tls_due(request)
    ignores = getattr(sys.modules.get("ssl"), "OP_IGNORE_UNEXPECTED_EOF", 0)
    return holder is not None and bool(holder.context.options & ignores)


def say_refusal(request: Any, text: bytes) -> None:
    """Send `text` on a connection that is about to be closed, if it can be sent at once.

    Nothing is said on a TLS connection, whose handshake would have to come first, nor on what is no socket.
    """
    if not text or is_tls(request):
        return
    with contextlib.suppress(OSError, AttributeError, ValueError):
        # Another object for the same descriptor: a fiber's own waits, and lets other fibers run, as it
        # pleases.
        borrowed = _socket.socket(fileno=request.fileno())
        try:
            borrowed.send(text, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            borrowed.shutdown(socket.SHUT_WR)
            # What is unread at the close makes a reset of it, which takes the text back (RFC 1122, 4.2.2.13).
            borrowed.recv(LONGEST_QUESTION, socket.MSG_DONTWAIT)
        finally:
            borrowed.detach()
