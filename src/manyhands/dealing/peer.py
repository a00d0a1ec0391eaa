"""A process that serves a connection, as its parent knows it: what is to be told it, and what it asks."""

import _socket
from collections.abc import Callable
from functools import partial
from typing import Protocol

from manyhands.connections.connection import Connection
from manyhands.connections.outbox import Outbox
from manyhands.dealing.distant_subscriptions import Channel, DistantSubscriptions
from manyhands.dealing.frames import HEADS, Frame, FrameReader, Kind, pack
from manyhands.exchange.exchange import LONGEST_MESSAGE
from manyhands.model.connection_states import Reason

LONGEST_PIECE = 256 * 1024
"""Bytes that a process without a connection may have waiting: the option `outbox` says it for the others."""

CHUNK = 64 * 1024
"""Bytes that are read from one process before the next one has its turn."""


class Answers(Protocol):
    """What answers the frames of a process."""

    def subscriptions(
        self, channel: Channel, connection: Connection | None
    ) -> DistantSubscriptions:
        """Return what the process of a connection may subscribe with."""

    def answer(self, frame: Frame, subscriptions: DistantSubscriptions) -> bytes | None:
        """Do what a frame asks for; return the frame that answers it, if one does."""


class Peer:
    """A process that serves a connection, or a datagram.

    Parameters
    ----------
    connection : Connection or None
        What it serves; None for a datagram.
    note : callable
        Called with what is to be done in the accept loop.

    Notes
    -----
    Until its channel has come what is put waits, with the same bound. Thread-safe, but for `read`.
    """

    def __init__(
        self,
        connection: Connection | None,
        note: Callable[[Callable[[], object]], object],
    ) -> None:
        self.connection = connection
        self._note = note
        self._channel: _socket.socket | None = None
        self._frames = FrameReader()
        self.outbox = Outbox(_send_nowhere, -1, self)
        self._turn = self.outbox.hold()
        self._subscriptions: DistantSubscriptions | None = None

    def attach(self, channel: _socket.socket) -> None:
        """Send what waits, and all that follows, on the channel of the process."""
        self._channel = channel
        self.outbox.lead_to(channel.send, channel.fileno(), keeps_attempts=False)
        self.outbox.give_back(self._turn)

    def outbox_terms(self) -> tuple[int, str]:
        """Return the bytes that may wait for the process, and what becomes of one that does not read."""
        if self.connection is None:
            return LONGEST_PIECE + HEADS, "drop_new"
        bound, when_behind = self.connection.outbox_terms()
        return max(bound, LONGEST_MESSAGE) + HEADS, when_behind

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """End a process that does not even take what it is told: it is stopped, or hangs."""
        connection = self.connection
        if connection is None:
            return
        if is_over and self._channel is not None:
            connection.close(Reason.DID_NOT_READ)
        # Subscribers are the program's: they are called in no thread beside those that fork.
        self._note(partial(connection.tell_of_lag, waiting, is_over=is_over))

    def read(self, answers: Answers) -> bool:
        """Read what has come, and answer it; return False when the process tells nothing more.

        Raises
        ------
        ValueError
            It has sent what no process of ours does.
        """
        channel = self._channel
        try:
            data = b"" if channel is None else channel.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False  # reset
        if self._subscriptions is None:
            self._subscriptions = answers.subscriptions(self.outbox, self.connection)
        for frame in self._frames.feed(data, self.outbox_terms()[0]):
            answer = answers.answer(frame, self._subscriptions)
            if answer is not None:
                self.outbox.put(answer)
        return bool(data)

    def close(self) -> None:
        """Tell it nothing more, and give the channel back."""
        if self._subscriptions is not None:
            self._subscriptions.close()
        self.outbox.end()
        self.close_copy()

    def close_copy(self) -> None:
        """Give the channel back, in a forked copy of the process too."""
        if self._channel is not None:
            self._channel.close()


class DistantOutbox:
    """What takes pieces for a connection that another process serves."""

    __slots__ = ("_is_over", "_missed", "_missed_there", "_number", "_peer")

    def __init__(self, number: int, peer: Peer, missed: int = 0) -> None:
        self._number = number
        self._peer = peer
        self._missed = missed
        self._missed_there = 0
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_over or self._peer.outbox.is_over

    @property
    def waiting(self) -> int:
        """Bytes that wait for the process; those that wait in it for its client are not known here."""
        return self._peer.outbox.waiting

    @property
    def missed(self) -> int:
        """Pieces that were dropped, on the way to the process or in it."""
        return self._peer.outbox.missed + self._missed

    def note_missed(self, count: int) -> None:
        """Note how many pieces were dropped in the process by now."""
        self._missed += max(0, count - self._missed_there)
        self._missed_there = count

    def put(self, data: bytes) -> bool:
        """Have a piece sent. Never waits. See `Outbox.put`."""
        return not self._is_over and self._peer.outbox.put(pack(Kind.DELIVER, self._number, data))

    def end(self) -> None:
        """Send nothing more: the connection is over. Its process may go on, and get answers."""
        self._is_over = True

    def give_up(self) -> None:
        """Send nothing more to a process that does not hear, and count what has waited for it."""
        outbox = self._peer.outbox
        self._missed += outbox.pieces_waiting
        outbox.end()


def _send_nowhere(data: bytes | memoryview, flags: int) -> int:  # noqa: ARG001 - in the place of a channel's
    raise BlockingIOError
