"""Opening a connection in its worker, before its handler: PROXY header, `verify_request`, TLS handshake.

The header comes first, since limits, hooks and events go by the address that it announces. `verify_request`
is asked here only after a header; without one the accept loop has asked it. Header and handshake share
`handshake_timeout`.
"""

import time
from typing import TYPE_CHECKING, Any, Protocol

from manyhands.config.options import setting
from manyhands.connections import tls_handshake
from manyhands.connections.socket_classes import (
    AwaitingHeader,
    TLSTerms,
    keep_header,
    pass_header_on,
    stop_awaiting,
    upgrade,
)
from manyhands.connections.tls_handshake import AwaitingHandshake
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason, Step
from manyhands.model.event_hub import event_hub

if TYPE_CHECKING:
    from manyhands.engines.engine import Engine
    from manyhands.protocol.proxy_header import ProxyHeader

SHORTEST_HANDSHAKE = 0.001
"""Seconds that a handshake gets at least after a header: a timeout of 0 would make the socket non-blocking,
and its failure another one than `TimeoutError`."""


class ConnectionToOpen(Protocol):
    """What the opening needs of a connection."""

    server: Any
    request: Any
    client_address: Any
    engine: "Engine"
    reason: Reason | None
    failed_for: Reason

    def take(self, step: Step) -> bool:
        """Go on to the next state."""

    def tell_step(self, step: Step) -> None:
        """Have the parent of a worker process know which step the connection takes there."""

    def identify(self) -> Reason | None:
        """Apply the limits for addresses, now that a PROXY header has told the client's."""


def first_step(request: object) -> Step:
    """Return what happens first to a connection in its worker."""
    if isinstance(request, AwaitingHeader):
        return Step.PROXY_HEADER_IS_DUE
    return Step.HANDSHAKE_IS_DUE if isinstance(request, AwaitingHandshake) else Step.HANDLER_BEGINS


def is_opened(connection: ConnectionToOpen) -> bool:
    """Open a connection; return False when no handler may have it: then `failed_for` says why.

    For the connection's worker, which may wait here for the client.

    Raises
    ------
    Exception
        Whatever `handle_error` of the server raises.
    """
    if isinstance(connection.request, AwaitingHeader):
        if not _is_announced(connection):
            return False
        if isinstance(connection.request, AwaitingHandshake):
            connection.tell_step(Step.HANDSHAKE_IS_DUE)
    return not isinstance(connection.request, AwaitingHandshake) or _is_secured(connection)


def _is_announced(connection: ConnectionToOpen) -> bool:
    connection.take(Step.PROXY_HEADER_IS_DUE)
    terms = stop_awaiting(connection.request)
    # Before the first wait: only a socket of the engine's own class lets other fibers run meanwhile.
    connection.request = connection.engine.adopt(connection.request)
    seconds: float | None = setting("handshake_timeout", connection.server)
    # Header and handshake share one time, so a client cannot spend all of it twice.
    began = time.monotonic()
    header = _read_header(connection, seconds)
    if header is None:
        return False
    keep_header(connection.request, header)
    if header.source is not None:
        connection.client_address = header.source
    # Before TLS: a client that is to be refused must not cost a handshake.
    refusal = connection.identify()
    if refusal is not None:
        connection.failed_for = refusal
        return False
    if terms is not None:
        left = None if seconds is None else began + seconds - time.monotonic()
        if not _is_wrapped(connection, terms, left):
            return False
    return _is_verified(connection)


def _read_header(connection: ConnectionToOpen, seconds: float | None) -> "ProxyHeader | None":
    # Loaded by `await_header` in the accept loop; servers without PROXY headers never need it.
    from manyhands.connections import proxy_reader  # noqa: PLC0415
    from manyhands.protocol.proxy_errors import BadProxyHeader  # noqa: PLC0415

    try:
        return proxy_reader.read_proxy_header(connection.request, seconds)
    except proxy_reader.SilentPeer as error:
        is_reset = error.__cause__ is not None
        connection.failed_for = Reason.PEER_RESET if is_reset else Reason.PEER_CLOSED
    except (BadProxyHeader, OSError) as error:
        is_slow = isinstance(error, TimeoutError)
        connection.failed_for = Reason.HANDSHAKE_TOO_SLOW if is_slow else Reason.BAD_PROXY_HEADER
        # A kick or a drain that ends the connection cuts its header off too: that is no bad header.
        if connection.reason is None and event_hub.has_subscribers:
            event_hub.emit(events.BadProxyHeader(connection.client_address, str(error)))
    return None


def _is_wrapped(connection: ConnectionToOpen, terms: TLSTerms, seconds: float | None) -> bool:
    plain = connection.request
    try:
        secret = tls_handshake.wrap(plain, terms, connection.engine.tls_wrapper())
    except OSError as error:
        connection.failed_for = Reason.HANDSHAKE_FAILED
        if event_hub.has_subscribers:
            event_hub.emit(events.HandshakeFailed(connection.client_address, str(error)))
        return False
    # The hooks were given the plain socket, which has lost its descriptor to the TLS one just now.
    upgrade(plain, secret)
    pass_header_on(plain, secret)
    if terms.do_handshake_on_connect:
        left = None if seconds is None else max(SHORTEST_HANDSHAKE, seconds)
        tls_handshake.defer(secret, connection.client_address, left, is_for_worker=True)
    connection.request = secret
    return True


def _is_verified(connection: ConnectionToOpen) -> bool:
    """Ask `verify_request`, which gets the address that the header announced."""
    # Set beforehand, so that it holds for a hook that raises as well.
    connection.failed_for = Reason.REFUSED_BY_HOOK
    request, client_address = connection.request, connection.client_address
    try:
        is_welcome = connection.server.verify_request(request, client_address)
    except Exception as error:  # noqa: BLE001 - whatever the hook raises is handle_error's
        if not note_failed_handshake(connection, error):
            connection.server.handle_error(request, client_address)
        return False
    if is_welcome:
        connection.failed_for = Reason.HANDLER_FAILED
    return bool(is_welcome)


def _is_secured(connection: ConnectionToOpen) -> bool:
    connection.take(Step.HANDSHAKE_IS_DUE)
    try:
        request = tls_handshake.for_worker(connection.request, connection.engine.tls_wrapper())
    except OSError as error:
        if not note_failed_handshake(connection, error):
            raise
        return False
    connection.request = connection.engine.adopt(request)
    is_done = tls_handshake.is_finished(connection.request)
    if not is_done:
        _note_handshake(connection, connection.request)
    return is_done


def note_failed_handshake(connection: ConnectionToOpen, error: BaseException) -> bool:
    """Note that `error` is a failed handshake, if it is one; an event has reported it by then."""
    failed = tls_handshake.failed_connection(error)
    if failed is not None:
        _note_handshake(connection, failed)
    return failed is not None


def _note_handshake(connection: ConnectionToOpen, failed: object) -> None:
    is_slow = tls_handshake.was_too_slow(failed)
    connection.failed_for = Reason.HANDSHAKE_TOO_SLOW if is_slow else Reason.HANDSHAKE_FAILED
