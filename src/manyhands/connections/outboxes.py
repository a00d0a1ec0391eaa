"""How a connection gets its outbox, when the first piece is sent to it, and then its gate."""

import contextlib
from typing import Any, Protocol

from manyhands.connections.facts import KeptCopy
from manyhands.connections.gated_sockets import gate, make_outbox
from manyhands.connections.outbox import Outbox, Receiver, Turn
from manyhands.connections.socket_classes import connection_behind
from manyhands.connections.tls_handshake import AwaitingHandshake, is_tls
from manyhands.engines.engine import Engine, Task
from manyhands.model.connection_states import State
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock


class Writer(Protocol):
    """The file with which a handler writes, before and after its connection has a gate."""

    is_writing: bool
    gate: "Gate | None"


class ConnectionWithOutbox(Task, Protocol):
    """What is needed of a connection."""

    number: int
    client_address: Any
    request: Any
    state: State
    engine: Engine
    is_registered: bool
    outbox: Receiver | None
    writer: Writer | None

    def outbox_terms(self) -> tuple[int, str]:
        """Return what the server's options say of outboxes."""

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """Note that the peer does not read."""


class Gate:
    """The gate of a connection, from when it is made until nothing passes it by any more.

    A handler may be in the middle of a `wfile.write` that knows of no gate. Until that has ended the outbox
    keeps what is put into it.
    """

    __slots__ = ("_connection", "_is_shut", "_outbox", "_turn")

    def __init__(
        self, connection: "ConnectionWithOutbox", outbox: Outbox, turn: Turn | None
    ) -> None:
        self._connection: ConnectionWithOutbox | None = connection
        self._outbox = outbox
        self._turn = turn
        self._is_shut = False

    def shut(self) -> bool:
        """Have all that is written go through the outbox from now on. Once more does no harm.

        Returns
        -------
        bool
            False where that has to wait: on TLS the handler may be within a call just now.
        """
        connection = self._connection
        if self._is_shut or connection is None:
            return True
        if is_tls(connection.request):
            return connection.engine.between_calls(connection, self._shut)
        self._shut()
        return True

    def shut_later(self) -> None:
        """Have it shut when the handler makes its next call on the connection."""
        from manyhands.connections.gated_tls import await_gate  # noqa: PLC0415 - `ssl` is loaded then

        connection = self._connection
        if connection is not None:
            await_gate(connection_behind(connection.request), self._shut)

    def _shut(self) -> None:
        # When it has returned, in any thread, it is shut: a writer goes on to the socket then.
        with _making.lock:
            if self._connection is not None:
                # A program's own object in the place of a socket has no gate.
                with contextlib.suppress(TypeError):
                    gate(connection_behind(self._connection.request), self._outbox)
                if self._turn is not None:
                    self._outbox.give_back(self._turn)
            self._connection, self._turn, self._is_shut = None, None, True


class _Making:
    """The lock under which outboxes are made."""

    def __init__(self) -> None:
        self.begin_anew()
        renew_in_copies(self, _Making.begin_anew)

    def begin_anew(self) -> None:
        self.lock = brief_lock()


_making = _Making()


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
    if connection.outbox is not None:
        return _own_outbox(connection)
    if not connection.is_registered:
        raise RuntimeError(
            "a datagram has no connection to send on later: answer it with `self.request[1].sendto`, or wfile"
        )
    if connection.state is not State.OPEN or isinstance(connection.request, KeptCopy):
        return None
    if isinstance(connection_behind(connection.request), AwaitingHandshake):
        return None  # it goes over to TLS just now
    with _making.lock:
        made = _make(connection) if connection.outbox is None else None
    if made is None or (connection.writer is not None and connection.writer.is_writing):
        return _own_outbox(connection)
    if not made.shut():
        made.shut_later()
    return _own_outbox(connection)


def _own_outbox(connection: ConnectionWithOutbox) -> Outbox | None:
    # What leads to another process is none.
    return connection.outbox if isinstance(connection.outbox, Outbox) else None


def _make(connection: ConnectionWithOutbox) -> Gate | None:
    request = connection_behind(connection.request)
    try:
        outbox = make_outbox(request, connection)
    except (OSError, ValueError):
        return None  # it is closed
    except (AttributeError, TypeError):
        raise RuntimeError(
            f"nothing can be sent to a connection whose request is {type(request).__name__}: the outbox "
            "needs a socket"
        ) from None
    made = Gate(connection, outbox, outbox.take_turn(None))
    writer = connection.writer
    if writer is not None:
        # In this order: the writer says that it writes, and then looks for a gate.
        writer.gate = made
    connection.outbox = outbox
    # Its worker, at the end, first says so and then looks for an outbox.
    if connection.state is State.CLOSED:
        outbox.end()
    return made
