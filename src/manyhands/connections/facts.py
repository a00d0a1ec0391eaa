"""What is known of a connection, be it served by another process: its client, its traffic, its TLS."""

import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from manyhands.connections.closing import can_send_close_notify
from manyhands.connections.socket_classes import Unopened, header_of
from manyhands.connections.traffic import Record, Traffic, traffic_by, traffic_of
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import Reason, State
from manyhands.model.socket_addresses import format_address
from manyhands.model.timeouts import is_idle
from manyhands.runtime.sockets import descriptor_of

if TYPE_CHECKING:
    from manyhands.connections.outbox_terms import Receiver
    from manyhands.protocol.proxy_header import ProxyHeader

_SHAKEN = frozenset({State.OPEN, State.CLOSING})


class ConnectionFacts:
    """The half of a connection that tells what is known of it, now or when last it could. Thread-safe."""

    __slots__ = ("_last_traffic", "_record", "_traffic_is_final")

    number: int
    opened_at: float
    server: Any
    request: Any
    client_address: Any
    state: State
    reason: Reason | None
    failed_for: Reason
    is_registered: bool
    outbox: "Receiver | None"

    _last_traffic: Traffic | None

    _record: Record | None
    """A traffic counter of our own, where the kernel keeps none and a timeout or a snapshot needs it."""

    _traffic_is_final: bool
    """Whether the end has come: what only closing sends, and the kernel counts as well, is not to be kept."""

    @property
    def handler(self) -> str:
        """The name of the handler class, or of whatever the server has in its place."""
        handler = getattr(self.server, "RequestHandlerClass", None)
        if isinstance(handler, partial):
            handler = handler.func
        return getattr(handler, "__qualname__", None) or repr(handler)

    def serves(self, request: Any) -> bool:
        """Tell whether it is the connection of a request, in whose place STARTTLS may have put another."""
        return descriptor_of(self.request) == descriptor_of(request) >= 0

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it is not this process's any more, or not yet: nothing can be done to it."""
        return descriptor_of(self.request) < 0

    def is_idle(self, told_at: float | None = None) -> bool | None:
        """Tell whether its handler most likely waits for the client's next request; None: it is not known.

        `told_at` is what `Rooms.told_at` says of it.
        """
        if not self.is_registered or self.reason is not None:
            return False
        traffic = self.traffic
        if traffic is None:
            return None
        return not traffic.peer_has_closed and is_idle(
            received_ago=traffic.silent,
            sent_ago=traffic.unanswered,
            has_received=traffic.bytes_in > 0,
            has_sent=traffic.bytes_out > 0,
            told_ago=None if told_at is None else time.monotonic() - told_at,
        )

    def lag_as_event(self, waiting: int, *, is_over: bool) -> "events.ClientFellBehind":
        """Return the event that tells that its client does not read what is sent to it."""
        return events.ClientFellBehind(
            self.number,
            format_address(getattr(self.server, "server_address", None)),
            self.client_address,
            waiting,
            is_over,
        )

    @property
    def waiting(self) -> int:
        """Bytes in its outbox: what is sent to it, and its client has not read."""
        return 0 if self.outbox is None else self.outbox.waiting

    @property
    def missed(self) -> int:
        """Pieces that were sent to it, and dropped since its client did not read."""
        return 0 if self.outbox is None else self.outbox.missed

    def end_as_event(self) -> "events.ConnectionClosed":
        """Return the event that tells of its end."""
        traffic = self.traffic
        return events.ConnectionClosed(
            self.number,
            format_address(getattr(self.server, "server_address", None)),
            self.client_address,
            (self.reason or Reason.HANDLER_RETURNED).value,
            self.age,
            None if traffic is None else traffic.bytes_in,
            None if traffic is None else traffic.bytes_out,
        )

    @property
    def age(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self.opened_at

    def traffic_now(self) -> Traffic | None:
        """Return what the kernel says of it now; None where it says nothing."""
        now = traffic_of(self.request)
        if now is None and self._record is not None:
            now = traffic_by(self._record, self.request)
        if now is not None and not self._traffic_is_final:
            self._last_traffic = now
        return now

    @property
    def traffic(self) -> Traffic | None:
        """What the kernel says of it, now or when last it could; None where it does not count."""
        # Of a closed socket there is nothing to ask, and at its end each connection would pay for the error.
        if not self._traffic_is_final:
            self.traffic_now()
        return self._last_traffic

    def _note_traffic_of_copy(self) -> None:
        self.traffic_now()
        self._traffic_is_final = True

    def _reason_by_the_kernel(self) -> Reason:
        """Return why a connection whose handler returned has ended, as the kernel saw it."""
        if isinstance(self.request, KeptCopy):
            return Reason.HANDLER_RETURNED
        if self.failed_for is Reason.HANDED_OFF or descriptor_of(self.request) >= 0:
            return Reason.HANDED_OFF
        traffic = self._last_traffic
        if traffic is not None and traffic.was_reset:
            return Reason.PEER_RESET
        if traffic is not None and traffic.peer_has_closed:
            return Reason.PEER_CLOSED
        return Reason.HANDLER_RETURNED

    @property
    def bytes_in(self) -> int | None:
        """Bytes received from the client, TLS and PROXY header included; None where they are not counted."""
        traffic = self.traffic
        return None if traffic is None else traffic.bytes_in

    @property
    def bytes_out(self) -> int | None:
        """Bytes sent to the client, each counted once; None where they are not counted."""
        traffic = self.traffic
        return None if traffic is None else traffic.bytes_out

    @property
    def silent_for(self) -> float | None:
        """Seconds since the last byte was received; None where that is not known."""
        traffic = self.traffic
        return None if traffic is None else traffic.silent

    @property
    def local_address(self) -> Any:
        """The address that the client called; None once the connection is closed."""
        return _asked(self.request, "getsockname")

    @property
    def proxy_header(self) -> "ProxyHeader | None":
        """What a balancer announced of it; None while, or where, no PROXY header was read."""
        return header_of(self.request)

    @property
    def tls_version(self) -> str | None:
        """``"TLSv1.3"``; None without TLS, and before its handshake."""
        version: str | None = self._asked_of_tls("version")
        return version

    @property
    def tls_cipher(self) -> str | None:
        """The name of the cipher; None without TLS, and before its handshake."""
        cipher = self._asked_of_tls("cipher")
        return cipher[0] if cipher else None

    @property
    def client_certificate_subject(self) -> str | None:
        """The subject of the client's certificate, as ``"commonName=alice, organizationName=Example"``."""
        certificate = self._asked_of_tls("getpeercert")
        if not certificate:
            return None
        names = (pair for part in certificate.get("subject", ()) for pair in part)
        return ", ".join(f"{name}={value}" for name, value in names)

    def _asked_of_tls(self, name: str) -> Any:
        # Before the handshake, to ask would be to finish it. (Of a worker process it is the parent's copy
        # that has not done it.)
        is_shaken = self.state in _SHAKEN and not isinstance(self.request, Unopened)
        return _asked(self.request, name) if is_shaken else None


def _asked(request: Any, name: str) -> Any:
    """Ask a request something that only some have, and open ones alone."""
    try:
        return getattr(request, name)()
    except (AttributeError, OSError, ValueError):
        return None


class KeptCopy(socket.socket):
    """A copy of a connection that another process serves: this process can still look at it."""

    def __init__(self, request: Any) -> None:
        super().__init__(request.family, request.type, request.proto, os.dup(request.fileno()))
        self.can_send_close_notify = can_send_close_notify(request)
