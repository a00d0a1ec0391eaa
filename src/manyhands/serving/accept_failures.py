"""What may go wrong with a client before it has a worker, and what becomes of it then.

A hook's failure must not end the service: it is reported through `handle_error`, and the next client's turn
comes. A failure to accept that will come again is followed by a rest.
"""

import time
from typing import Any

from manyhands.connections import tls_handshake
from manyhands.model import lazy_events as events
from manyhands.model.accept_errors import AcceptTrouble, classify
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import hub


def lose_client(server: Any, error: Exception) -> None:
    """Go on after an accept, or a `get_request`, that failed."""
    if not isinstance(error, OSError):
        # Whoever waits is still there: the next try may well fail the same way.
        _rest_after(server, error)
        server.handle_error(None, None)
        return
    connection = tls_handshake.failed_connection(error)
    if connection is not None:
        # A get_request of the program's own looked at the connection that it got from ours.
        server._engine_room.books.refuse(Reason.HANDSHAKE_FAILED)
        shut_down(server, connection, None)
    elif classify(error) is not AcceptTrouble.THIS_CLIENT:
        _rest_after(server, error)


def turn_away(server: Any, request: Any, client_address: Any, refusal: Reason) -> None:
    """Refuse a request that the door does not let in."""
    try:
        server._engine_room.turn_away(server, request, client_address, refusal)
    except Exception as error:  # noqa: BLE001 - no worker for the overflow handler, say
        refuse(server, request, client_address, error)


def refuse(server: Any, request: Any, client_address: Any, error: Exception) -> None:
    """Report what a hook raised, and close the request that it was about."""
    has_shaken = tls_handshake.failed_connection(error) is None
    reason = Reason.REFUSED_BY_HOOK if has_shaken else Reason.HANDSHAKE_FAILED
    server._engine_room.door.withdraw(request, reason)
    try:
        # Of a failed handshake an event has told.
        if has_shaken:
            server.handle_error(request, client_address)
    finally:
        shut_down(server, request, client_address)


def shut_down(server: Any, request: Any, client_address: Any) -> None:
    """Close a request that nobody serves; report what the hook raises."""
    try:
        server.shutdown_request(request)
    except Exception:  # noqa: BLE001 - a hook's failure must not end the service
        server.handle_error(request, client_address)


def _rest_after(server: Any, error: Exception) -> None:
    reason = getattr(error, "strerror", None) or repr(error)
    if server._accept_backoff.fail(time.monotonic(), reason):
        number = getattr(error, "errno", None)
        if hub.has_subscribers:
            hub.emit(events.AcceptPaused(server._describe_listener(), number, reason))


def note_success(server: Any) -> None:
    """Note that accepting works again, after it did not."""
    paused = server._accept_backoff.succeed(time.monotonic())
    if paused is not None and hub.has_subscribers:
        hub.emit(events.AcceptResumed(server._describe_listener(), paused))
