"""A process that serves a connection, as its parent knows it: what is to be told it, and what it asks."""

import _socket
import itertools
from collections.abc import Callable
from functools import partial
from typing import Protocol

from manyhands.connections.connection import Connection
from manyhands.dealing.channel import Channel, Lane, Terms, Watcher
from manyhands.dealing.distant_subscriptions import DistantSubscriptions
from manyhands.dealing.frames import HEADS, Frame, FrameReader, Kind, pack
from manyhands.dealing.shared_terms import SharedTerms
from manyhands.exchange.local import LocalExchange
from manyhands.model.connection_states import Reason
from manyhands.model.pieces import LONGEST_MESSAGE

CHUNK = 64 * 1024
"""Bytes that are read from one process before the next one has its turn."""

EARLY = 1024 * 1024
"""Bytes that may wait for a process which was only just notified, where the option `outbox` says less: in the
milliseconds until it attaches they wait here in the place of the kernel's buffers."""

UNNOTED = 256 * 1024, "close"
"""What holds while a program's own `outbox` cannot be read."""

Note = Callable[[Callable[[], object]], object]


class Answers(Protocol):
    """What answers the frames of a process."""

    def answer(self, frame: Frame, peer: "Peer") -> bytes | None:
        """Do what a frame asks for; return the frame that answers it, if one does."""


class Peer:
    """A process that serves a connection, or a datagram; what takes the pieces for that connection.

    Parameters
    ----------
    connection : Connection or None
        What it serves; None for a datagram.
    exchange : LocalExchange
        What it may subscribe with.
    watcher : Watcher
        What tells that it reads.
    terms : SharedTerms
    note : callable
        Called with what is to be done in the accept loop.

    Notes
    -----
    Until its channel has come what is put waits. Thread-safe, but for `read`.
    """

    __slots__ = (
        "_drops",
        "_frames",
        "_has_caught_up",
        "_is_over",
        "_lags",
        "_missed",
        "_missed_there",
        "_note",
        "_number",
        "_pieces",
        "_socket",
        "_terms",
        "channel",
        "connection",
        "subscriptions",
    )

    def __init__(
        self,
        connection: Connection | None,
        exchange: LocalExchange,
        watcher: Watcher,
        terms: SharedTerms,
        note: Note,
    ) -> None:
        self.connection = connection
        self._number = 0 if connection is None else connection.number
        self._terms = terms
        self._note = note
        self._socket: _socket.socket | None = None
        self._frames = FrameReader()
        self.channel = Channel(watcher)
        self.subscriptions = DistantSubscriptions(exchange, self.channel, connection)
        self._pieces = Lane(self._terms_of_pieces)
        self._has_caught_up = False
        self._is_over = False
        self._missed = self._missed_there = 0
        self._lags = itertools.count()
        self._drops = itertools.count()
        before = None if connection is None else connection.outbox
        if isinstance(before, Peer):
            # The same process, whose channel has ended, or that was given up: it counts on.
            self._missed, self._missed_there = before.missed, before._missed_there
            self._lags = before._lags

    @property
    def descriptor(self) -> int:
        """That of its channel; -1 before that has come."""
        return -1 if self._socket is None else self._socket.fileno()

    def attach(self, connection: _socket.socket) -> None:
        """Send what waits, and all that follows, on the channel of the process."""
        self._socket = connection
        self.channel.attach(connection)

    def _terms_of_pieces(self) -> Terms:
        bound, when_behind = self._terms.noted() or UNNOTED
        if not self._has_caught_up:
            self._has_caught_up = self._socket is not None and not self._pieces.frames
        if not self._has_caught_up:
            # Not closed for what it cannot have read yet: perhaps it has become another program.
            bound = max(bound, EARLY)
            when_behind = "drop_new" if when_behind == "close" else when_behind
        return Terms(2**32, bound + HEADS, when_behind)

    # As what takes pieces

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._is_over or self.channel.is_over

    @property
    def waiting(self) -> int:
        """Bytes that wait for the process; those that wait in it for its client are not known here."""
        return 0 if self.is_over else self._pieces.size + self.channel.unsent

    @property
    def missed(self) -> int:
        """Pieces that were dropped, on the way to the process or in it."""
        return self._pieces.missed + self._missed

    def put(self, data: bytes) -> bool:
        """Have a piece sent. Never waits. See `Outbox.put`."""
        if self._is_over:
            return False
        frame = pack(Kind.DELIVER, self._number, data)
        is_sent, has_dropped = self.channel.put_and_tell(frame, self._pieces)
        if has_dropped:
            self._fall_behind(
                is_over=not is_sent and self._terms_of_pieces().when_behind == "close"
            )
        return is_sent

    def _fall_behind(self, *, is_over: bool) -> None:
        """Note that the process does not take what it is told: it is stopped, or hangs."""
        connection = self.connection
        if connection is None:
            return
        # Before the process is killed: with its end the thread that deals forgets the connection.
        self._note_lag(connection, self.waiting, is_over=is_over)
        if is_over:
            self._drop_waiting()
            connection.close(Reason.DID_NOT_READ)

    def tell_of_lag(self, waiting: int, *, is_over: bool) -> None:
        """Have it told, once, that the client, or the process, does not read."""
        connection = self.connection
        if connection is not None:
            self._note_lag(connection, waiting, is_over=is_over)

    def _note_lag(self, connection: Connection, waiting: int, *, is_over: bool) -> None:
        if not next(self._lags):
            # Subscribers are the program's: they are called in no thread beside those that fork.
            self._note(partial(connection.tell_of_lag, waiting, is_over=is_over))

    def note_missed(self, count: int) -> None:
        """Note how many pieces were dropped in the process by now."""
        self._missed += max(0, count - self._missed_there)
        self._missed_there = count

    def miss(self, count: int) -> None:
        """Note that so many pieces were dropped before they came here."""
        if not self.is_over:
            self._missed += count
            self._fall_behind(is_over=self._terms_of_pieces().when_behind == "close")

    def end(self) -> None:
        """Send no more pieces: the connection is over. Its process may go on, and get answers."""
        self._is_over = True

    def give_up(self) -> None:
        """Send nothing more to a process that does not attach, and count what has waited for it."""
        self._drop_waiting()
        self.close()

    def _drop_waiting(self) -> None:
        if not self._is_over and not next(self._drops):
            # In this order: a caller that is told that it is over finds them counted.
            self._missed += len(self._pieces.frames)
            self._is_over = True

    # As what asks

    def read(self, answers: Answers) -> bool:
        """Read what has come, and answer it; return False when the process tells nothing more.

        Raises
        ------
        ValueError
            It has sent what no process of ours does.
        """
        assert self._socket is not None  # noqa: S101 - tells the type checker: it is attached
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False  # reset
        longest = max(self._terms.largest, UNNOTED[0], LONGEST_MESSAGE) + HEADS
        for frame in self._frames.feed(data, longest):
            answer = answers.answer(frame, self)
            if answer is not None:
                self.channel.say(answer)
        return bool(data)

    def close(self) -> None:
        """Tell it nothing more. The channel's socket may be closed then."""
        self.subscriptions.close()
        self.channel.end()
        # The connection has this one as its outbox.
        self.connection = None
