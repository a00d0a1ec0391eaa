"""`upgrade_to_tls`: a plain connection goes over to TLS under its handler (STARTTLS, RFC 3207)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from manyhands.config.options import setting
from manyhands.connections import tls_handshake
from manyhands.connections.connection import current_connection
from manyhands.connections.gated_sockets import Transfer, begin_transfer
from manyhands.connections.socket_classes import pass_header_on, upgrade
from manyhands.dropin.stream_files import open_files
from manyhands.model.usage_errors import Mistake

if TYPE_CHECKING:
    import ssl


def upgrade_to_tls(
    handler_or_request: Any, context: "ssl.SSLContext | None" = None
) -> "ssl.SSLSocket":
    """Go over to TLS, after the client has asked for it and has got the go-ahead (STARTTLS).

    Parameters
    ----------
    handler_or_request
        The handler of a stream, whose `request`, `connection`, `rfile` and `wfile` speak TLS afterwards; or a
        connection, of a handler that is a function.
    context
        The TLS context; None: the current one of the `manyhands.Server` that serves the connection.

    Returns
    -------
    ssl.SSLSocket
        The connection, its handshake done. The server closes it in the place of the plain one.

    Raises
    ------
    OSError
        When the handshake fails, or takes longer than the server's `handshake_timeout`; or
        `ConnectionAbortedError` when `rfile` holds bytes that the handler has not read. Bytes that come in
        clear behind the request for TLS may be an attacker's, who wants them taken for the client's secret
        ones (CVE-2011-0411). The connection is of no use then, and an event reports it.
    Mistake
        When there is no certificate.
    RuntimeError
        When the connection speaks TLS already.

    Notes
    -----
    For the thread or fiber that runs the handler. Bytes that the program has received without `rfile`, and
    not used, it must refuse itself.
    """
    if hasattr(handler_or_request, "client_address"):
        with _carrying_outbox(handler_or_request.request) as transfer:
            connection = _upgrade_handler(handler_or_request, context)
            transfer.finish(connection)
        return connection
    served = current_connection()
    server = None if served is None else served.server
    peer = handler_or_request.getpeername() if served is None else served.client_address
    with _carrying_outbox(handler_or_request) as transfer:
        connection = _wrapped(handler_or_request, server, context, peer)
        connection = _secured(handler_or_request, connection, server, peer)
        transfer.finish(connection)
    return connection


@contextmanager
def _carrying_outbox(plain: Any) -> Iterator[Transfer]:
    """Have what others send wait meanwhile, and go out on the TLS connection."""
    transfer = begin_transfer(plain)
    try:
        yield transfer
    except BaseException:
        transfer.fail()
        raise


def _upgrade_handler(handler: Any, context: "ssl.SSLContext | None") -> "ssl.SSLSocket":
    plain, server, peer = handler.request, handler.server, handler.client_address
    if not hasattr(handler, "rfile"):
        handler.request = _secured(plain, _wrapped(plain, server, context, peer), server, peer)
        return handler.request  # type: ignore[no-any-return]  # a handler of any class
    # The go-ahead may still be in its buffer, and must go out in clear.
    handler.wfile.flush()
    connection = _wrapped(plain, server, context, peer)
    # After the plain socket has lost its descriptor: a peek then sees the buffer alone, and receives nothing.
    unread = _buffered(handler.rfile)
    for file in (handler.rfile, handler.wfile):
        file.close()
    handler.request = handler.connection = connection
    open_files(handler)
    refusal = (
        f"the client sent {unread} bytes in clear after it had asked for TLS" if unread else None
    )
    return _secured(plain, connection, server, peer, refusal)


def _wrapped(
    plain: Any, server: Any, context: "ssl.SSLContext | None", peer: object
) -> "ssl.SSLSocket":
    """Make the TLS connection, which takes the descriptor; the handshake is not done here."""
    if tls_handshake.is_tls(plain):
        raise RuntimeError("the connection speaks TLS already")
    context = context or getattr(server, "tls_context", None)
    if context is None:
        raise Mistake(
            "upgrade_to_tls needs a certificate: give the Server certfile and keyfile, or the call a context"
        )
    try:
        return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    except OSError as error:
        # The client is gone by now (ENOTCONN): it is as if its handshake had failed.
        tls_handshake.note_failed_wrap(error, plain, peer)
        raise


def _buffered(rfile: Any) -> int:
    """Return how many bytes a file has received that the handler has not read."""
    if hasattr(rfile, "pending"):
        pending: int = rfile.pending()
        return pending
    if not hasattr(rfile, "peek"):
        return 0  # without a buffer
    try:
        return len(rfile.peek())
    except OSError:
        return 0


def _secured(
    plain: Any, connection: "ssl.SSLSocket", server: Any, peer: object, refusal: str | None = None
) -> "ssl.SSLSocket":
    """Do the handshake, with the timeout and events of any other; `refusal` says why there must be none."""
    # Before the handshake: even if that fails, the hooks must close the connection through the plain socket.
    upgrade(plain, connection)
    tls_handshake.send_secrets_at_once(connection, server)
    pass_header_on(plain, connection)
    tls_handshake.defer(connection, peer, setting("handshake_timeout", server), refusal=refusal)
    tls_handshake.finish(connection)
    return connection
