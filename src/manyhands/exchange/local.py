"""The exchange of one process."""

from typing import Protocol

from manyhands.exchange.exchange import MOST_WAITING, Exchange, NoAnswer, checked_message
from manyhands.exchange.subscription import Message, Subscription
from manyhands.model.pieces import check_name
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Condition
from manyhands.runtime.unpatched import brief_lock


class Subscriber(Protocol):
    """What takes the messages of a subject."""

    subject: str

    def deliver(self, message: Message) -> None:
        """Take a message. Never waits."""

    def close(self) -> None:
        """Have no more messages."""

    def begin_anew(self) -> None:
        """Be closed, in a forked copy of the process."""


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
        before, self._subscriptions = self._subscriptions, {}
        for several in before.values():
            for each in several:
                each.begin_anew()

    def publish(self, subject: str, data: object) -> None:
        """See `Exchange.publish`."""
        self.hand_on(Message(subject, checked_message(subject, data)))

    def hand_on(self, message: Message) -> bool:
        """Hand on a message; return False when nothing has subscribed to its subject."""
        subscriptions = self._subscriptions.get(message.subject, ())
        for subscription in subscriptions:
            subscription.deliver(message)
        return bool(subscriptions)

    def subscribe(
        self, subject: str, *, most: int = MOST_WAITING, when_behind: str = "close"
    ) -> Subscription:
        """See `Exchange.subscribe`."""
        check_name("subject", subject)
        subscription = Subscription(subject, most, when_behind, self.remove)
        self.add(subscription)
        return subscription

    def add(self, subscriber: "Subscriber") -> None:
        """Hand messages on to a subscriber from now on."""
        subject = subscriber.subject
        with self._lock:
            self._subscriptions[subject] = (*self._subscriptions.get(subject, ()), subscriber)

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

    def request(self, subject: str, data: object, timeout: float = 1.0) -> bytes:
        """See `Exchange.request`."""
        answer = _Answer()
        message = Message(subject, checked_message(subject, data), answer.give)
        if not self.hand_on(message):
            raise NoAnswer(f"nothing has subscribed to {subject!r}: there is no answer to be had")
        given = answer.wait(timeout)
        if given is None:
            raise TimeoutError(f"no answer came on {subject!r} in {timeout:g} s")
        return given

    def close_subscriptions(self) -> None:
        """See `Exchange.close_subscriptions`."""
        with self._lock:
            every = [each for several in self._subscriptions.values() for each in several]
        for subscription in every:
            subscription.close()
