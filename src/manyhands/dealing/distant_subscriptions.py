"""What a handler in a process of its own has subscribed to, and asks, as its parent has it."""

import itertools
from typing import TYPE_CHECKING, Protocol

from manyhands.connections.connection import Connection
from manyhands.connections.subscriptions import keep
from manyhands.dealing.distant_exchange import TOKEN
from manyhands.dealing.frames import Frame, Kind, pack, take_texts
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.subscription import Message

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_REQUESTS = 1000
"""Requests to which one process has given no answer: as many as may wait in a subscription."""


class Channel(Protocol):
    """What leads to the process."""

    def put(self, data: bytes) -> bool:
        """Have a frame sent. Never waits."""


class _Distant:
    """A subscription whose messages go to another process. `deliver` and `close` may come in any thread."""

    def __init__(self, subject: str, number: int, owner: "DistantSubscriptions") -> None:
        self.subject = subject
        self.is_closed = False
        self._number = number
        self._owner = owner

    def deliver(self, message: Message) -> None:
        """Send a message. Never waits."""
        token = TOKEN.pack(self._owner.token_of(message) if message.is_request else 0)
        self._owner.channel.put(pack(Kind.MESSAGE, self._number, token + message.data))

    def close(self) -> None:
        """Have the process know that no more messages come."""
        self.is_closed = True
        self._owner.channel.put(pack(Kind.CLOSED, self._number))


class DistantSubscriptions:
    """The subscriptions of one process, and the requests that it has got. For the thread that deals.

    Parameters
    ----------
    exchange : LocalExchange
        That of the server.
    channel : Channel
        What leads to the process.
    connection : Connection or None
        What the process serves; None for a datagram.
    """

    def __init__(
        self, exchange: LocalExchange, channel: Channel, connection: Connection | None
    ) -> None:
        self._exchange = exchange
        self._connection = connection
        self.channel = channel
        self._subscriptions: dict[int, _Distant] = {}
        self._tokens = itertools.count(1)
        self._asked: dict[int, Message] = {}
        self._acts: dict[int, Callable[[Frame], tuple[int, bytes] | None]] = {
            Kind.SUBSCRIBE: self._subscribe,
            Kind.UNSUBSCRIBE: self._unsubscribe,
            Kind.PUBLISH: self._publish,
            Kind.REQUEST: self._request,
            Kind.REPLY: self._reply,
        }

    def takes(self, kind: int) -> bool:
        """Tell whether a frame is for the exchange."""
        return kind in self._acts

    def do(self, frame: Frame) -> tuple[int, bytes] | None:
        """Do what a frame asks for; return what answers it, None where that comes later.

        Raises
        ------
        Mistake, ValueError
            It is none that a process of ours sends.
        """
        return self._acts[frame.kind](frame)

    def close(self) -> None:
        """Forget all: the process has gone."""
        while self._subscriptions:
            _, subscription = self._subscriptions.popitem()
            subscription.is_closed = True
            self._exchange.remove(subscription)
        self._asked.clear()

    def token_of(self, message: Message) -> int:
        """Return the number by which the answer to a request finds its way back. In any thread."""
        token = next(self._tokens)
        self._asked[token] = message
        if len(self._asked) > MOST_REQUESTS:
            # The oldest one: nobody has answered it, and its asker waits no more, as a rule.
            self._asked.pop(next(iter(self._asked)), None)
        return token

    def _subscribe(self, frame: Frame) -> tuple[int, bytes]:
        (subject,), _ = take_texts(frame.body, 1)
        subscription = self._subscriptions[frame.number] = _Distant(subject, frame.number, self)
        self._exchange.add(subscription)
        if self._connection is not None:
            keep(self._connection, subscription)
        return 1, b""

    def _unsubscribe(self, frame: Frame) -> tuple[int, bytes]:
        subscription = self._subscriptions.pop(frame.number, None)
        if subscription is not None:
            subscription.is_closed = True
            self._exchange.remove(subscription)
        return 0, b""

    def _publish(self, frame: Frame) -> tuple[int, bytes]:
        (subject,), piece = take_texts(frame.body, 1)
        self._exchange.publish(subject, piece)
        return 1, b""

    def _request(self, frame: Frame) -> tuple[int, bytes] | None:
        (subject,), piece = take_texts(frame.body, 1)
        answered = ["not yet"]

        def answer(data: object) -> bool:
            try:
                # One step: of several answers, one is the first.
                answered.pop()
            except IndexError:
                return False
            assert isinstance(data, bytes)  # noqa: S101 - tells the type checker: `Message.reply` has seen to it
            return self.channel.put(pack(Kind.ANSWER, 1, data, frame.request))

        return None if self._exchange.hand_on(Message(subject, piece, answer)) else (0, b"")

    def _reply(self, frame: Frame) -> tuple[int, bytes]:
        message = self._asked.pop(frame.number, None)
        return int(message is not None and message.reply(frame.body)), b""
