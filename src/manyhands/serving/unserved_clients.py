"""Clients that get no handler: each is counted, told of and closed, whatever went wrong.

A hook's failure must not end the service: it is reported through `handle_error`, and the next client's turn
comes.
"""

import time
from typing import Any

from manyhands.admission.refusal_log import RefusalNotices
from manyhands.connections import tls_handshake
from manyhands.connections.closing import say_refusal
from manyhands.connections.peer_errors import is_lost_in_handshake, reason_of_loss
from manyhands.connections.registry import Registry
from manyhands.model.accept_errors import AcceptTrouble, Backoff, classify
from manyhands.model.connection_states import Reason
from manyhands.serving.admission_control import NOT_KNOWN, AdmissionControl
from manyhands.serving.request_hooks import Listener, shut_down
from manyhands.serving.worker_shortage import tell_of_pause

ACCEPTED_FROM = "_manyhands_accepted_from"
"""The attribute in which an error keeps the address of the client whose connection was accepted before it."""


class UnservedClients:
    """What becomes of a listener's clients that no handler serves. Thread-safe.

    Parameters
    ----------
    registry, admission
        The server's, which count them.
    accept_backoff
        Grows while no client can be got.
    """

    def __init__(
        self, registry: Registry, admission: AdmissionControl, accept_backoff: Backoff
    ) -> None:
        self._registry = registry
        self._admission = admission
        self._accept_backoff = accept_backoff
        self.refusals = RefusalNotices()
        """What tells of them."""

    def lose(self, server: Listener, error: BaseException) -> None:
        """Go on after an accept, or a `get_request`, that failed; count what was accepted before.

        An error that is no `Exception`, such as a `KeyboardInterrupt`, is raised.
        """
        client_address = vars(error).pop(ACCEPTED_FROM, None)
        if client_address is None and is_lost_in_handshake(error, getattr(server, "socket", None)):
            # The program has accepted it by itself, and its peer's address cannot be asked any more.
            client_address = NOT_KNOWN
        trouble = classify(error) if isinstance(error, OSError) else AcceptTrouble.BROKEN
        if client_address is not None:
            self._count_lost(server, client_address, error)
            # The client waits no longer, whatever failed with its connection: the next one's turn comes.
            has_to_rest = trouble is AcceptTrouble.EXHAUSTED
        else:
            # It still waits, or there is none: the next try may well fail the same way.
            has_to_rest = trouble is not AcceptTrouble.THIS_CLIENT
        if not isinstance(error, Exception):
            try:
                raise error
            finally:
                # The traceback has this frame: the two would keep alive what `get_request` had accepted.
                del error
        if has_to_rest:
            self._rest_after(server, error)
        if not isinstance(error, OSError):
            server.handle_error(None, None)

    def _count_lost(self, server: Listener, client_address: Any, error: BaseException) -> None:
        """Count a connection that was accepted, and failed within `get_request`, under the rules for all."""
        arrival, failed = object(), tls_handshake.failed_connection(error)
        refusal = self._admission.arrive(server, arrival, client_address)
        try:
            if refusal is None:
                self._admission.withdraw(arrival, reason_of_loss(error, failed))
            else:
                self._registry.refuse(refusal)
                self.note_refusal(server, arrival, client_address, refusal)
        finally:
            if failed is not None:
                shut_down(server, failed, client_address)

    def _rest_after(self, server: Listener, error: Exception) -> None:
        # Not the text of a program's own exception, which may hold what a client sent: `handle_error` has
        # that.
        reason = getattr(error, "strerror", None) or type(error).__name__
        if self._accept_backoff.fail(time.monotonic(), reason):
            tell_of_pause(server, error, reason)

    def refuse(self, server: Listener, request: Any, client_address: Any, error: Exception) -> None:
        """Report what a hook raised, and close the request that it was about."""
        has_shaken = tls_handshake.failed_connection(error) is None
        reason = Reason.REFUSED_BY_HOOK if has_shaken else Reason.HANDSHAKE_FAILED
        self._admission.withdraw(request, reason)
        try:
            # Of a failed handshake an event has told.
            if has_shaken:
                server.handle_error(request, client_address)
        finally:
            shut_down(server, request, client_address)

    def turn_away(
        self, server: Listener, request: Any, client_address: Any, reason: Reason
    ) -> None:
        """Refuse a request that has arrived: a datagram is dropped, a connection is told, and closed."""
        is_datagram = type(request) is tuple
        if is_datagram:
            self._registry.drop(reason)
        else:
            self._registry.refuse(reason)
        self.note_refusal(server, request, client_address, reason)
        if not is_datagram:
            self.send_away(server, request, client_address)

    def note_refusal(
        self, server: Listener, request: Any, client_address: Any, reason: Reason
    ) -> None:
        """Tell of a refusal, now or together with others."""
        self.refusals.note(server, request, client_address, reason)

    def send_away(self, server: Listener, request: Any, client_address: Any) -> None:
        """Say the refusal on a connection, and close it."""
        say_refusal(request, self._admission.refusal)
        shut_down(server, request, client_address)
