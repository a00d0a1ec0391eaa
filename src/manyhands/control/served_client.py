"""One client of a control socket: what it asks for, and what it watches."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from manyhands.control.event_feed import EventFeed
from manyhands.control.later import Later
from manyhands.control.messages import (
    Lines,
    Refusal,
    Request,
    error_line,
    notification,
    read_request,
    result,
)
from manyhands.control.process import ControlledProcess
from manyhands.control.protocol import LONGEST_ANSWER, Code
from manyhands.control.verbs import Verbs
from manyhands.control.watching import Watch
from manyhands.poll_server.clients import Client
from manyhands.runtime.error_reports import print_uncaught

LINE_TIMEOUT = 30.0
"""Seconds from the first byte of a request to the end of its line, of those in which the client is heard."""

REFUSAL_TIMEOUT = 1.0
"""Seconds for a client to take the sentence by which it is turned away."""

MOST_UNSENT = 1024 * 1024
"""Bytes that wait for a client before no request of its is read, and no event is kept for it."""


class TurnedAway(Client):
    """A client that gets one sentence, and no more."""

    def __init__(self, connection: Any, sentence: str) -> None:
        super().__init__(connection)
        self.deadline = time.monotonic() + REFUSAL_TIMEOUT
        self.send(error_line(Refusal(Code.NOT_NOW, sentence)))

    @property
    def is_heard(self) -> bool:
        """No: nothing that it says would be answered."""
        return False

    def receive(self, data: bytes) -> None:
        """Take no notice."""

    def has_taken_all(self) -> None:
        """Note that it has its sentence."""
        self.has_ended = True


class _Awaited(NamedTuple):
    """A request whose answer comes later, and by when it must be there, by `time.monotonic`."""

    request: Request
    later: Later
    by: float


class Service(NamedTuple):
    """What all clients of a socket are served with.

    Attributes
    ----------
    process : ControlledProcess
        The process that they ask about.
    verbs : Verbs
        What may be asked.
    may_write : bool
        Whether they may change anything.
    feed : EventFeed
        What happens in the process.
    room_for_files : callable
        Returns a context in which an answer may open a file.
    wake : callable
        Has `ControlClient.answer_one` called soon. Thread-safe.
    """

    process: ControlledProcess
    verbs: Verbs
    may_write: bool
    feed: EventFeed
    room_for_files: Callable[[], AbstractContextManager[None]]
    wake: Callable[[], object]


class ControlClient(Client):
    """One client: its requests, and what it watches.

    Parameters
    ----------
    connection
        Its connection.
    service
        What it is served with.
    """

    def __init__(self, connection: Any, service: Service) -> None:
        super().__init__(connection)
        self.process = service.process
        self.may_write = service.may_write
        self._service = service
        self._awaited: _Awaited | None = None
        self.watched: Watch | None = None
        """What it watches, if anything."""

        self.has_unread_stats = False
        self._lines = Lines()
        self._asked: deque[bytes] = deque()
        self._is_at_an_end = False
        self._last_word = b""
        self.waits_since = time.monotonic()
        """When it came, or was answered last."""

        self.send(notification("hello", self.process.hello(may_write=self.may_write)))

    @property
    def is_heard(self) -> bool:
        """Whether it may ask for more: not while its requests wait, or too much of what it was told."""
        is_asking = self._asked or self._awaited is not None
        return not is_asking and not self._is_at_an_end and not self.is_behind

    @property
    def is_behind(self) -> bool:
        """Whether it does not read what it is told."""
        return sum(map(len, self.unsent)) >= MOST_UNSENT

    def is_asking(self, now: float) -> bool:
        """Tell whether a request of its waits, and may be answered now."""
        if self._awaited is not None:
            return self._awaited.later.is_there or now >= self._awaited.by
        return bool(self._asked) and not self.is_behind

    @property
    def awaits_until(self) -> float | None:
        """When it gets an error in the place of an answer that comes later; None where it awaits none."""
        return None if self._awaited is None else self._awaited.by

    def priority(self) -> int:
        """Return how much it is to keep its place: least when it does not read, or asks for nothing more."""
        return 0 if self.is_behind or self._is_at_an_end else 1

    def receive(self, data: bytes) -> None:
        """Take what it asks for."""
        self._is_at_an_end = not data
        try:
            for line in self._lines.cut(data) if data else self._lines.last():
                self._asked.append(line)
                self.deadline = None
        except Refusal as refused:
            self._is_at_an_end = True
            self._last_word = error_line(refused)
        self._end_if_done()

    def settled(self) -> None:
        """Give it its time for the line that it is in, unless the rest of that may be in the kernel."""
        if not (self.is_heard and self._lines.is_amid):
            self.deadline = None
        elif self.deadline is None:
            self.deadline = time.monotonic() + LINE_TIMEOUT

    def answer_one(self) -> None:
        """Answer one request, so that the other clients have their turn between two."""
        awaited, self._awaited = self._awaited, None
        if awaited is None:
            self.send(self._answer(self._asked.popleft()))
        else:
            if not awaited.later.is_there:
                awaited.later.give_up()
            self.send(self._answer_of(awaited.request, awaited.later.outcome))
        self.waits_since = time.monotonic()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._is_at_an_end and not self._asked and self._awaited is None:
            # It may have closed its side alone, and still read.
            self.watched = None
            self.send(self._last_word)
            self._last_word = b""
            self.has_ended = not self.unsent

    def _answer(self, line: bytes) -> bytes:
        try:
            request = read_request(line)
        except Refusal as refused:
            return b"" if refused.is_silent else error_line(refused)
        return self._answer_of(request, lambda: self._service.verbs.do(self, request))

    def _answer_of(self, request: Request, act: Callable[[], object]) -> bytes:
        """Return the answer to a request, if it is there by now, and wanted."""
        try:
            with self._service.room_for_files():
                done = act()
                if isinstance(done, Later):
                    self._await(request, done)
                    return b""
                answer = self._bounded(request.verb, result(request.id, done))
        except Refusal as refused:
            answer = error_line(refused.of(request.id))
        except Exception as error:  # noqa: BLE001 - of a program's own hooks, say; the next may do
            print_uncaught(error)
            answer = error_line(
                Refusal(Code.INTERNAL, f"{type(error).__name__}: {error}").of(request.id)
            )
        return b"" if request.is_notification else answer

    def _await(self, request: Request, later: Later) -> None:
        self._awaited = _Awaited(request, later, time.monotonic() + later.limit)
        later.when_there(self._service.wake)

    def _bounded(self, verb: str, answer: bytes) -> bytes:
        if len(answer) > LONGEST_ANSWER:
            what = f"the answer would have {len(answer)} bytes, and {LONGEST_ANSWER} are the most"
            hint = ": a smaller limit helps" if self._service.verbs.takes(verb, "limit") else ""
            raise Refusal(Code.NOT_NOW, what + hint)
        return answer

    def send(self, data: bytes) -> None:
        """Have data sent, if there is any."""
        if data:
            super().send(data)

    def watch(self, what: Sequence[str], every: float) -> None:
        """Have it told from now on, by itself, of what it watches."""
        self.watched = Watch(what, every) if what else None
        if self.watched is not None and self.watched.of_events:
            # Before the answer goes out: the client is to be told of all that happens after that.
            self._service.feed.is_watched = True
            self._service.feed.begin()

    def has_taken_all(self) -> None:
        """Note that it has read the latest stats; and that it is done, where it asks for nothing more."""
        self.has_unread_stats = False
        self.has_ended = self._is_at_an_end and not self._asked and self._awaited is None
