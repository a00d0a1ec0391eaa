"""Ending what a connection receives, under whoever waits for it; what is sent on it goes on.

Only the kernel is told (shutdown(2), SHUT_RD). On Linux what has arrived by then can still be read; then
comes the end. The methods of TLS sockets do more: `SSLSocket.shutdown` takes TLS away, and the handler's
answer would go out in clear. A TLS read sees its peer end without a goodbye, and reads an end of file; where
the context has `ssl.OP_IGNORE_UNEXPECTED_EOF`, TLS can still be written afterwards, and ended in good order.
"""

import _socket
import contextlib
from typing import Any

from .stand_in import behind


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
