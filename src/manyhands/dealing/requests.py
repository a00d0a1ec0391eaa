"""What the process of a handler may ask of its parent: each frame, and what answers it."""

import marshal
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Member, Rooms, in_order
from manyhands.dealing.distant_subscriptions import answer_later
from manyhands.dealing.frames import Frame, Kind, pack, take_texts
from manyhands.dealing.peer import UNNOTED, Peer
from manyhands.dealing.shared_terms import SharedTerms
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.pending import Pending

Act = Callable[[Frame, Peer], tuple[int, bytes] | None]
"""Does what a frame of a process asks for; returns how many were told, or the like, and the rest of the
answer; None where that comes later, from other workers."""


class Requests:
    """Does in the parent what handlers in other processes ask for. For the thread that deals."""

    def __init__(self, rooms: Rooms, registry: Registry, terms: SharedTerms) -> None:
        self._rooms = rooms
        self._registry = registry
        self._terms = terms
        self._acts: dict[int, Act] = {
            Kind.JOIN: self._join,
            Kind.LEAVE: self._leave,
            Kind.TELL: self._tell,
            Kind.MEMBERS: self._members,
            Kind.SEND: self._send,
            Kind.SEND_ALL: self._send_all,
            Kind.FIND: self._find,
            Kind.MISSED: self._missed,
            Kind.BEHIND: self._behind,
            Kind.OVER: self._over,
        }

    def answer(self, frame: Frame, peer: Peer) -> bytes | None:
        """Do what a frame of a process asks for; return the frame that answers it, if one is wanted now.

        Raises
        ------
        ValueError
            It is none that a process of ours sends.
        """
        try:
            told = self._done(frame, peer)
        except Mistake as mistake:
            return pack(Kind.REFUSE, 0, str(mistake).encode(), frame.request)
        if not frame.request or told is None:
            return None
        return pack(Kind.ANSWER, told[0], told[1], frame.request)

    def _done(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        if peer.subscriptions.takes(frame.kind):
            return peer.subscriptions.do(frame)
        act = self._acts.get(frame.kind)
        if act is None:
            raise ValueError(f"a frame of the kind {frame.kind} has come, which only parents send")
        return act(frame, peer)

    def _connection(self, number: int) -> Connection | None:
        return self._registry.here(number)

    def _join(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        (room, name), _ = take_texts(frame.body, 2)
        connection = self._connection(frame.number)
        if connection is None:
            return 0, b""
        is_member, heard = self._rooms.begin_to_join(connection, room, name)
        if heard is None:
            return int(is_member), b""
        return answer_later(peer.channel, frame, heard, lambda _: (int(is_member), b""))

    def _leave(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        (room,), _ = take_texts(frame.body, 1)
        connection = self._connection(frame.number)
        if connection is not None:
            self._rooms.leave(connection, room)
        return 0, b""

    def _tell(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        (room,), piece = take_texts(frame.body, 1)
        # The bound of now: the process may have compared the piece with one of a moment ago.
        terms = self._terms.noted() or UNNOTED
        but = self._connection(frame.number)
        return _sum(peer, frame, *self._rooms.begin_to_tell(room, piece, terms, but))

    def _members(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        (room,), _ = take_texts(frame.body, 1)
        here, others = self._rooms.members_here(room), self._rooms.others
        if others is None:
            return 0, _dumped(in_order(here))
        return answer_later(
            peer.channel,
            frame,
            others.members(room),
            lambda more: (0, _dumped(in_order(here, more))),
        )

    def _send(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        connection, others = self._connection(frame.number), self._registry.others
        if connection is not None or others is None:
            return int(connection is not None and connection.send(frame.body)), b""
        is_sent = others.send(frame.number, frame.body)
        return answer_later(peer.channel, frame, is_sent, lambda it_is: (int(it_is), b""))

    def _send_all(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        but = self._connection(frame.number)
        return _sum(peer, frame, *self._registry.begin_to_send_all(frame.body, but))

    def _find(self, frame: Frame, peer: Peer) -> tuple[int, bytes] | None:
        connection, others = self._connection(frame.number), self._registry.others
        if connection is not None or others is None:
            return _found(connection)
        return answer_later(peer.channel, frame, others.find(frame.number), _found)

    @staticmethod
    def _missed(frame: Frame, peer: Peer) -> tuple[int, bytes]:
        (count,), _ = take_texts(frame.body, 1)
        peer.note_missed(int(count))
        return 0, b""

    @staticmethod
    def _behind(frame: Frame, peer: Peer) -> tuple[int, bytes]:
        (waiting, is_over), _ = take_texts(frame.body, 2)
        peer.tell_of_lag(int(waiting), is_over=is_over == "1")
        return 0, b""

    def _over(self, _frame: Frame, peer: Peer) -> tuple[int, bytes]:
        peer.end()
        if peer.connection is not None:
            self._rooms.forget(peer.connection)
        return 0, b""


def _sum(
    peer: Peer, frame: Frame, told: int, told_elsewhere: Pending[int] | None
) -> tuple[int, bytes] | None:
    if told_elsewhere is None:
        return told, b""
    return answer_later(peer.channel, frame, told_elsewhere, lambda more: (told + more, b""))


def _found(connection: Connection | None) -> tuple[int, bytes]:
    return (0, b"") if connection is None else (1, dumped_address(connection.client_address))


def _dumped(members: list[Member]) -> bytes:
    return marshal.dumps([tuple(member) for member in members])


def dumped_address(address: Any) -> bytes:
    """Return the address of a client by `marshal`, or its text where it is a program's own object."""
    try:
        return marshal.dumps(address)
    except ValueError:
        return marshal.dumps(format_address(address))  # an object of the program's own
