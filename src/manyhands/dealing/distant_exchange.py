"""The exchange as a handler in a process of its own has it: its parent has the subscriptions of all."""

import itertools
import struct
from collections.abc import Callable
from typing import Protocol

from manyhands.connections.connection import Connection
from manyhands.connections.subscriptions import keep
from manyhands.dealing.frames import Frame, Kind, texts
from manyhands.exchange.exchange import MOST_WAITING, Exchange, NoAnswer, checked_message
from manyhands.exchange.subscription import Message, Subscription
from manyhands.model.pieces import check_name, piece_of

TOKEN = struct.Struct("!Q")
"""What a message has in front that is a request: by this its answer finds the way back. 0: it is none."""


class Line(Protocol):
    """What leads to the parent."""

    def ask(
        self, kind: Kind, number: int, body: bytes = b"", seconds: float | None = None
    ) -> Frame | None:
        """Ask the parent; return its answer, or None where it gives none in so many seconds."""

    def say(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Tell the parent something, and wait for nothing."""


class DistantExchange(Exchange):
    """Publishes, subscribes and asks by way of the parent. Thread-safe.

    Parameters
    ----------
    line : Line
        What leads to the parent.
    connection : Connection
        What the process serves, with which its subscriptions end.
    """

    def __init__(self, line: Line, connection: Connection) -> None:
        self._line = line
        self._connection = connection
        self._ids = itertools.count(1)
        self._subscriptions: dict[int, Subscription] = {}

    def publish(self, subject: str, data: object) -> None:
        """See `Exchange.publish`. It waits until the parent has handed the message on, a second at most."""
        piece = checked_message(subject, data)
        self._line.ask(Kind.PUBLISH, 0, texts(subject) + piece)

    def subscribe(
        self, subject: str, *, most: int = MOST_WAITING, when_behind: str = "close"
    ) -> Subscription:
        """See `Exchange.subscribe`.

        Raises
        ------
        OSError
            When the parent does not answer: it is stopped, or has gone.
        """
        check_name("subject", subject)
        number = next(self._ids)
        subscription = Subscription(subject, most, when_behind, lambda _: self._forget(number))
        self._subscriptions[number] = subscription
        if self._line.ask(Kind.SUBSCRIBE, number, texts(subject)) is None:
            subscription.close()
            raise ConnectionError(
                f"nothing can be subscribed to {subject!r}: the server is gone, or stopped"
            )
        if self._connection.is_registered:
            keep(self._connection, subscription)
        return subscription

    def _forget(self, number: int) -> None:
        if self._subscriptions.pop(number, None) is not None:
            self._line.say(Kind.UNSUBSCRIBE, number)

    def request(self, subject: str, data: object, timeout: float = 1.0) -> bytes:
        """See `Exchange.request`."""
        piece = checked_message(subject, data)
        answer = self._line.ask(Kind.REQUEST, 0, texts(subject) + piece, timeout)
        if answer is None:
            raise TimeoutError(f"no answer came on {subject!r} in {timeout:g} s")
        if not answer.number:
            raise NoAnswer(f"nothing has subscribed to {subject!r}: there is no answer to be had")
        return answer.body

    def close_subscriptions(self) -> None:
        """See `Exchange.close_subscriptions`."""
        for subscription in list(self._subscriptions.values()):
            subscription.close()

    def take(self, frame: Frame) -> None:
        """Hand on a message that has come, or the end of a subscription. For the thread that hears."""
        subscription = self._subscriptions.get(frame.number)
        if subscription is None:
            return
        if frame.kind == Kind.CLOSED:
            subscription.close()
            return
        (token,) = TOKEN.unpack_from(frame.body)
        answer = self._answering(token) if token else None
        subscription.deliver(Message(subscription.subject, frame.body[TOKEN.size :], answer))

    def _answering(self, token: int) -> Callable[[object], bool]:
        def answer(data: object) -> bool:
            told = self._line.ask(Kind.REPLY, token, piece_of(data))
            return told is not None and bool(told.number)

        return answer
