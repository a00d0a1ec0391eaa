"""A connection as the books have it: who, since when, how much, in which state, and why it ended."""

import contextlib
import itertools
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from manyhands.connections.socket_classes import header_of
from manyhands.connections.tcp_info import Traffic, traffic_of
from manyhands.connections.traffic_counter import Record, traffic_by
from manyhands.model import lazy_events as events
from manyhands.model.connection_states import TRANSITIONS, Reason, State, Step
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.sockets import is_closed

if TYPE_CHECKING:
    from manyhands.connections.timeouts import OwnDeadlines
    from manyhands.protocol.proxy_header import ProxyHeader

_numbers = itertools.count(1)

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER (socket(7)): on, for no time, which makes a close a reset (RST)."""


class Connection:
    """One client's connection, from its acceptance to its end.

    Everything may be read in any thread. After the end it says what was last known.
    """

    __slots__ = (
        "_is_over",
        "_last_traffic",
        "_record",
        "_request",
        "client_address",
        "number",
        "opened_at",
        "own_deadlines",
        "reason",
        "server",
        "state",
    )

    def __init__(self, server: Any, request: Any, client_address: Any) -> None:
        self.number = next(_numbers)
        """Counts the connections of this process, from 1."""

        self.opened_at = time.monotonic()
        """When it was accepted, by `time.monotonic`."""

        self.server = server
        """Whose hooks serve it: the listener that the client called."""

        self.client_address = client_address
        """The client's address, as `accept` or a PROXY header gave it."""

        self.state = State.ACCEPTED
        self.reason: Reason | None = None
        """Why it ended, or will; None while nothing is decided."""

        self.own_deadlines: OwnDeadlines | None = None
        """What its handler has set, if it has."""

        self._request = request
        self._last_traffic: Traffic | None = None
        # Where the kernel keeps no books, and somebody wants to know.
        self._record: Record | None = None
        # Then the kernel tells of our own goodbye as well, which is not to be kept.
        self._is_over = False

    @property
    def deadlines(self) -> "OwnDeadlines":
        """Its deadlines, to be read and set."""
        raise NotImplementedError

    def take(self, step: Step) -> bool:
        """Go on to the next state; return False when the step leads nowhere from here."""
        following = TRANSITIONS[self.state].get(step)
        if following is None:
            return False
        self.state = following
        return True

    def close(self, reason: Reason = Reason.KICKED) -> bool:
        """End the connection under its handler: whatever that waits for on it comes to an end.

        Thread-safe; returns at once.

        Returns
        -------
        bool
            False when its end was decided before.
        """
        if not self._decide_end(reason):
            return False
        self._end_worker()
        return True

    def _decide_end(self, reason: Reason) -> bool:
        if self.reason is not None or not self.take(Step.END_IS_DECIDED):
            return False
        self.reason = reason
        return True

    def _end_worker(self) -> None:
        """Have the worker come to its end."""
        raise NotImplementedError

    def expire(self, reason: Reason) -> bool:
        """End the connection since its time is over, as `close` does, but let its worker unwind.

        On TLS only what is received ends, unless nothing can be sent either: see `insist`.

        Returns
        -------
        bool
            False when its end was decided before.
        """
        if not self._decide_end(reason):
            return False
        if reason is Reason.WRITE_STALLED:
            self._take_back_what_waits()
        self._ask_worker_to_end()
        return True

    def _ask_worker_to_end(self) -> None:
        """Have the worker come to its end, as it will."""
        raise NotImplementedError

    def insist(self) -> None:
        """End what is left of a connection that has expired, and goes on."""
        raise NotImplementedError

    def abandon(self) -> None:
        """Give up on a worker that does not come to its end: the connection is in the books no longer."""
        raise NotImplementedError

    def _take_back_what_waits(self) -> None:
        """Have the close be a reset: the kernel would go on offering the peer what it does not take."""
        with contextlib.suppress(OSError, AttributeError):
            self._request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it is not this process's any more, or not yet: nothing can be done to it."""
        return is_closed(self._request)

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
        now = traffic_of(self._request)
        if now is None and self._record is not None:
            now = traffic_by(self._record, self._request)
        if now is not None and not self._is_over:
            self._last_traffic = now
        return now

    @property
    def traffic(self) -> Traffic | None:
        """What the kernel says of it, now or when last it could; None where it keeps no such books."""
        self.traffic_now()
        return self._last_traffic

    @property
    def bytes_in(self) -> int | None:
        """Bytes received from the client, TLS and PROXY header included; None where nobody counts."""
        traffic = self.traffic
        return None if traffic is None else traffic.bytes_in

    @property
    def bytes_out(self) -> int | None:
        """Bytes sent to the client, each counted once; None where nobody counts."""
        traffic = self.traffic
        return None if traffic is None else traffic.bytes_out

    @property
    def silent_for(self) -> float | None:
        """Seconds since the last byte was received; None where nobody counts."""
        traffic = self.traffic
        return None if traffic is None else traffic.silent

    @property
    def local_address(self) -> Any:
        """The address that the client called; None once the connection is closed."""
        return _asked(self._request, "getsockname")

    @property
    def proxy_header(self) -> "ProxyHeader | None":
        """What a balancer announced of it; None while, or where, no PROXY header was read."""
        return header_of(self._request)

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
        # Before the handshake, to ask would be to finish it.
        return _asked(self._request, name) if self.state in _SHAKEN else None


_SHAKEN = frozenset({State.OPEN, State.CLOSING})


def _asked(request: Any, name: str) -> Any:
    """Ask a request something that only some have, and open ones alone."""
    try:
        return getattr(request, name)()
    except (AttributeError, OSError, ValueError):
        return None
