"""What the process of a handler may ask of its parent: each frame, and what answers it."""

import marshal
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Rooms
from manyhands.dealing.distant_subscriptions import Channel, DistantSubscriptions
from manyhands.dealing.frames import Frame, Kind, pack, take_texts
from manyhands.dealing.peer import DistantOutbox
from manyhands.exchange.local import LocalExchange
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake

Act = Callable[[Frame], tuple[int, bytes] | None]
"""Does what a frame asks for; returns how many were told, or the like, and the rest of the answer; None where
that comes later."""


class Requests:
    """Does in the parent what handlers in other processes ask for. For the thread that deals."""

    def __init__(self, rooms: Rooms, registry: Registry, exchange: LocalExchange) -> None:
        self._rooms = rooms
        self._exchange = exchange
        self._registry = registry
        self._acts: dict[int, Act] = {
            Kind.JOIN: self._join,
            Kind.LEAVE: self._leave,
            Kind.TELL: self._tell,
            Kind.MEMBERS: self._members,
            Kind.SEND: self._send,
            Kind.SEND_ALL: self._send_all,
            Kind.FIND: self._find,
            Kind.MISSED: self._missed,
            Kind.OVER: self._over,
        }

    def subscriptions(
        self, channel: Channel, connection: Connection | None
    ) -> DistantSubscriptions:
        """Return what the process of a connection may subscribe with."""
        return DistantSubscriptions(self._exchange, channel, connection)

    def answer(self, frame: Frame, subscriptions: DistantSubscriptions) -> bytes | None:
        """Do what a frame of a process asks for; return the frame that answers it, if one is wanted.

        Raises
        ------
        ValueError
            It is none that a process of ours sends.
        """
        act: Act | None = (
            subscriptions.do if subscriptions.takes(frame.kind) else self._acts.get(frame.kind)
        )
        if act is None:
            raise ValueError(f"a frame of the unknown kind {frame.kind} has come")
        try:
            told = act(frame)
        except Mistake as mistake:
            return pack(Kind.REFUSE, 0, str(mistake).encode(), frame.request)
        if not frame.request or told is None:
            return None
        return pack(Kind.ANSWER, told[0], told[1], frame.request)

    def _connection(self, number: int) -> Connection | None:
        return self._registry.get(number)

    def _join(self, frame: Frame) -> tuple[int, bytes]:
        (room, name), _ = take_texts(frame.body, 2)
        connection = self._connection(frame.number)
        return int(connection is not None and self._rooms.join(connection, room, name)), b""

    def _leave(self, frame: Frame) -> tuple[int, bytes]:
        (room,), _ = take_texts(frame.body, 1)
        connection = self._connection(frame.number)
        if connection is not None:
            self._rooms.leave(connection, room)
        return 0, b""

    def _tell(self, frame: Frame) -> tuple[int, bytes]:
        (room,), piece = take_texts(frame.body, 1)
        # The teller's process has compared the piece with what the options say, and each outbox does.
        terms = len(piece), ""
        return self._rooms.tell(room, piece, terms, self._connection(frame.number)), b""

    def _members(self, frame: Frame) -> tuple[int, bytes]:
        (room,), _ = take_texts(frame.body, 1)
        return 0, marshal.dumps([tuple(member) for member in self._rooms.members(room)])

    def _send(self, frame: Frame) -> tuple[int, bytes]:
        connection = self._connection(frame.number)
        return int(connection is not None and connection.send(frame.body)), b""

    def _send_all(self, frame: Frame) -> tuple[int, bytes]:
        return self._registry.send_all(frame.body, self._connection(frame.number)), b""

    def _find(self, frame: Frame) -> tuple[int, bytes]:
        connection = self._connection(frame.number)
        if connection is None:
            return 0, b""
        return 1, _address(connection.client_address)

    def _missed(self, frame: Frame) -> tuple[int, bytes]:
        (count,), _ = take_texts(frame.body, 1)
        connection = self._connection(frame.number)
        if connection is not None and isinstance(connection.outbox, DistantOutbox):
            connection.outbox.note_missed(int(count))
        return 0, b""

    def _over(self, frame: Frame) -> tuple[int, bytes]:
        connection = self._connection(frame.number)
        if connection is not None and connection.outbox is not None:
            connection.outbox.end()
            self._rooms.forget(connection)
        return 0, b""


def _address(address: Any) -> bytes:
    try:
        return marshal.dumps(address)
    except ValueError:
        return marshal.dumps(format_address(address))  # an object of the program's own
