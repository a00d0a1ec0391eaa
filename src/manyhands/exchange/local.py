"""The exchange of one process."""

import time
from collections.abc import Callable
from typing import Protocol

from manyhands.exchange.exchange import MOST_WAITING, Exchange, NoAnswer, checked_message
from manyhands.exchange.subscription import Message, Subscription
from manyhands.model.pieces import check_name
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Condition
from manyhands.runtime.pending import Pending
from manyhands.runtime.unpatched import brief_lock


class Subscriber(Protocol):
    """What takes the messages of a subject."""

    subject: str
    since: float
    """When it was added to its exchange, by `time.monotonic`."""

    def deliver(self, message: Message) -> None:
        """Take a message. Never waits."""

    def miss(self, count: int) -> None:
        """Note that so many messages were dropped before they came here."""

    def close(self) -> None:
        """Have no more messages."""

    def begin_anew(self) -> None:
        """Be closed, in a forked copy of the process."""


class Others(Protocol):
    """What leads to the exchanges of other processes which serve the same server."""

    def follow_subject(self, subject: str) -> Pending[bool]:
        """Have what they publish come here, if anything has subscribed here now, and else nothing of it.

        It does once the result is there.
        """

    def publish(self, subject: str, data: bytes) -> None:
        """Hand a message to those there that have subscribed."""

    def request(self, subject: str, data: bytes, answer: Callable[[bytes], bool]) -> Pending[bool]:
        """Ask those there; the result is whether any has subscribed. What answers goes to `answer`."""


class _Answer:
    """The first answer to a request."""

    def __init__(self) -> None:
        self._given = Condition()
        self._data: bytes | None = None
        self._is_over = False

    def give(self, data: bytes) -> bool:
        with self._given:
            if self._is_over:
                return False
            self._data, self._is_over = data, True
            self._given.notify_all()
        return True

    def expect(self, comes: bool) -> None:
        """Have the asker go on where no answer comes."""
        with self._given:
            self._is_over = self._is_over or not comes
            self._given.notify_all()

    def wait(self, timeout: float) -> bytes | None:
        with self._given:
            self._given.wait_for(lambda: self._is_over, timeout)
            self._is_over = True
            return self._data


class LocalExchange(Exchange):
    """Hands messages on within this process, in the thread that publishes them."""

    def __init__(self) -> None:
        # Replaced, never changed in place: publishing needs no lock for it.
        self._subscriptions: dict[str, tuple[Subscriber, ...]] = {}
        self.begin_anew()
        renew_in_copies(self, LocalExchange.begin_anew)

    def begin_anew(self) -> None:
        """End all subscriptions: in a forked copy of the process, to which nothing publishes."""
        self._lock = brief_lock()
        self.others: Others | None = None
        """What leads to other processes that serve the same server, where it has several workers."""

        before, self._subscriptions = self._subscriptions, {}
        for several in before.values():
            for each in several:
                each.begin_anew()

    def publish(self, subject: str, data: object) -> None:
        """See `Exchange.publish`."""
        message = Message(subject, checked_message(subject, data))
        self.hand_on(message)
        if self.others is not None:
            self.others.publish(subject, message.data)

    def hand_on(self, message: Message) -> bool:
        """Hand on a message; return False when nothing has subscribed to its subject."""
        subscriptions = self._subscriptions.get(message.subject, ())
        for subscription in subscriptions:
            subscription.deliver(message)
        return bool(subscriptions)

    def hand_on_of(self, at: float, message: Message) -> bool:
        """Hand on a message of another process: to those that had subscribed when it was published."""
        subscriptions = self._subscriptions.get(message.subject, ())
        meant = [each for each in subscriptions if each.since <= at]
        for subscription in meant:
            subscription.deliver(message)
        return bool(meant)

    def miss(self, subject: str, count: int, at: float) -> None:
        """Note that so many messages were dropped on their way here, the last one at a time."""
        for subscription in self._subscriptions.get(subject, ()):
            if subscription.since <= at:
                subscription.miss(count)

    def subjects(self) -> list[str]:
        """Return the subjects to which anything in this process has subscribed."""
        return list(self._subscriptions)

    def has_subscribers(self, subject: str) -> bool:
        """Tell whether anything in this process has subscribed to a subject."""
        return subject in self._subscriptions

    def subscribe(
        self, subject: str, *, most: int = MOST_WAITING, when_behind: str = "close"
    ) -> Subscription:
        """See `Exchange.subscribe`."""
        check_name("subject", subject)
        subscription = Subscription(subject, most, when_behind, self.remove)
        heard = self.add(subscription)
        if heard is not None:
            heard.wait()
        return subscription

    def add(self, subscriber: "Subscriber") -> Pending[bool] | None:
        """Hand messages on to a subscriber from now on.

        Where there are other processes, their messages come once the result is there.
        """
        subject = subscriber.subject
        with self._lock:
            subscriber.since = time.monotonic()
            self._subscriptions[subject] = (*self._subscriptions.get(subject, ()), subscriber)
        return None if self.others is None else self.others.follow_subject(subject)

    def remove(self, subscriber: "Subscriber") -> None:
        """Hand on no more of them. It need not be there."""
        subject = subscriber.subject
        with self._lock:
            others = [
                each for each in self._subscriptions.get(subject, ()) if each is not subscriber
            ]
            if others:
                self._subscriptions[subject] = tuple(others)
            else:
                self._subscriptions.pop(subject, None)
        if self.others is not None:
            self.others.follow_subject(subject)

    def request(self, subject: str, data: object, timeout: float = 1.0) -> bytes:
        """See `Exchange.request`."""
        answer = _Answer()
        is_asked, is_asked_elsewhere = self.ask(
            subject, checked_message(subject, data), answer.give
        )
        if not is_asked:
            if is_asked_elsewhere is None:
                raise _nobody(subject)
            is_asked_elsewhere.then(answer.expect)
        given = answer.wait(timeout)
        if given is not None:
            return given
        if not is_asked and is_asked_elsewhere is not None and not is_asked_elsewhere.result:
            raise _nobody(subject)
        raise TimeoutError(f"no answer came on {subject!r} in {timeout:g} s")

    def ask(
        self, subject: str, data: bytes, answer: Callable[[bytes], bool]
    ) -> tuple[bool, Pending[bool] | None]:
        """Publish a request; return whether anything here has subscribed, and whether anything elsewhere has.

        The first answer that `answer` takes, by returning True, counts.
        """
        is_asked = self.hand_on(Message(subject, data, answer))
        if self.others is None:
            return is_asked, None
        return is_asked, self.others.request(subject, data, answer)

    def close_subscriptions(self) -> None:
        """See `Exchange.close_subscriptions`."""
        with self._lock:
            every = [each for several in self._subscriptions.values() for each in several]
        for subscription in every:
            subscription.close()


def _nobody(subject: str) -> NoAnswer:
    return NoAnswer(f"nothing has subscribed to {subject!r}: there is no answer to be had")
