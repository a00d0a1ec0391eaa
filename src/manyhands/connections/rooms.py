"""Rooms: connections that are told things together, by a name."""

import math
import time
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from manyhands.connections.outbox_terms import Receiver, check_length
from manyhands.connections.outboxes import ConnectionWithOutbox, outbox_of
from manyhands.exchange.exchange import Exchange
from manyhands.model.pieces import check_name, piece_of
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.pending import Pending
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

    def note(self, act: Callable[[], object]) -> None:
        """Have something done in the accept loop, which may call what is the program's."""

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


class Others(Protocol):
    """What leads to the members that are in other processes which serve the same server."""

    def follow_room(self, room: str) -> Pending[bool]:
        """Have what they tell a room come here, if it has members here now, and else nothing of it.

        It does once the result is there.
        """

    def tell(self, room: str, piece: bytes, but: int) -> Pending[int]:
        """Have the members there told, but the connection of a number; the result is how many are."""

    def members(self, room: str) -> Pending[list[tuple[float, Member]]]:
        """Ask for the members there, each with when it has joined, by `time.monotonic`."""


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
        self.others: Others | None = None
        """What leads to other processes that serve the same server, where it has several workers."""

        self.are_used = False
        """Whether anything was sent to a connection from outside, or may be soon."""

        self._members: dict[str, dict[ConnectionWithOutbox, tuple[Receiver, str, float]]] = {}
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
        parent = self.parent
        if parent is not None:
            known = _checked(connection, room, name)
            outbox = self.outbox_of(connection)
            has_joined = outbox is not None and parent.join(connection, room, known)
            return outbox is not None and has_joined and not outbox.is_over
        is_member, heard = self.begin_to_join(connection, room, name)
        if heard is not None:
            heard.wait()
        return is_member

    def begin_to_join(
        self, connection: ConnectionWithOutbox, room: str, name: str | None = None
    ) -> tuple[bool, Pending[bool] | None]:
        """Do what `join` does, but wait for nothing; return what there is to wait for as well, if anything.

        It is there once what other processes tell the room comes here.
        """
        known = _checked(connection, room, name)
        outbox = self.outbox_of(connection)
        if outbox is None:
            return False, None
        now = time.monotonic()
        with self._lock:
            members = self._members.setdefault(room, {})
            # Under another name it is a member from before.
            _, _, joined_at = members.get(connection, (outbox, known, now))
            members[connection] = outbox, known, joined_at
            self._joined.setdefault(connection, _Joined()).rooms.add(room)
        if outbox.is_over:
            self.forget(connection)  # it has ended meanwhile, and was not to be found yet
            return False, None
        return True, None if self.others is None else self.others.follow_room(room)

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
        if self.others is not None:
            self.others.follow_room(room)

    def forget(self, connection: ConnectionWithOutbox) -> None:
        """Have a connection, which has come to its end, leave all rooms."""
        parent = self.parent
        if parent is not None:
            parent.forget(connection)
        with self._lock:
            joined = self._joined.pop(connection, None)
            for room in () if joined is None else joined.rooms:
                self._remove(connection, room)
        if joined is not None and self.others is not None:
            for room in joined.rooms:
                self.others.follow_room(room)

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
        parent = self.parent
        if parent is not None:
            return parent.tell(room, _checked_piece(room, data, terms), but)
        told, told_elsewhere = self.begin_to_tell(room, data, terms, but)
        return told if told_elsewhere is None else told + told_elsewhere.wait()

    def tell_in_process(self, room: str, data: Any, terms: tuple[int, str]) -> int:
        """Do what `tell` does, but for the members in this process alone."""
        return self.tell_here(room, _checked_piece(room, data, terms))

    def begin_to_tell(
        self, room: str, data: Any, terms: tuple[int, str], but: ConnectionWithOutbox | None = None
    ) -> tuple[int, Pending[int] | None]:
        """Do what `tell` does, but wait for nothing; return how many are told here, and elsewhere."""
        piece = _checked_piece(room, data, terms)
        told = self.tell_here(room, piece, but)
        if self.others is None:
            return told, None
        return told, self.others.tell(room, piece, 0 if but is None else but.number)

    def tell_here(
        self,
        room: str,
        piece: bytes,
        but: ConnectionWithOutbox | None = None,
        at: float = math.inf,
    ) -> int:
        """Send a piece to all members in this process, but to one; return to how many.

        `at` is when it was told, by `time.monotonic`: who has joined later is told nothing.
        """
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
            if each is not own and each[2] <= at and each[0].put(piece):
                told += 1
        return told

    def miss(self, room: str, count: int, at: float) -> None:
        """Note that so many pieces of a room were dropped on their way here, the last one at a time."""
        for outbox, _, joined_at in list(self._members.get(room, {}).values()):
            if joined_at <= at:
                outbox.miss(count)

    def rooms_of(self, connection: ConnectionWithOutbox) -> list[str]:
        """Return the rooms that a connection is in, by their names' order."""
        with self._lock:
            joined = self._joined.get(connection)
            return [] if joined is None else sorted(joined.rooms)

    def names_of(self, connection: ConnectionWithOutbox) -> dict[str, str]:
        """Return the rooms that a connection is in, and what it is called in each."""
        with self._lock:
            joined = self._joined.get(connection)
            rooms = () if joined is None else sorted(joined.rooms)
            return {room: self._members[room][connection][1] for room in rooms}

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
        here = self.members_here(room)
        if self.others is None:
            return [member for _, member in here]
        return in_order(here, self.others.members(room).wait())

    def members_here(self, room: str) -> list[tuple[float, Member]]:
        """Return those in this process, each with when it has joined, by `time.monotonic`."""
        with self._lock:
            found = tuple(self._members.get(room, {}).items())
        return [
            (joined_at, Member(connection.number, name))
            for connection, (_, name, joined_at) in found
        ]

    def has_members(self, room: str) -> bool:
        """Tell whether a room has members in this process."""
        return room in self._members

    def sizes(self) -> dict[str, int]:
        """Return how many members each room has."""
        with self._lock:
            return {room: len(members) for room, members in self._members.items()}

    def __len__(self) -> int:
        return len(self._members)


def in_order(*several: list[tuple[float, Member]]) -> list[Member]:
    """Return the members in several processes in the order in which they have joined."""
    every = [each for members in several for each in members]
    return [member for _, member in sorted(every, key=itemgetter(0))]


def _checked(connection: ConnectionWithOutbox, room: str, name: str | None) -> str:
    """Return the name under which a connection joins a room."""
    check_name("room", room)
    if name is not None:
        check_name("member", name)
    return name or format_address(connection.client_address)


def _checked_piece(room: str, data: Any, terms: tuple[int, str]) -> bytes:
    check_name("room", room)
    piece = piece_of(data)
    check_length(piece, terms[0])
    return piece
