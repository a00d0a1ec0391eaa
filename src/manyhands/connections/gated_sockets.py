"""How a connection's socket gets its outbox, and its gate; and how both end, or go on with TLS.

A connection to which nothing is sent from outside pays nothing.
"""

import _socket
import contextlib
import os
from typing import Any

from manyhands.connections.gated import Gated, outboxes
from manyhands.connections.outbox import Outbox
from manyhands.connections.outbox_queue import DirectWrite
from manyhands.connections.outbox_terms import Send, Terms
from manyhands.connections.outbox_writer import outbox_writer
from manyhands.connections.socket_classes import connection_behind
from manyhands.connections.tls_handshake import is_tls
from manyhands.connections.traffic import Counted, note_sent
from manyhands.runtime.locks import holding
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
    outbox = outboxes.of(connection)
    if outbox is None:
        return
    # Where a write is under way that passes the gate by, a piece would get into its middle.
    if isinstance(connection, Gated):
        outbox.finish()
    outbox.drop()


def make_outbox(connection: Any, terms: Terms, *, is_held: bool = False) -> Outbox:
    """Make the outbox of a connection's socket; `gate` then has what is written there go through it.

    Parameters
    ----------
    connection, terms
        See `Outbox`.
    is_held : bool
        Whether its pieces wait until `release`.

    Raises
    ------
    OSError, ValueError
        The connection is closed.
    """
    outbox = Outbox(
        _sender(connection),
        connection.fileno(),
        terms,
        keeps_attempts=is_tls(connection),
        is_held=is_held,
    )
    with contextlib.suppress(TypeError):  # a program's own object, which takes no weak reference
        outboxes[connection] = outbox
    return outbox


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


def gate(connection: Any) -> None:
    """Have what is written on a connection's socket go through its outbox from now on.

    Raises
    ------
    TypeError
        It is no socket of Python's: see `mix_into`.
    """
    if is_tls(connection):
        from manyhands.connections.gated_tls import gate_tls  # noqa: PLC0415 - see `_sender`

        gate_tls(connection)
    else:
        mix_into(connection, Gated)


class Transfer:
    """The way of an outbox from a plain connection to the TLS one that takes its descriptor (STARTTLS).

    Meanwhile its pieces wait, and a connection that has no outbox gets none.
    """

    def __init__(self, plain: Any, outbox: Outbox | None, write: DirectWrite | None) -> None:
        self._plain = plain
        self._outbox = outbox
        self._write = write

    def finish(self, connection: Any) -> None:
        """Have the pieces go out on the TLS connection, whose handshake is done."""
        outbox = self._outbox
        if outbox is not None and not outbox.is_over:
            outbox.connect(_sender(connection), connection.fileno(), keeps_attempts=True)
            outboxes[connection] = outbox
            gate(connection)
        if outbox is not None and self._write is not None:
            outbox.end_write(self._write)
        _end_transfer(self._plain)

    def fail(self) -> None:
        """End the outbox: there is no connection for it any more."""
        if self._outbox is not None:
            self._outbox.drop()
        _end_transfer(self._plain)


def is_in_transfer(plain: Any) -> bool:
    """Tell whether a connection goes over to TLS just now. For the holder of `outboxes.lock`."""
    return plain in outboxes.in_transfer


def begin_transfer(plain: Any) -> Transfer:
    """Have a plain connection give up its outbox, if it has one, once all is sent.

    Raises
    ------
    TimeoutError
        After the connection's timeout.
    """
    outbox = holding(outboxes.lock, _begin_transfer, plain)
    if outbox is None:
        return Transfer(plain, None, None)
    try:
        # It may have no gate yet: then this waits for the write that passes that by.
        write = outbox.begin_write(plain.gettimeout())
    except BaseException:
        _end_transfer(plain)
        raise
    outboxes.pop(plain, None)
    outbox_writer.forget(outbox)
    return Transfer(plain, outbox, write)


def _begin_transfer(plain: Any) -> Outbox | None:
    # Under the lock under which outboxes are made: either it has one, or gets none until it speaks TLS.
    with contextlib.suppress(TypeError):  # a program's own object, which takes no weak reference
        outboxes.in_transfer.add(plain)
    return outboxes.of(plain)


def _end_transfer(plain: Any) -> None:
    with contextlib.suppress(TypeError):
        outboxes.in_transfer.discard(plain)
