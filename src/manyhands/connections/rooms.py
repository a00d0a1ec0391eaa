"""Rooms: connections that are told things together, by a name."""

import math
import time
from typing import Any, NamedTuple, Protocol

from manyhands.connections.outbox_terms import Receiver, check_length
from manyhands.connections.outboxes import ConnectionWithOutbox, outbox_of
from manyhands.exchange.exchange import Exchange
from manyhands.model.pieces import check_name, piece_of
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_lock


class Member(NamedTuple):
    """A member of a room.

    Attributes
    ----------
    number : int
        The number of its connection.
    name : str
        The name under which it has joined; its client's address, where it has given none.
    """

    number: int
    name: str


class Dealer(Protocol):
    """What leads from a process to those that it has forked, each of which serves a connection."""

    @property
    def deals_here(self) -> bool:
        """Whether this is the process that has forked them."""

    @property
    def parent(self) -> "Parent | None":
        """In the process of a handler, what leads to its parent; None in the parent itself."""

    def outbox_of(self, connection: ConnectionWithOutbox) -> Receiver | None:
        """Return what takes pieces for a connection, wherever it is served; None where nothing does."""


class Parent(Protocol):
    """What leads from a handler's process to its parent, which has the rooms."""

    @property
    def exchange(self) -> Exchange:
        """What leads to the parent's exchange."""

    def join(self, connection: ConnectionWithOutbox, room: str, name: str) -> bool:
        """Have a connection told what is said in a room; return whether it is a member now."""

    def leave(self, connection: ConnectionWithOutbox, room: str) -> None:
        """Have a connection told nothing more of a room."""

    def forget(self, connection: ConnectionWithOutbox) -> None:
        """Note that a connection comes to its end."""

    def tell_of_lag(self, waiting: int, *, is_over: bool) -> bool:
        """Have the parent's subscribers told that the client does not read; return False where it is gone."""

    def tell(self, room: str, piece: bytes, but: ConnectionWithOutbox | None) -> int:
        """Have all members of a room told, but one; return how many are."""

    def members(self, room: str) -> list[Member]:
        """Return the members of a room."""


class _Joined:
    """What a connection has joined."""

    __slots__ = ("rooms", "told_at")

    def __init__(self) -> None:
        self.rooms: set[str] = set()
        self.told_at = -math.inf


class Rooms:
    """The rooms of a server. Thread-safe; not for signal handlers, nor for finalizers.

    A room is there from when its first member joins until the last one has left. A connection may be in many.
    """

    def __init__(self) -> None:
        self.dealer: Dealer | None = None
        """What leads to connections that other processes serve, once the server has forked any."""

        self.begin_anew()
        renew_in_copies(self, Rooms.begin_anew)

    @property
    def parent(self) -> Parent | None:
        """In a handler's process: what leads to the rooms, which its parent has."""
        return None if self.dealer is None else self.dealer.parent

    def begin_anew(self) -> None:
        """Forget all members: in a forked copy of the process, which serves none of them."""
        self._lock = brief_lock()
        self.are_used = False
        """Whether anything was sent to a connection from outside, or may be soon."""

        self._members: dict[str, dict[ConnectionWithOutbox, tuple[Receiver, str]]] = {}
        self._joined: dict[ConnectionWithOutbox, _Joined] = {}

    def outbox_of(self, connection: ConnectionWithOutbox) -> Receiver | None:
        """Return what takes pieces for a connection, made now if need be; None where nothing does.

        Raises
        ------
        RuntimeError
            As of `outboxes.outbox_of`.
        """
        self.are_used = True
        dealer = self.dealer
        return outbox_of(connection) if dealer is None else dealer.outbox_of(connection)

    def join(self, connection: ConnectionWithOutbox, room: str, name: str | None = None) -> bool:
        """Have a connection told what is said in a room from now on; return False when it is over.

        Raises
        ------
        Mistake
            When the room's name is none.
        RuntimeError
            When it is a datagram.
        """
        check_name("room", room)
        if name is not None:
            check_name("member", name)
        outbox = self.outbox_of(connection)
        if outbox is None:
            return False
        known = name or format_address(connection.client_address)
        parent = self.parent
        if parent is not None:
            return parent.join(connection, room, known) and not outbox.is_over
        with self._lock:
            self._members.setdefault(room, {})[connection] = outbox, known
            self._joined.setdefault(connection, _Joined()).rooms.add(room)
        if outbox.is_over:
            self.forget(connection)  # it has ended meanwhile, and was not to be found yet
            return False
        return True

    def leave(self, connection: ConnectionWithOutbox, room: str) -> None:
        """Have a connection told nothing more of a room. It need not be in it."""
        parent = self.parent
        if parent is not None:
            parent.leave(connection, room)
        with self._lock:
            joined = self._joined.get(connection)
            if joined is not None and room in joined.rooms:
                joined.rooms.discard(room)
                self._remove(connection, room)
                if not joined.rooms:
                    del self._joined[connection]

    def forget(self, connection: ConnectionWithOutbox) -> None:
        """Have a connection, which has come to its end, leave all rooms."""
        parent = self.parent
        if parent is not None:
            parent.forget(connection)
        with self._lock:
            joined = self._joined.pop(connection, None)
            for room in () if joined is None else joined.rooms:
                self._remove(connection, room)

    def _remove(self, connection: ConnectionWithOutbox, room: str) -> None:
        members = self._members[room]
        members.pop(connection, None)
        if not members:
            del self._members[room]

    def tell(
        self, room: str, data: Any, terms: tuple[int, str], but: ConnectionWithOutbox | None = None
    ) -> int:
        """Send a piece to all members of a room, but to one; return to how many. Never waits.

        `terms` is what the server's options say of outboxes.

        Raises
        ------
        Mistake
            When the name is none, or the piece is text, or longer than may wait: no member gets it then.
        """
        check_name("room", room)
        piece = piece_of(data)
        check_length(piece, terms[0])
        parent = self.parent
        if parent is not None:
            return parent.tell(room, piece, but)
        members = self._members.get(room)
        if members is None:
            return 0
        # Without the lock: a copy of the members is made in one step of C.
        outboxes = list(members.values())
        own = None if but is None else members.get(but)
        joined = None if own is None or but is None else self._joined.get(but)
        if joined is not None:
            joined.told_at = time.monotonic()
        told = 0
        for each in outboxes:
            if each is not own and each[0].put(piece):
                told += 1
        return told

    def rooms_of(self, connection: ConnectionWithOutbox) -> list[str]:
        """Return the rooms that a connection is in, by their names' order."""
        with self._lock:
            joined = self._joined.get(connection)
            return [] if joined is None else sorted(joined.rooms)

    def told_at(self, connection: ConnectionWithOutbox) -> float | None:
        """Return when a connection's handler last told all others in a room, by `time.monotonic`.

        Minus infinity where it never has; None where the connection is in no room, or another process has
        the rooms.
        """
        joined = self._joined.get(connection)
        return None if joined is None else joined.told_at

    def members(self, room: str) -> list[Member]:
        """Return the members of a room, in the order in which they have joined."""
        parent = self.parent
        if parent is not None:
            return parent.members(room)
        with self._lock:
            found = tuple(self._members.get(room, {}).items())
        return [Member(connection.number, name) for connection, (_, name) in found]

    def sizes(self) -> dict[str, int]:
        """Return how many members each room has."""
        with self._lock:
            return {room: len(members) for room, members in self._members.items()}

    def __len__(self) -> int:
        return len(self._members)
