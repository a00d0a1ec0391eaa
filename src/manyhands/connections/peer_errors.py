"""Which errors of a handler are its client's doing: a reset, or a TLS session that it broke off."""

import _socket
import errno
import sys
from typing import TYPE_CHECKING, Any

from manyhands.connections.socket_classes import connection_behind
from manyhands.connections.tls_handshake import was_too_slow
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import descriptor_of, has_hung_up, is_closed, system_socket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

_ENDS_A_CONNECTION = frozenset(
    {
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EPIPE,
        errno.ECONNREFUSED,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
    }
)
"""Errors of the system after which the connection that they are about is none any more (tcp(7), unix(7))."""


def reason_of(error: Exception, request: Any) -> Reason:
    """Return why a connection ends whose handler raised `error`, before it is closed.

    Returns
    -------
    Reason
        `PEER_RESET` or `HANDSHAKE_FAILED` where its client did it; `HANDLER_FAILED` for all that concerns
        another connection of the handler's, as to a database, or the program alone.
    """
    if isinstance(error, ConnectionError) or (
        isinstance(error, OSError) and error.errno in _ENDS_A_CONNECTION
    ):
        return Reason.HANDLER_FAILED if _is_of_another(error, request) else Reason.PEER_RESET
    ssl_module: Any = sys.modules.get("ssl")
    if ssl_module is None or not _breaks_session(error, ssl_module):
        return Reason.HANDLER_FAILED
    own = connection_behind(request)
    for connection, method in _raised_in(error, ssl_module.SSLSocket):
        # A handler that wraps its connection by itself leaves the plain one without a descriptor.
        if connection is own or (connection.server_side and is_closed(own)):
            # Of a program's own that does no handshake by itself the first read or write is one, too.
            # `version` would tell nothing any more: after an error OpenSSL takes no handshake for done.
            finished = ssl_module.SSLSocket.get_channel_binding(connection, "tls-unique")
            is_shaken = method != "do_handshake" and finished is not None
            return Reason.PEER_RESET if is_shaken else Reason.HANDSHAKE_FAILED
    return Reason.HANDLER_FAILED


def _is_of_another(error: OSError, request: Any) -> bool:
    """Tell whether `error` cannot be about the connection of `request`, which goes on in the kernel."""
    own = connection_behind(request)
    descriptor = descriptor_of(own)
    if error.errno not in _ENDS_A_CONNECTION or descriptor < 0 or has_hung_up(descriptor):
        return False
    return not (error.errno == errno.EPIPE and _is_read_no_more(own))


def _is_read_no_more(connection: Any) -> bool:
    """Tell whether the client of a Unix socket has ended what it receives, and no more (shutdown(2))."""
    inner = system_socket(connection)
    kind = getattr(inner, "family", None), getattr(inner, "type", None)
    if kind != (_socket.AF_UNIX, _socket.SOCK_STREAM):
        return False
    try:
        # Nothing is sent by it.
        _socket.socket.send(inner, b"", _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
    except BrokenPipeError:
        return True
    except OSError:
        return False
    return False


def _breaks_session(error: Exception, ssl_module: Any) -> bool:
    """Tell whether `error` ends a TLS session: a bad record, an alert, an end without close_notify."""
    if not isinstance(error, ssl_module.SSLError):
        return False
    # A handler's own doing: it does not let its calls wait, or writes after it has ended the session.
    is_own = isinstance(error, ssl_module.SSLWantReadError | ssl_module.SSLWantWriteError)
    return not is_own and error.reason != "PROTOCOL_IS_SHUTDOWN"


def _raised_in(
    error: Exception, kind: "type[ssl.SSLSocket]"
) -> "Iterator[tuple[ssl.SSLSocket, str]]":
    """Return the TLS connections in whose methods `error` was raised, and the names of the methods."""
    # The error itself does not say which connection it is about; the frames that it came through do.
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        first = step.tb_frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if isinstance(first, kind):
            method = getattr(type(first), code.co_name, None)
            # A function of the program's may have the connection as its first argument, too.
            if getattr(method, "__code__", None) is code:
                yield first, code.co_name
        step = step.tb_next


def is_lost_in_handshake(error: BaseException, listener: object) -> bool:
    """Tell whether `error` is that of a connection which a `get_request` accepted and wrapped by itself.

    `listener` is what it was accepted from, which may speak TLS itself.
    """
    ssl_module: Any = sys.modules.get("ssl")
    step = error.__traceback__ if ssl_module is not None and isinstance(error, OSError) else None
    while step is not None:
        frame = step.tb_frame
        if frame.f_globals is vars(ssl_module):
            candidate: Any = frame.f_locals.get("self")
            is_another = isinstance(candidate, ssl_module.SSLSocket) and candidate is not listener
            if is_another and candidate.server_side:
                return True
        step = step.tb_next
    return False


def reason_of_loss(error: BaseException, failed: object) -> Reason:
    """Return why a connection is lost that failed within `get_request`, perhaps in its TLS handshake."""
    if failed is not None:
        is_slow = was_too_slow(failed)
        return Reason.HANDSHAKE_TOO_SLOW if is_slow else Reason.HANDSHAKE_FAILED
    if is_lost_in_handshake(error, None):
        return Reason.HANDSHAKE_FAILED
    # The kernel knows no peer (ENOTCONN in getpeername(2)) of a connection that was reset.
    is_reset = getattr(error, "errno", None) == errno.ENOTCONN or isinstance(error, ConnectionError)
    return Reason.PEER_RESET if is_reset else Reason.REFUSED_BY_HOOK
