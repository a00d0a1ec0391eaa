"""What a handler in a process of its own has subscribed to, and asks, as its parent has it."""

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable

from manyhands.connections.connection import Connection
from manyhands.connections.subscriptions import keep
from manyhands.dealing.channel import LATEST, Channel, Lane, Terms
from manyhands.dealing.distant_exchange import TOKEN
from manyhands.dealing.frames import HEADS, Frame, Kind, pack, take_texts, texts
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.subscription import MOST_BYTES, Message

MOST_REQUESTS = 1000
"""Requests to which one process has given no answer: as many as may wait in a subscription."""


class _Distant:
    """A subscription whose messages go to another process. `deliver` and `close` may come in any thread."""

    def __init__(
        self, subject: str, number: int, terms: Terms, owner: "DistantSubscriptions"
    ) -> None:
        self.subject = subject
        self.is_closed = False
        self._number = number
        self._owner = owner
        self._is_closed_behind = terms.when_behind == "close"
        # What waits for the process. What waits in it for its handler has the same bounds there.
        self._messages = Lane(lambda: terms)
        self._lost = Lane(lambda: LATEST)

    def deliver(self, message: Message) -> None:
        """Send a message. Never waits."""
        if self.is_closed:
            return
        channel, answer = self._owner.channel, message.answer
        token = TOKEN.pack(0 if answer is None else self._owner.token_of(answer))
        frame = pack(Kind.MESSAGE, self._number, token + message.data)
        _, has_dropped = channel.put_and_tell(frame, self._messages)
        if not has_dropped:
            return
        lost = -1
        while lost != self._messages.missed:
            # Again where another thread has had one dropped meanwhile: the last one that is said is all.
            lost = self._messages.missed
            channel.put(pack(Kind.LOST, self._number, texts(str(lost))), self._lost)
        if self._is_closed_behind:
            self.close()

    def close(self) -> None:
        """Have the process know that no more messages come."""
        if not self.is_closed:
            self._owner.forget(self._number)
            self._owner.channel.say(pack(Kind.CLOSED, self._number))

    def begin_anew(self) -> None:
        """Have no more messages, in a forked copy of the process."""
        self.is_closed = True


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
        self._asked: dict[int, Callable[[bytes], bool]] = {}
        self._oldest_asked: deque[int] = deque()
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
        for number in list(self._subscriptions):
            self.forget(number)
        self._asked.clear()
        self._connection = None

    def forget(self, number: int) -> None:
        """Forget a subscription. In any thread; once more does no harm."""
        subscription = self._subscriptions.pop(number, None)
        if subscription is not None:
            subscription.is_closed = True
            self._exchange.remove(subscription)

    def token_of(self, answer: Callable[[bytes], bool]) -> int:
        """Return the number by which the answer to a request finds its way back. In any thread."""
        token = next(self._tokens)
        self._asked[token] = answer
        self._oldest_asked.append(token)
        if len(self._oldest_asked) > MOST_REQUESTS:
            # As a rule it was answered, or its asker waits no more.
            with contextlib.suppress(IndexError):
                self._asked.pop(self._oldest_asked.popleft(), None)
        return token

    def _subscribe(self, frame: Frame) -> tuple[int, bytes]:
        (subject, most, when_behind), _ = take_texts(frame.body, 3)
        terms = Terms(int(most), MOST_BYTES + HEADS, when_behind)
        subscription = self._subscriptions[frame.number] = _Distant(
            subject, frame.number, terms, self
        )
        self._exchange.add(subscription)
        keep(self._connection, subscription)
        return 1, b""

    def _unsubscribe(self, frame: Frame) -> tuple[int, bytes]:
        self.forget(frame.number)
        return 0, b""

    def _publish(self, frame: Frame) -> tuple[int, bytes]:
        (subject,), piece = take_texts(frame.body, 1)
        self._exchange.publish(subject, piece)
        return 1, b""

    def _request(self, frame: Frame) -> tuple[int, bytes] | None:
        (subject, until), piece = take_texts(frame.body, 2)
        # Not the frame: what answers may be kept for long, and the message is in that.
        waits_until, request = float(until), frame.request
        answers = itertools.count()

        def answer(data: bytes) -> bool:
            # Of several answers, one is the first: each `next` is one step.
            if next(answers) or time.monotonic() > waits_until:
                return False
            return self.channel.say(pack(Kind.ANSWER, 1, data, request))

        return None if self._exchange.hand_on(Message(subject, piece, answer)) else (0, b"")

    def _reply(self, frame: Frame) -> tuple[int, bytes]:
        answer = self._asked.pop(frame.number, None)
        return int(answer is not None and answer(frame.body)), b""
