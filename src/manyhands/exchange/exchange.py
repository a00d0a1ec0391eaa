"""`Exchange`: publish, subscribe and request, the same within one process and between several."""

import abc

from manyhands.exchange.subscription import Subscription
from manyhands.model.pieces import check_name, message_of

MOST_WAITING = 1000
"""Messages that wait for one subscriber unless it says otherwise: seconds of a busy subject."""


class NoAnswer(LookupError):  # noqa: N818 - what became of the request
    """Nothing has subscribed to the subject of a request, so no answer will come."""


class Exchange(abc.ABC):
    """Hands messages on to those that have subscribed to their subjects.

    What one thread or fiber publishes on a subject reaches each subscription in that order, each message at
    most once, and none from before the subscription. Publishing never waits. Thread-safe, for fibers too; not
    for signal handlers.
    """

    @abc.abstractmethod
    def publish(self, subject: str, data: object) -> None:
        """Hand a message to all that have subscribed to its subject. Never waits for one of them.

        Parameters
        ----------
        subject
            Text of 1 to 255 characters, taken as it stands.
        data : bytes-like
            At most 64 KiB.

        Raises
        ------
        Mistake
            When the subject is none, or the data is text, or too long.
        """

    @abc.abstractmethod
    def subscribe(
        self, subject: str, *, most: int = MOST_WAITING, when_behind: str = "close"
    ) -> Subscription:
        """Have the messages of a subject from now on: the subscription is an iterator that waits for them.

        In a handler the subscription ends with its connection, and when the server drains, so a ``for`` over
        it comes to an end.

        Parameters
        ----------
        subject
            Text of 1 to 255 characters, taken as it stands.
        most
            Messages that may wait to be taken, and at most 1 MiB of them.
        when_behind
            What becomes of a subscription that is not read fast enough: ``"close"`` (its iteration raises
            `FellBehind` after those that have waited), ``"drop_oldest"`` or ``"drop_new"``, which are
            counted as `Subscription.missed`.

        Raises
        ------
        Mistake
            When a parameter is none of these.
        """

    @abc.abstractmethod
    def request(self, subject: str, data: object, timeout: float = 1.0) -> bytes:
        """Publish a message, and wait for the first answer: a subscriber gives it by `Message.reply`.

        Parameters
        ----------
        subject, data
            As of `publish`.
        timeout
            Seconds.

        Raises
        ------
        NoAnswer
            At once, when nothing has subscribed.
        TimeoutError
            When no answer has come in time.
        Mistake
            As of `publish`.
        """

    @abc.abstractmethod
    def close_subscriptions(self) -> None:
        """End all subscriptions, as when the server drains. Later ones are served as ever."""


def checked_message(subject: str, data: object) -> bytes:
    """Return the data of a message that is to be published. For exchanges."""
    check_name("subject", subject)
    return message_of(data)
