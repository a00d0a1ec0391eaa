"""How a connection's socket gets its outbox, and its gate; and how both end, or go on with TLS.

A connection to which nothing is sent from outside pays nothing.
"""

import _socket
import os
from typing import Any

from manyhands.connections.gated import Gated, outboxes
from manyhands.connections.outbox import Outbox, Send, Terms, Turn
from manyhands.connections.outbox_writer import outbox_writer
from manyhands.connections.socket_classes import connection_behind
from manyhands.connections.tls_handshake import is_tls
from manyhands.connections.traffic import Counted, note_sent
from manyhands.runtime.sockets import mix_into


class BorrowedSocket(_socket.socket):
    """A second object for a descriptor, to send with at once: it never waits, and never closes it."""

    def __init__(self, family: int, kind: int, proto: int, descriptor: int) -> None:
        was_blocking = os.get_blocking(descriptor)
        super().__init__(family, kind, proto, descriptor)
        # With `socket.setdefaulttimeout` it has one, for which it would wait, and the descriptor, which it
        # shares, does not block any more.
        if self.gettimeout() is not None:
            self.settimeout(0.0)
            os.set_blocking(descriptor, was_blocking)

    def __del__(self) -> None:
        self.detach()


def finish_sending(request: Any) -> None:
    """Wait until a connection's outbox is empty, as long as its peer reads; nothing goes out after that."""
    connection = connection_behind(request)
    shut_gate = getattr(type(connection), "shut_gate", None)
    if shut_gate is not None:
        shut_gate(connection)  # its handler has made no call since its outbox was made
    outbox = outboxes.get(connection) if isinstance(connection, Gated) else None
    if outbox is not None:
        outbox.finish()
        outbox.end()


def make_outbox(connection: Any, terms: Terms) -> Outbox:
    """Make the outbox of a connection's socket; `gate` then has what is written there go through it.

    Raises
    ------
    OSError
        The connection is closed.
    """
    return Outbox(
        _sender(connection), connection.fileno(), terms, keeps_attempts=is_tls(connection)
    )


def _sender(connection: Any) -> Send:
    if is_tls(connection):
        # For those alone that speak TLS, and have loaded `ssl`.
        from manyhands.connections.gated_tls import tls_sender  # noqa: PLC0415

        return tls_sender(connection)
    borrowed = BorrowedSocket(
        connection.family, connection.type, connection.proto, connection.fileno()
    )
    if not isinstance(connection, Counted):
        return borrowed.send

    def send(data: bytes | memoryview, flags: int) -> int:
        count = borrowed.send(data, flags)
        note_sent(connection, count)
        return count

    return send


def gate(connection: Any, outbox: Outbox) -> None:
    """Have what is written on a connection's socket go through its outbox from now on.

    Raises
    ------
    TypeError
        It is no socket of Python's: see `mix_into`.
    """
    behaviour: type = Gated
    if is_tls(connection):
        from manyhands.connections.gated_tls import GatedTLS, prepare  # noqa: PLC0415 - see `_sender`

        prepare(connection)
        behaviour = GatedTLS
    outboxes[connection] = outbox
    mix_into(connection, behaviour)


class Transfer:
    """The way of an outbox from a plain connection to the TLS one that takes its descriptor (STARTTLS).

    Meanwhile its pieces wait.
    """

    def __init__(self, outbox: Outbox | None, turn: Turn | None) -> None:
        self._outbox = outbox
        self._turn = turn

    def finish(self, connection: Any) -> None:
        """Have the pieces go out on the TLS connection, whose handshake is done."""
        outbox = self._outbox
        if outbox is not None and not outbox.is_over:
            outbox.lead_to(_sender(connection), connection.fileno(), keeps_attempts=True)
            gate(connection, outbox)
        if outbox is not None and self._turn is not None:
            outbox.give_back(self._turn)

    def fail(self) -> None:
        """End the outbox: there is no connection for it any more."""
        if self._outbox is not None:
            self._outbox.end()


def begin_transfer(plain: Any) -> Transfer:
    """Have a plain connection give up its outbox, if it has one, once all is sent.

    Raises
    ------
    TimeoutError
        After the connection's timeout.
    """
    if not isinstance(plain, Gated):
        return Transfer(None, None)
    outbox = outboxes.get(plain)
    if outbox is None:
        return Transfer(None, None)
    turn = outbox.take_turn(plain.gettimeout())  # type: ignore[attr-defined]
    del outboxes[plain]
    outbox_writer.forget(outbox)
    return Transfer(outbox, turn)
