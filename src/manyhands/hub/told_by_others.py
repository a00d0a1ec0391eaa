"""What a worker does that others have told: each message, and what answers it."""

import contextlib
import enum
import marshal
import struct
from collections.abc import Callable
from typing import Protocol

from manyhands.connections.connection import Connection
from manyhands.dealing.frames import take_texts, texts
from manyhands.dealing.requests import dumped_address
from manyhands.exchange.answer_tokens import AnswerTokens
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.subscription import DistantAnswer, Message
from manyhands.hub.frames import CONNECTIONS, EVERYTHING, ROOM, SUBJECT
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.pending import Pending
from manyhands.serving.core import ServerCore

HEAD = struct.Struct("!BdQ")
"""What a message begins with: what is told, when, by `time.monotonic`, and a number."""


Act = Callable[[str, float, int, bytes, int], tuple[int, bytes]]
"""Does what a message tells, by its name, time, number, rest and sender; returns what answers it."""


class What(enum.IntEnum):
    """What a message tells, or asks; in brackets its number, and what follows it."""

    TELL = 1
    """A room (of the connection to leave out; piece). Answer: how many are told."""

    MEMBERS = 2
    """Who is in a room. Answer: by marshal, [(when each has joined, its number, its name)]."""

    SEND_ALL = 3
    """All connections (of the one to leave out; piece). Answer: how many are sent it."""

    SEND = 4
    """A connection (of it; piece). Answer: 1 when it is sent."""

    FIND = 5
    """Whether a connection is there (of it). Answer: 1, and its address."""

    PUBLISH = 6
    """A subject (0; message)."""

    REQUEST = 7
    """A subject (by which the reply finds the way back; message). Answer: 1 when it has a subscriber."""

    REPLY = 8
    """An asker (that of the request; reply). Answer: 1 when it counts."""


class Replies(Protocol):
    """What takes replies to other workers."""

    def reply(self, worker: int, token: int, data: bytes) -> Pending[bool]:
        """Have a reply go to the worker that has asked; the result is whether it counts."""


class _ReplyTo(DistantAnswer):
    """Takes the reply to one request of another worker."""

    def __init__(self, others: Replies, worker: int, token: int) -> None:
        self._others = others
        self._worker = worker
        self._token = token

    def give(self, data: bytes) -> Pending[bool]:
        return self._others.reply(self._worker, self._token, data)


class ToldByOthers:
    """Does what others tell. For the thread that reads, which waits for nothing.

    Parameters
    ----------
    core : ServerCore
        That of the worker's server.
    exchange : LocalExchange
        Its exchange.
    tokens : AnswerTokens
        Of the requests that this worker has made.
    others : Replies
    """

    def __init__(
        self,
        core: ServerCore,
        exchange: LocalExchange,
        tokens: AnswerTokens,
        others: Replies,
    ) -> None:
        self._rooms = core.rooms
        self._registry = core.registry
        self._exchange = exchange
        self._tokens = tokens
        self._others = others
        self._acts: dict[int, Act] = {
            What.TELL: self._tell,
            What.MEMBERS: self._members,
            What.SEND_ALL: self._send_all,
            What.SEND: self._send,
            What.FIND: self._find,
            What.PUBLISH: self._publish,
            What.REQUEST: self._request,
            What.REPLY: self._reply,
        }

    def do(self, sender: int, body: bytes) -> tuple[int, bytes]:
        """Do what the body of a message tells; return the answer.

        Raises
        ------
        ValueError, struct.error, KeyError
            It is none that a worker of ours sends.
        """
        (topic,), message = take_texts(body, 1)
        what, at, number = HEAD.unpack_from(message)
        return self._acts[what](topic[1:], at, number, message[HEAD.size :], sender)

    def _tell(
        self, room: str, at: float, but: int, piece: bytes, _sender: int
    ) -> tuple[int, bytes]:
        return self._rooms.tell_here(room, piece, self._registry.here(but), at), b""

    def _members(
        self, room: str, _at: float, _number: int, _rest: bytes, _sender: int
    ) -> tuple[int, bytes]:
        found = [(at, *member) for at, member in self._rooms.members_here(room)]
        return len(found), marshal.dumps(found)

    def _send_all(
        self, _name: str, at: float, but: int, piece: bytes, _sender: int
    ) -> tuple[int, bytes]:
        with contextlib.suppress(Mistake):  # it is longer than may wait here
            return self._registry.send_all_here(piece, self._registry.here(but), at), b""
        return 0, b""

    def _send(
        self, _name: str, _at: float, number: int, piece: bytes, _sender: int
    ) -> tuple[int, bytes]:
        connection = self._registry.here(number)
        # A program's own object in the place of a socket; or a piece that is longer than may wait here.
        with contextlib.suppress(RuntimeError, Mistake):
            return int(connection is not None and connection.send(piece)), b""
        return 0, b""

    def _find(
        self, _name: str, _at: float, number: int, _rest: bytes, _sender: int
    ) -> tuple[int, bytes]:
        connection = self._registry.here(number)
        return (0, b"") if connection is None else (1, dumped_address(connection.client_address))

    def _publish(
        self, subject: str, at: float, _number: int, data: bytes, _sender: int
    ) -> tuple[int, bytes]:
        return int(self._exchange.hand_on_of(at, Message(subject, data))), b""

    def _request(
        self, subject: str, at: float, token: int, data: bytes, sender: int
    ) -> tuple[int, bytes]:
        answer = _ReplyTo(self._others, sender, token)
        return int(self._exchange.hand_on_of(at, Message(subject, data, answer))), b""

    def _reply(
        self, _name: str, _at: float, token: int, data: bytes, _sender: int
    ) -> tuple[int, bytes]:
        answer = self._tokens.take(token)
        return int(answer is not None and answer(data)), b""

    # What was dropped on its way here

    def miss(self, topic: str, count: int, at: float) -> None:
        """Have those that were to be told count it, or come to their end: as where an outbox is full."""
        sort, name = topic[:1], topic[1:]
        if sort == ROOM:
            self._rooms.miss(name, count, at)
        elif sort == SUBJECT:
            self._exchange.miss(name, count, at)
        elif topic in {CONNECTIONS, EVERYTHING}:
            for connection in self._registry.snapshot():
                if connection.opened_at <= at and connection.is_open_to_pieces:
                    self._miss(connection, count)
            if topic == EVERYTHING:
                for subject in self._exchange.subjects():
                    self._exchange.miss(subject, count, at)

    def _miss(self, connection: Connection, count: int) -> None:
        with contextlib.suppress(RuntimeError):  # a program's own object in the place of a socket
            outbox = connection.outbox or self._rooms.outbox_of(connection)
            if outbox is not None:
                outbox.miss(count)


def message_of(what: What, at: float, number: int = 0, rest: bytes = b"") -> bytes:
    """Return a message as bytes."""
    return HEAD.pack(what, at, number) + rest


def topic_of(sort: str, name: str = "") -> bytes:
    """Return a topic as bytes."""
    return texts(sort + name)
