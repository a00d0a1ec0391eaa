"""A connection until its handler begins: what its worker has to do first, as far as it is due.

The PROXY header comes first, since all that follows goes by the address that it announces; then, only where
there was one, `verify_request`; then the TLS handshake. Header and handshake share `handshake_timeout`.
"""

import time
from typing import TYPE_CHECKING, Any

from manyhands.config.class_attributes import setting
from manyhands.connections import socket_classes, tls_handshake
from manyhands.connections.connection import Connection
from manyhands.connections.socket_classes import stand_in
from manyhands.engines import Engine
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason, Step
from manyhands.model.event_hub import hub
from manyhands.protocol.proxy_errors import BadProxyHeader

if TYPE_CHECKING:
    from manyhands.protocol.proxy_header import ProxyHeader

SHORTEST = 0.001
"""Seconds that a handshake gets at least after a header: 0 would mean not to wait, which is another error."""


class Opening(Connection):
    """A connection, and how its worker opens it. Whoever makes one sets the attributes that it adds."""

    # One constructor less for each connection.
    __slots__ = ("_engine", "failed_for")

    _engine: Engine
    failed_for: Reason
    """Why it ended, if it cannot be opened, or its handler fails."""

    @property
    def request(self) -> Any:
        """The connection itself; once it is open, what the handler gets."""
        return self._request

    def is_opened(self) -> bool:
        """Open it, in its worker; return False when nobody may serve it, and `failed_for` says why.

        Raises
        ------
        Exception
            What `handle_error` raises.
        """
        if socket_classes.is_marked(self._request) and not self._is_announced():
            return False
        return not isinstance(self._request, tls_handshake.Unshaken) or self._shakes_hands()

    def identify(self, client_address: Any) -> Reason | None:
        """Take the address that a PROXY header announces; return why the connection is refused, if it is."""
        self.client_address = client_address
        return None

    def _is_announced(self) -> bool:
        self.take(Step.PROXY_HEADER_IS_DUE)
        manner = socket_classes.take_off(self._request)
        self._request = self._engine.adopt(self._request)
        seconds: float | None = setting("handshake_timeout", self.server)
        began = time.monotonic()
        header = self._read_header(seconds)
        if header is None:
            return False
        socket_classes.keep(self._request, header)
        refusal = self.identify(self.client_address if header.source is None else header.source)
        if refusal is not None:
            self.failed_for = refusal
            return False
        if manner is not None:
            left = None if seconds is None else began + seconds - time.monotonic()
            if not self._is_wrapped(manner, left):
                return False
        return self._is_verified()

    def _read_header(self, seconds: float | None) -> "ProxyHeader | None":
        # Loaded when the first connection was marked.
        from manyhands.connections import proxy_reader as opening  # noqa: PLC0415

        try:
            return opening.read_proxy_header(self._request, seconds)
        except opening.SilentPeer as error:
            is_reset = error.__cause__ is not None
            self.failed_for = Reason.PEER_RESET if is_reset else Reason.PEER_CLOSED
        except (BadProxyHeader, OSError) as error:
            is_slow = isinstance(error, TimeoutError)
            self.failed_for = Reason.HANDSHAKE_TOO_SLOW if is_slow else Reason.BAD_PROXY_HEADER
            # Somebody else's end of it cuts a header off too.
            if self.reason is None and hub.has_subscribers:
                hub.emit(events.BadProxyHeader(self.client_address, str(error)))
        return None

    def _is_wrapped(self, manner: tls_handshake.Manner, seconds: float | None) -> bool:
        plain = self._request
        try:
            secret = tls_handshake.wrapped(plain, manner, self._engine.tls_wrapper())
        except OSError as error:
            self.failed_for = Reason.HANDSHAKE_FAILED
            if hub.has_subscribers:
                hub.emit(events.HandshakeFailed(self.client_address, str(error)))
            return False
        # The hooks were given the plain one.
        stand_in(plain, secret)
        socket_classes.pass_on(plain, secret)
        if manner.do_handshake_on_connect:
            left = None if seconds is None else max(SHORTEST, seconds)
            tls_handshake.begin(secret, self.client_address, left, is_moved=True)
        self._request = secret
        return True

    def _is_verified(self) -> bool:
        """Ask the hook that decides, which is asked before the worker where no header is due."""
        self.failed_for = Reason.REFUSED_BY_HOOK
        try:
            is_welcome = self.server.verify_request(self._request, self.client_address)
        except Exception as error:  # noqa: BLE001 - whatever the hook raises is handle_error's
            if not self._note_failed_handshake(error):
                self.server.handle_error(self._request, self.client_address)
            return False
        if is_welcome:
            self.failed_for = Reason.HANDLER_FAILED
        return bool(is_welcome)

    def _shakes_hands(self) -> bool:
        self.take(Step.HANDSHAKE_IS_DUE)
        request = tls_handshake.moved(self._request, self._engine.tls_wrapper())
        self._request = self._engine.adopt(request)
        is_done = tls_handshake.complete(self._request)
        if not is_done:
            self._note_handshake(self._request)
        return is_done

    def _note_failed_handshake(self, error: BaseException) -> bool:
        """Note that a handshake failed with just this error, of which an event has told, if one did."""
        connection = tls_handshake.failed_connection(error)
        if connection is not None:
            self._note_handshake(connection)
        return connection is not None

    def _note_handshake(self, connection: Any) -> None:
        is_slow = tls_handshake.was_too_slow(connection)
        self.failed_for = Reason.HANDSHAKE_TOO_SLOW if is_slow else Reason.HANDSHAKE_FAILED
