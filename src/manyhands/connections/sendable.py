"""What is sent to a connection from outside of its handler, and what becomes of a peer that does not read."""

from typing import TYPE_CHECKING, Any, Protocol

from manyhands.connections.ends import EndableConnection
from manyhands.connections.outbox_terms import SHORTEST_BOUND, check_length
from manyhands.model.connection_states import Reason, State
from manyhands.model.event_hub import event_hub
from manyhands.model.pieces import piece_of
from manyhands.runtime.sockets import descriptor_of

if TYPE_CHECKING:
    from manyhands.connections.outbox_terms import Receiver
    from manyhands.connections.outboxes import Writer
    from manyhands.connections.rooms import Rooms


class OptionsOfOutboxes(Protocol):
    """What is needed of the options of a server."""

    def outbox_terms(self, server: Any) -> tuple[int, str]:
        """Return the bytes that may wait for a peer, and what becomes of one that falls behind."""


class CoreWithRooms(Protocol):
    """What is needed of the core of the server that serves a connection."""

    @property
    def options(self) -> OptionsOfOutboxes:
        """What holds for it."""

    @property
    def rooms(self) -> "Rooms":
        """The rooms that it may join."""


class SendableConnection(EndableConnection):
    """The half of a connection to which others send."""

    __slots__ = ("core", "outbox", "writer")

    core: CoreWithRooms

    outbox: "Receiver | None"
    """What is sent to it, and waits: made for the first piece."""

    writer: "Writer | None"
    """The file with which its handler writes, where that has no buffer."""

    def send(self, data: Any) -> bool:
        """Send a piece of data, whole, after all that was sent or written before. Never waits.

        What the kernel does not take at once waits in the connection's outbox, and goes out as fast as the
        peer reads. From the first call on, what the handler writes waits for its turn there as well, so no
        two pieces ever mix. Thread-safe, for fibers too; not for signal handlers, nor for finalizers
        (`__del__`).

        Parameters
        ----------
        data : bytes-like

        Returns
        -------
        bool
            Whether the piece is sent, or waits. False where no handler has the connection, and where the peer
            has fallen behind: see the option `when_behind`.

        Raises
        ------
        Mistake
            When it is text, or longer than the option `outbox` allows.
        RuntimeError
            On a datagram.
        """
        piece = piece_of(data)
        if len(piece) > SHORTEST_BOUND:
            check_length(piece, self.outbox_terms()[0])
        outbox = self.outbox
        if outbox is None:
            outbox = self.core.rooms.outbox_of(self)
        return outbox is not None and outbox.put(piece)

    @property
    def is_open_to_pieces(self) -> bool:
        """Whether its handler is at work, so that pieces can be sent to it from outside.

        Of a handler in another process it is not known whether it has begun.
        """
        dealer = self.core.rooms.dealer
        if dealer is not None and dealer.deals_here and self.engine.name == "processes":
            return self.reason is None and self.state is not State.CLOSED
        return self.state is State.OPEN and descriptor_of(self.request) >= 0

    def outbox_terms(self) -> tuple[int, str]:
        """Return the bytes that may wait for the peer, and what becomes of it when it falls behind."""
        return self.core.options.outbox_terms(self.server)

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """Note, once, that the peer does not read; close the connection if its outbox is over."""
        if is_over:
            self.expire(Reason.DID_NOT_READ)
        parent = self.core.rooms.parent
        # Subscribers are the program's, and not those of its copy that serves one connection.
        if parent is None or not parent.tell_of_lag(waiting, is_over=is_over):
            self.tell_of_lag(waiting, is_over=is_over)

    def tell_of_lag(self, waiting: int, *, is_over: bool) -> None:
        """Emit the event that its peer does not read."""
        if event_hub.has_subscribers:
            event_hub.emit(self.lag_as_event(waiting, is_over=is_over))

    def _end_outbox(self) -> None:
        if self.outbox is not None:
            # It has the gate, which has the connection.
            self.writer = None
            self.outbox.end()
            self.core.rooms.forget(self)
