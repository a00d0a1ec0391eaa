"""The exchange as a handler in a process of its own has it: its parent has the subscriptions of all."""

import itertools
import struct
import time
from collections.abc import Callable
from typing import Protocol

from manyhands.connections.connection import Connection
from manyhands.connections.subscriptions import keep
from manyhands.dealing.frames import Frame, Kind, take_texts, texts
from manyhands.exchange.exchange import MOST_WAITING, Exchange, NoAnswer, checked_message
from manyhands.exchange.subscription import Message, Subscription
from manyhands.model.pieces import check_name
from manyhands.runtime.fork_hooks import renew_in_copies

TOKEN = struct.Struct("!Q")
"""What a message has in front that is a request: by this its answer finds the way back. 0: it is none."""


class Parent(Protocol):
    """What leads to the parent."""

    def ask(
        self, kind: Kind, number: int, body: bytes = b"", seconds: float | None = None
    ) -> Frame | None:
        """Ask the parent; return its answer, or None where it gives none in so many seconds."""

    def say(self, kind: Kind, number: int, body: bytes = b"") -> bool:
        """Tell the parent something, and wait for nothing; return False where it is gone."""


class DistantExchange(Exchange):
    """Publishes, subscribes and asks by way of the parent. Thread-safe.

    Parameters
    ----------
    parent : Parent
        What leads to the parent.
    connection : Connection
        What the process serves, with which its subscriptions end.
    """

    def __init__(self, parent: Parent, connection: Connection) -> None:
        self._parent = parent
        self._connection = connection
        self._ids = itertools.count(1)
        self._subscriptions: dict[int, Subscription] = {}
        self._ends = 0
        """How many times all of them have ended."""

        renew_in_copies(self, DistantExchange.begin_anew)

    def publish(self, subject: str, data: object) -> None:
        """See `Exchange.publish`. It waits until the parent has handed the message on, a second at most."""
        piece = checked_message(subject, data)
        self._parent.ask(Kind.PUBLISH, 0, texts(subject) + piece)

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
        subscription = self._subscribed(subject, most, when_behind) or self._subscribed(
            subject, most, when_behind
        )
        if subscription is None:
            raise ConnectionError(
                f"nothing can be subscribed to {subject!r}: the channel to the server's process has ended"
            )
        keep(self._connection, subscription)
        return subscription

    def _subscribed(self, subject: str, most: int, when_behind: str) -> Subscription | None:
        """Subscribe; return None where the channel to the parent has ended meanwhile, and this with it."""
        ends, number = self._ends, next(self._ids)
        subscription = Subscription(subject, most, when_behind, lambda _: self._forget(number))
        # Before the parent has it, and messages come.
        self._subscriptions[number] = subscription
        said = texts(subject, str(most), when_behind)
        if self._parent.ask(Kind.SUBSCRIBE, number, said) is None:
            subscription.close()
            raise ConnectionError(
                f"nothing can be subscribed to {subject!r}: the server is gone, or stopped"
            )
        if ends == self._ends:
            return subscription
        # It was asked by the next channel: the parent has it, and here it is closed.
        self._subscriptions.pop(number, None)
        subscription.close()
        self._parent.say(Kind.UNSUBSCRIBE, number)
        return None

    def _forget(self, number: int) -> None:
        if self._subscriptions.pop(number, None) is not None:
            self._parent.say(Kind.UNSUBSCRIBE, number)

    def request(self, subject: str, data: object, timeout: float = 1.0) -> bytes:
        """See `Exchange.request`."""
        piece = checked_message(subject, data)
        # The clock is the machine's, not the process's (CLOCK_MONOTONIC, clock_gettime(2)).
        said = texts(subject, repr(time.monotonic() + timeout))
        answer = self._parent.ask(Kind.REQUEST, 0, said + piece, timeout)
        if answer is None:
            raise TimeoutError(f"no answer came on {subject!r} in {timeout:g} s")
        if not answer.number:
            raise NoAnswer(f"nothing has subscribed to {subject!r}: there is no answer to be had")
        return answer.body

    def close_subscriptions(self) -> None:
        """See `Exchange.close_subscriptions`."""
        for subscription in list(self._subscriptions.values()):
            subscription.close()

    def end_subscriptions(self) -> None:
        """End all of them without a word to the parent: it is gone, or another process's."""
        every, self._subscriptions = self._subscriptions, {}
        # In this order: one that is made from now on is among the new ones.
        self._ends += 1
        for subscription in list(every.values()):
            subscription.close()

    def begin_anew(self) -> None:
        """End all of them, in a forked copy of the process."""
        every, self._subscriptions = self._subscriptions, {}
        for subscription in every.values():
            subscription.begin_anew()

    def take(self, frame: Frame) -> None:
        """Hand on a message that has come, or what became of a subscription. For the thread that reads."""
        subscription = self._subscriptions.get(frame.number)
        if subscription is None:
            return
        if frame.kind == Kind.CLOSED:
            subscription.close()
            return
        if frame.kind == Kind.LOST:
            (lost,), _ = take_texts(frame.body, 1)
            subscription.note_lost(int(lost))
            return
        (token,) = TOKEN.unpack_from(frame.body)
        answer = self._answering(token) if token else None
        subscription.deliver(Message(subscription.subject, frame.body[TOKEN.size :], answer))

    def _answering(self, token: int) -> Callable[[bytes], bool]:
        def answer(data: bytes) -> bool:
            told = self._parent.ask(Kind.REPLY, token, data)
            return told is not None and bool(told.number)

        return answer
