"""What has subscribed to a subject: a bounded queue of messages, and an iterator that waits for the next."""

import abc
from collections import deque
from collections.abc import Callable
from typing import Self

from manyhands.model.pieces import WHEN_BEHIND, message_of
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.locks import Condition
from manyhands.runtime.pending import Pending

MOST_BYTES = 1024 * 1024
"""Bytes that may wait for one subscriber, however few messages they are."""


class FellBehind(RuntimeError):  # noqa: N818 - what the subscriber did
    """More messages came than the subscriber took, so its subscription was closed."""


class DistantAnswer(abc.ABC):
    """Takes the answer to a request that another process has made."""

    @abc.abstractmethod
    def give(self, data: bytes) -> Pending[bool]:
        """Have the answer go to the process; the result is whether it counts."""

    def __call__(self, data: bytes) -> bool:
        """Do so, and wait for the result."""
        return self.give(data).wait()


class Message:
    """What was published.

    Attributes
    ----------
    subject : str
        To what it was published.
    data : bytes
        What was published.
    """

    __slots__ = ("answer", "data", "subject")

    def __init__(
        self, subject: str, data: bytes, answer: Callable[[bytes], bool] | None = None
    ) -> None:
        self.subject = subject
        self.data = data
        self.answer = answer
        """What takes the answer to a request; None where none is waited for. For exchanges."""

    @property
    def is_request(self) -> bool:
        """Whether an answer is waited for."""
        return self.answer is not None

    def reply(self, data: object) -> bool:
        """Answer a request; the first answer counts. Thread-safe.

        Returns
        -------
        bool
            False when an answer came before, when it is waited for no longer, and when it is no request.

        Raises
        ------
        Mistake
            When the data is text, no bytes, or longer than a message may be, 64 KiB.
        """
        return self.answer is not None and self.answer(message_of(data))

    def __repr__(self) -> str:
        return f"<message of {len(self.data)} bytes on {self.subject!r}>"


class Subscription:
    """Messages of one subject, as they come: iterate over it, or `receive` them one by one.

    Thread-safe, for fibers too: several threads may share the messages. Also a context, which closes it.

    Parameters
    ----------
    subject, most, when_behind
        See `Exchange.subscribe`.
    on_close : callable
        Called once, with the subscription, when it is closed.

    Raises
    ------
    Mistake
        A parameter is none of those.
    """

    def __init__(
        self,
        subject: str,
        most: int,
        when_behind: str,
        on_close: Callable[["Subscription"], object],
    ) -> None:
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise Mistake(f"most is how many messages may wait, 1 or more, not {most!r}")
        if when_behind not in WHEN_BEHIND:
            raise Mistake(f"when_behind is one of {', '.join(WHEN_BEHIND)}, not {when_behind!r}")
        self.subject = subject
        self.missed = 0
        """Messages that were dropped, since they were not taken in time."""

        self.since = 0.0
        """When it was added to its exchange, by `time.monotonic`."""

        self._most = most
        self._when_behind = when_behind
        self._on_close = on_close
        self._waiting: deque[Message] = deque()
        self._size = 0
        self._lost = 0
        self._changed = Condition()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Messages that wait to be taken."""
        return len(self._waiting)

    @property
    def is_closed(self) -> bool:
        """Whether no more messages come."""
        return self._is_closed

    def deliver(self, message: Message) -> None:
        """Have a message wait to be taken. For exchanges. Never waits."""
        with self._changed:
            if self._is_closed:
                return
            has_room = self._has_room(len(message.data))
            if has_room:
                self._waiting.append(message)
                self._size += len(message.data)
            else:
                self.missed += 1
            ends = not has_room and self._when_behind == "close"
            self._is_closed = ends
            self._changed.notify_all()
        if ends:
            self._on_close(self)

    def note_lost(self, count: int) -> None:
        """Note how many messages were dropped on their way here by now. For exchanges."""
        with self._changed:
            # Two publishers may have said so at once, the later one first.
            self.missed += max(0, count - self._lost)
            self._lost = max(count, self._lost)

    def miss(self, count: int) -> None:
        """Note that so many messages were dropped before they came here, as if they had found no room."""
        with self._changed:
            if self._is_closed:
                return
            self.missed += count
            ends = self._is_closed = self._when_behind == "close"
            self._changed.notify_all()
        if ends:
            self._on_close(self)

    def _has_room(self, size: int) -> bool:
        if self._when_behind == "drop_oldest":
            while self._waiting and not self._fits(size):
                self._size -= len(self._waiting.popleft().data)
                self.missed += 1
        return self._fits(size)

    def _fits(self, size: int) -> bool:
        return len(self._waiting) < self._most and self._size + size <= MOST_BYTES

    def receive(self, timeout: float | None = None) -> Message | None:
        """Take the next message; wait for it.

        Parameters
        ----------
        timeout
            Seconds; None: without end.

        Returns
        -------
        Message or None
            None when none has come in time, and when the subscription is closed and all have been taken.

        Raises
        ------
        FellBehind
            When the subscription was closed since too many messages waited, once these have been taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed, timeout)
            if self._waiting:
                message = self._waiting.popleft()
                self._size -= len(message.data)
                return message
            if self._is_closed and self.missed and self._when_behind == "close":
                raise FellBehind(
                    f"the subscription to {self.subject!r} was closed: {self._most} messages, or "
                    f"{MOST_BYTES} bytes, waited to be taken"
                )
        return None

    def close(self) -> None:
        """Have no more messages; what waits can still be taken. Once more does no harm."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            self._changed.notify_all()
        if not was_closed:
            self._on_close(self)

    def begin_anew(self) -> None:
        """Be closed, in a forked copy of the process: a thread that is not there may hold the lock."""
        self._changed = Condition()
        self._is_closed = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self.receive()
        if message is None:
            raise StopIteration
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
