"""A connection that has an outbox: what its handler writes waits for its turn among what others send.

The handler has the socket itself, so the socket's class is the gate (`runtime.sockets.mix_into`). A
connection to which nothing is sent from outside pays nothing.
"""

import _socket
import socket
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from manyhands.connections.outbox import Outbox, Send, Terms, Turn
from manyhands.connections.outbox_writer import outbox_writer
from manyhands.connections.socket_classes import connection_behind
from manyhands.connections.tls_handshake import is_tls
from manyhands.connections.traffic import Counted, note_sent
from manyhands.runtime.sockets import mix_into

Result = TypeVar("Result")

_outboxes: "weakref.WeakKeyDictionary[Any, Outbox]" = weakref.WeakKeyDictionary()
"""The outbox of each gated socket, since a socket takes no attributes."""


class BorrowedSocket(_socket.socket):
    """A second object for a descriptor, to send with at once: it has no timeout, and never closes it."""

    def __del__(self) -> None:
        self.detach()


class Gated:
    """Mixed into the class of a connection that has an outbox."""

    __slots__ = ()

    def send(self, data: Any, flags: int = 0) -> int:
        """Send all of `data` in one turn, or some of it where the socket does not wait."""
        behind: Any = super()
        outbox = _outboxes.get(self)
        if outbox is None or outbox.is_past():
            # Of `sendall` behind this, which sends piece by piece in the turn that it has.
            some: int = behind.send(data, flags)
            return some
        if flags & socket.MSG_DONTWAIT or self.gettimeout() == 0:  # type: ignore[attr-defined]
            sent: int = self._in_turn(lambda: behind.send(data, flags), 0.0)
            return sent
        # All of it, as a socket that blocks does: before a rest that followed later others could have a turn.
        with memoryview(data) as view:
            self._in_turn(lambda: behind.sendall(view, flags))
            return view.nbytes

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data` in one turn."""
        behind: Any = super()
        self._in_turn(lambda: behind.sendall(data, flags))

    def sendmsg(self, *arguments: Any) -> int:
        """Send several buffers in one turn."""
        behind: Any = super()
        sent: int = self._in_turn(lambda: behind.sendmsg(*arguments))
        return sent

    def sendfile(self, *arguments: Any, **keywords: Any) -> int:
        """Send a file in one turn."""
        behind: Any = super()
        sent: int = self._in_turn(lambda: behind.sendfile(*arguments, **keywords))
        return sent

    def _in_turn(self, write: Callable[[], Result], seconds: float | None = -1.0) -> Result:
        outbox = _outboxes.get(self)
        if outbox is None:
            return write()
        timeout = self.gettimeout() if seconds == -1.0 else seconds  # type: ignore[attr-defined]
        try:
            turn = outbox.take_turn(timeout)
        except TimeoutError:
            if timeout == 0:
                raise BlockingIOError("other pieces wait to be sent on the connection") from None
            raise
        if turn is None:
            return write()
        try:
            return write()
        finally:
            outbox.give_back(turn)

    def shutdown(self, how: int) -> None:
        """Shut down one half of the connection, or both; what is sent ends with the half that sends."""
        outbox = _outboxes.get(self)
        if outbox is not None and how == socket.SHUT_WR:
            outbox.finish()
            outbox.end()
        super().shutdown(how)  # type: ignore[misc]  # the class that this is mixed into
        if outbox is not None and how == socket.SHUT_RDWR:
            outbox.end_soon()

    def close(self) -> None:
        """Close the connection: its descriptor may be another file's next, so nothing is sent there."""
        _end_outbox(self)
        super().close()  # type: ignore[misc]

    def detach(self) -> int:
        """Give the descriptor up, and return it."""
        _end_outbox(self)
        descriptor: int = super().detach()  # type: ignore[misc]
        return descriptor


def _end_outbox(connection: Any) -> None:
    outbox = _outboxes.get(connection)
    if outbox is not None:
        outbox.end()


def finish_sending(request: Any) -> None:
    """Wait until a connection's outbox is empty, as long as its peer reads; nothing goes out after that."""
    connection = connection_behind(request)
    if isinstance(connection, Gated):
        outbox = _outboxes[connection]
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
    if is_tls(connection):
        from manyhands.connections.gated_tls import prepare  # noqa: PLC0415 - see `_sender`

        prepare(connection)
    _outboxes[connection] = outbox
    mix_into(connection, Gated)


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
    outbox = _outboxes[plain]
    turn = outbox.take_turn(plain.gettimeout())  # type: ignore[attr-defined]
    del _outboxes[plain]
    outbox_writer.forget(outbox)
    return Transfer(outbox, turn)
