"""The TLS handshake of an accepted connection: begun by nobody, finished in the connection's own worker.

The usual recipe wraps the *listening* socket (``server.socket = context.wrap_socket(server.socket, ...)``);
`SSLSocket.accept` then does the handshake inside the accept loop, where one silent client stops everyone.
Here accepting and the handshake are two steps.
"""

import socket
import sys
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    import ssl


def is_tls(candidate: object) -> "TypeGuard[ssl.SSLSocket]":
    """Tell whether `candidate` is a TLS socket, without importing `ssl` for a program that does not."""
    ssl_module = sys.modules.get("ssl")
    return ssl_module is not None and isinstance(candidate, ssl_module.SSLSocket)


def accept_before_handshake(listener: "ssl.SSLSocket") -> tuple["ssl.SSLSocket", object]:
    """Accept one connection of a TLS listener and wrap it, its handshake still to be done.

    Raises
    ------
    OSError
        When there is none, or it is gone again.
    """
    plain, client_address = socket.socket.accept(listener)
    try:
        connection = listener.context.wrap_socket(
            plain,
            server_side=True,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=vars(listener)["suppress_ragged_eofs"],
        )
    except BaseException:
        plain.close()
        raise
    # What the owner of the listener asked for. `finish` goes by it: whoever said False does it alone.
    vars(connection)["do_handshake_on_connect"] = vars(listener)["do_handshake_on_connect"]
    return connection, client_address


def is_due(request: object) -> "TypeGuard[ssl.SSLSocket]":
    """Tell whether `request` is a TLS connection whose handshake was asked for and is not done."""
    return (
        is_tls(request) and vars(request)["do_handshake_on_connect"] and request.version() is None
    )


def finish(connection: "ssl.SSLSocket", timeout: float | None) -> None:
    """Do the handshake, within `timeout` seconds for the whole of it (None: without end).

    Raises
    ------
    OSError
        `ssl.SSLError` when the client does not speak TLS as we do, `TimeoutError` when it took too long
        (`ssl` measures the whole handshake against the socket's timeout, so a client that drips one byte
        at a time gains nothing), or the connection's own failure.
    """
    usual_timeout = connection.gettimeout()
    connection.settimeout(timeout)
    connection.do_handshake()
    connection.settimeout(usual_timeout)
