"""What the process of a handler may ask of its parent: each frame, and what answers it."""

import marshal
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Rooms
from manyhands.dealing.frames import Frame, Kind, pack, take_texts
from manyhands.dealing.peer import UNNOTED, Peer
from manyhands.dealing.shared_terms import SharedTerms
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake

Act = Callable[[Frame, Peer], tuple[int, bytes]]
"""Does what a frame of a process asks for; returns how many were told, or the like, and the rest of the
answer."""


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
        return self._registry.get(number)

    def _join(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        (room, name), _ = take_texts(frame.body, 2)
        connection = self._connection(frame.number)
        return int(connection is not None and self._rooms.join(connection, room, name)), b""

    def _leave(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        (room,), _ = take_texts(frame.body, 1)
        connection = self._connection(frame.number)
        if connection is not None:
            self._rooms.leave(connection, room)
        return 0, b""

    def _tell(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        (room,), piece = take_texts(frame.body, 1)
        # The bound of now: the process may have compared the piece with one of a moment ago.
        terms = self._terms.noted() or UNNOTED
        return self._rooms.tell(room, piece, terms, self._connection(frame.number)), b""

    def _members(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        (room,), _ = take_texts(frame.body, 1)
        return 0, marshal.dumps([tuple(member) for member in self._rooms.members(room)])

    def _send(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        connection = self._connection(frame.number)
        return int(connection is not None and connection.send(frame.body)), b""

    def _send_all(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        return self._registry.send_all(frame.body, self._connection(frame.number)), b""

    def _find(self, frame: Frame, _peer: Peer) -> tuple[int, bytes]:
        connection = self._connection(frame.number)
        if connection is None:
            return 0, b""
        return 1, _address(connection.client_address)

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


def _address(address: Any) -> bytes:
    try:
        return marshal.dumps(address)
    except ValueError:
        return marshal.dumps(format_address(address))  # an object of the program's own
