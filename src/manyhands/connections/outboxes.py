"""How a connection gets its outbox, when the first piece is sent to it, and then its gate."""

import contextlib
import socket
from typing import Any, Protocol

from manyhands.connections.facts import KeptCopy
from manyhands.connections.gated import outboxes, write_in_turn
from manyhands.connections.gated_sockets import gate, is_in_transfer, make_outbox
from manyhands.connections.outbox import Outbox
from manyhands.connections.outbox_terms import Receiver
from manyhands.connections.socket_classes import connection_behind
from manyhands.connections.tls_handshake import AwaitingHandshake, is_tls
from manyhands.engines.engine import Engine, Task
from manyhands.model.connection_states import State
from manyhands.runtime.locks import holding
from manyhands.runtime.sockets import descriptor_of


class Writer(Protocol):
    """The file with which a handler writes, before and after its connection has a gate."""

    gate: "Gate | None"

    @property
    def is_in_use(self) -> bool:
        """Whether a write is under way that has found no gate."""


class ConnectionWithOutbox(Protocol):
    """What is needed of a connection."""

    number: int
    client_address: Any
    request: Any
    state: State
    engine: Engine
    is_registered: bool
    outbox: Receiver | None
    writer: Writer | None

    @property
    def task(self) -> Task:
        """What its engine carries."""

    def outbox_terms(self) -> tuple[int, str]:
        """Return what the server's options say of outboxes."""

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """Note that the peer does not read."""


class Gate:
    """The gate of a connection, from when it is made until nothing passes it by any more.

    A handler, or another thread, may be in the middle of a `wfile.write` that knows of no gate. Until the
    last of these has ended the outbox keeps what is put into it. Thread-safe.
    """

    __slots__ = ("_calls", "_connection", "_outbox")

    def __init__(self, connection: "ConnectionWithOutbox", outbox: Outbox) -> None:
        # None once it is shut.
        self._connection: ConnectionWithOutbox | None = connection
        self._outbox = outbox
        self._calls = 0

    def shut(self) -> None:
        """Have all that is written go through the outbox from now on, if nothing passes it by any more.

        Else what passes it by calls this at its end. On TLS the handler may be within a call just now, and
        then it is shut when that makes its next one. Once more does no harm.
        """
        connection = self._connection
        if connection is None:
            return
        if not is_tls(connection.request):
            self._shut_in_order()
        elif not connection.engine.between_calls(connection.task, self._shut_in_order):
            holding(outboxes.lock, self._leave_to_handler)

    def _shut_in_order(self) -> None:
        # When it has returned, in any thread, it is shut: a writer goes on to the socket then.
        try:
            holding(outboxes.lock, self._shut)
        finally:
            # Without the lock, for which all wait that are to get an outbox: it sends, and tells the program.
            if self._connection is None:
                self._outbox.release()

    def _shut(self) -> None:
        connection = self._connection
        if connection is None:
            return
        writer = connection.writer
        if self._calls or (writer is not None and writer.is_in_use):
            self._leave_to_handler()
            return
        request = connection_behind(connection.request)
        # That of what is closed is -1, and so is that of an outbox that has ended.
        if self._outbox.descriptor == descriptor_of(request) >= 0:
            # A program's own object in the place of a socket has no gate.
            with contextlib.suppress(TypeError):
                gate(request)
            if writer is not None:
                writer.gate = None
        else:
            self._outbox.drop()  # its connection was closed, or the program has it go on by other means
        self._connection = None

    def _leave_to_handler(self) -> None:
        connection = self._connection
        if connection is not None and _is_shut_by_handler(connection):
            from manyhands.connections.gated_tls import await_gate  # noqa: PLC0415 - `ssl` is loaded then

            await_gate(connection_behind(connection.request), self)

    def write(self, sock: Any, data: Any) -> None:
        """Send all of `data`: when nothing passes the gate by, or, on TLS, as if there were none.

        Raises
        ------
        OSError
            As of `sendall`.
        """
        self.shut()
        connection = self._connection
        # On TLS the thread of the handler alone can shut the gate, and may be waiting for just this write.
        if connection is None or _is_shut_by_handler(connection):
            sock.sendall(data)
        else:
            write_in_turn(sock, self._outbox, lambda: sock.sendall(data))

    # Calls of a TLS connection that is to get its gate: see `gated_tls.AwaitingGate`

    def begin_call(self) -> bool:
        """Note a call that the gate has to wait for; return False when it is shut, and takes the call."""
        self.shut()
        return holding(outboxes.lock, self._begin_call)

    def _begin_call(self) -> bool:
        if self._connection is None:
            return False
        self._calls += 1
        return True

    def end_call(self) -> None:
        """Note the end of a call."""
        holding(outboxes.lock, self._end_call)

    def _end_call(self) -> None:
        self._calls -= 1


def _is_shut_by_handler(connection: ConnectionWithOutbox) -> bool:
    return is_tls(connection.request) and not connection.engine.wraps_sockets


def outbox_of(connection: ConnectionWithOutbox) -> Outbox | None:
    """Return the outbox of a connection, which gets it now if it has none yet. Thread-safe.

    Returns
    -------
    Outbox or None
        None where nothing can be sent: no handler has the connection yet, or none any more, or another
        process serves it.

    Raises
    ------
    RuntimeError
        When it is a datagram, or the program's own object in the place of a socket.
    """
    if connection.outbox is None:
        if not connection.is_registered:
            raise RuntimeError(
                "a datagram has no connection to send on later: answer it with `self.request[1].sendto`, "
                "or wfile"
            )
        # One after the other: no handler goes over to TLS in between (STARTTLS).
        holding(outboxes.lock, _make, connection)
    # What leads to another process is none.
    return connection.outbox if isinstance(connection.outbox, Outbox) else None


def _make(connection: ConnectionWithOutbox) -> None:
    if connection.outbox is not None or connection.state is not State.OPEN:
        return
    request = connection_behind(connection.request)
    if isinstance(request, KeptCopy | AwaitingHandshake) or is_in_transfer(connection.request):
        return  # another process serves it, or it goes over to TLS just now
    if isinstance(request, socket.socket) and request.fileno() < 0:
        return  # it is closed; of a TLS one that would be found too late
    try:
        outbox = make_outbox(request, connection, is_held=True)
    except (OSError, ValueError):
        return  # it is closed
    except (AttributeError, TypeError):
        raise RuntimeError(
            f"nothing can be sent to a connection whose request is {type(request).__name__}: the outbox "
            "needs a socket"
        ) from None
    made = Gate(connection, outbox)
    writer = connection.writer
    if writer is not None:
        # In this order: the writer says that it writes, and then looks for a gate.
        writer.gate = made
    connection.outbox = outbox
    # Its worker, at the end, first says so and then looks for an outbox. (So the state may have changed.)
    if _has_ended(connection):
        outbox.end()
    made.shut()


def _has_ended(connection: ConnectionWithOutbox) -> bool:
    return connection.state is State.CLOSED
