"""What a handler in a process of its own has subscribed to, and asks, as its parent has it."""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from manyhands.connections.connection import Connection
from manyhands.connections.subscriptions import keep
from manyhands.dealing.channel import LATEST, Channel, Lane, Terms
from manyhands.dealing.distant_exchange import TOKEN
from manyhands.dealing.frames import HEADS, Frame, Kind, pack, take_texts, texts
from manyhands.exchange.answer_tokens import AnswerTokens
from manyhands.exchange.local import LocalExchange
from manyhands.exchange.subscription import MOST_BYTES, DistantAnswer, Message
from manyhands.runtime.pending import Pending

Result = TypeVar("Result")


class _Distant:
    """A subscription whose messages go to another process. `deliver` and `close` may come in any thread."""

    def __init__(
        self, subject: str, number: int, terms: Terms, owner: "DistantSubscriptions"
    ) -> None:
        self.subject = subject
        self.since = 0.0
        self.is_closed = False
        self._number = number
        self._owner = owner
        self._is_closed_behind = terms.when_behind == "close"
        # What waits for the process. What waits in it for its handler has the same bounds there.
        self._messages = Lane(lambda: terms)
        self._lost = Lane(lambda: LATEST)
        self._lost_before = 0

    def deliver(self, message: Message) -> None:
        """Send a message. Never waits."""
        if self.is_closed:
            return
        channel, answer = self._owner.channel, message.answer
        token = TOKEN.pack(0 if answer is None else self._owner.tokens.token_of(answer))
        frame = pack(Kind.MESSAGE, self._number, token + message.data)
        _, has_dropped = channel.put_and_tell(frame, self._messages)
        if has_dropped:
            self._tell_of_loss()

    def miss(self, count: int) -> None:
        """Have the process know that messages were dropped before they came here."""
        self._lost_before += count
        self._tell_of_loss()

    def _tell_of_loss(self) -> None:
        channel, lost = self._owner.channel, -1
        while lost != self._messages.missed + self._lost_before:
            # Again where another thread has had one dropped meanwhile: the last one that is said is all.
            lost = self._messages.missed + self._lost_before
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
        self.tokens = AnswerTokens()
        """Of the requests that the process has got."""

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
        self.tokens.clear()
        self._connection = None

    def forget(self, number: int) -> None:
        """Forget a subscription. In any thread; once more does no harm."""
        subscription = self._subscriptions.pop(number, None)
        if subscription is not None:
            subscription.is_closed = True
            self._exchange.remove(subscription)

    def _subscribe(self, frame: Frame) -> tuple[int, bytes] | None:
        (subject, most, when_behind), _ = take_texts(frame.body, 3)
        terms = Terms(int(most), MOST_BYTES + HEADS, when_behind)
        subscription = self._subscriptions[frame.number] = _Distant(
            subject, frame.number, terms, self
        )
        heard = self._exchange.add(subscription)
        keep(self._connection, subscription)
        if heard is None:
            return 1, b""
        return answer_later(self.channel, frame, heard, lambda _: (1, b""))

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

        is_asked, is_asked_elsewhere = self._exchange.ask(subject, piece, answer)
        if is_asked:
            return None
        if is_asked_elsewhere is None:
            return 0, b""
        return answer_later(
            self.channel, frame, is_asked_elsewhere, lambda is_there: None if is_there else (0, b"")
        )

    def _reply(self, frame: Frame) -> tuple[int, bytes] | None:
        answer = self.tokens.take(frame.number)
        if isinstance(answer, DistantAnswer):
            counts = answer.give(frame.body)
            return answer_later(self.channel, frame, counts, lambda it_does: (int(it_does), b""))
        return int(answer is not None and answer(frame.body)), b""


def answer_later(
    channel: Channel,
    frame: Frame,
    pending: Pending[Result],
    answer: Callable[[Result], tuple[int, bytes] | None],
) -> tuple[int, bytes] | None:
    """Return the answer to a frame that is made of a result; None where it goes out once that has come."""
    if pending.has_come:
        return answer(pending.result)

    def say(result: Result) -> None:
        said = answer(result)
        if said is not None and request:
            channel.say(pack(Kind.ANSWER, said[0], said[1], request))

    # Not the frame: it has the piece, and the result may be long in coming.
    request = frame.request
    pending.then(say)
    return None
