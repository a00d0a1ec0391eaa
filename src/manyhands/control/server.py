"""Serves a control socket, from a thread that depends on nothing of the servers that it is for."""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from manyhands.control.event_feed import EventFeed
from manyhands.control.messages import (
    Lines,
    Refusal,
    error_line,
    notification,
    read_request,
    result,
)
from manyhands.control.process import ControlledProcess
from manyhands.control.process_verbs import VERBS
from manyhands.control.protocol import LONGEST_ANSWER, Code
from manyhands.control.time_share import TimeShare
from manyhands.control.watching import EVENTS_INTERVAL, Watch
from manyhands.model.addresses import Address
from manyhands.poll_server.clients import Client
from manyhands.poll_server.server import PollServer
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.sockets import peer_user
from manyhands.runtime.unpatched import original

MOST_CLIENTS = 64
"""Clients that are served at once: a few operators, each with a tool or two, and scripts."""

LINE_TIMEOUT = 30.0
"""Seconds from the first byte of a request to the end of its line, of those in which the client is heard."""

BEFORE_A_REFUSAL = 0.00005
"""Seconds that a stranger waits for it."""

REFUSAL_TIMEOUT = 1.0
"""Seconds for a client to take the sentence by which it is turned away."""

MOST_UNSENT = 1024 * 1024
"""Bytes that wait for a client before no request of its is read, and no event is kept for it."""

SHARE = 0.25
"""How much of the time the thread works while requests wait; the handlers have the rest for themselves."""

MOST_PAUSE = 0.01
"""Seconds between two answers at the most, so that the last of many clients that ask without end has its own
in time; and seconds of answering after which newcomers have their turn."""


class _TurnedAway(Client):
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


class ControlClient(Client):
    """One client: its requests, and what it watches.

    Parameters
    ----------
    connection
        Its connection.
    process
        The process that it asks about.
    feed
        What happens there.
    room_for_files
        Returns a context in which an answer may open a file.
    may_write
        Whether it may change anything.
    """

    def __init__(
        self,
        connection: Any,
        process: ControlledProcess,
        feed: EventFeed,
        room_for_files: Callable[[], AbstractContextManager[None]],
        *,
        may_write: bool,
    ) -> None:
        super().__init__(connection)
        self.process = process
        self.may_write = may_write
        self._feed = feed
        self._room_for_files = room_for_files
        self.watched: Watch | None = None
        """What it watches, if anything."""

        self.has_unread_stats = False
        self._lines = Lines()
        self._asked: deque[bytes] = deque()
        self._is_at_an_end = False
        self._last_word = b""
        self.waits_since = time.monotonic()
        """When it came, or was answered last."""

        self.send(notification("hello", process.hello(may_write=may_write)))

    @property
    def is_heard(self) -> bool:
        """Whether it may ask for more: not while its requests wait, or too much of what it was told."""
        return not self._asked and not self._is_at_an_end and not self.is_behind

    @property
    def is_behind(self) -> bool:
        """Whether it does not read what it is told."""
        return sum(map(len, self.unsent)) >= MOST_UNSENT

    @property
    def is_asking(self) -> bool:
        """Whether a request of its waits, and may be answered."""
        return bool(self._asked) and not self.is_behind

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
        self.send(self._answer(self._asked.popleft()))
        self.waits_since = time.monotonic()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._is_at_an_end and not self._asked:
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
        try:
            with self._room_for_files():
                answer = _bounded(request.verb, result(request.id, VERBS.do(self, request)))
        except Refusal as refused:
            answer = error_line(refused.of(request.id))
        except Exception as error:  # noqa: BLE001 - of a program's own hooks, say; the next may do
            print_uncaught(error)
            answer = error_line(
                Refusal(Code.INTERNAL, f"{type(error).__name__}: {error}").of(request.id)
            )
        return b"" if request.is_notification else answer

    def send(self, data: bytes) -> None:
        """Have data sent, if there is any."""
        if data:
            super().send(data)

    def watch(self, what: Sequence[str], every: float) -> None:
        """Have it told from now on, by itself, of what it watches."""
        self.watched = Watch(what, every) if what else None
        if self.watched is not None and self.watched.of_events:
            # Before the answer goes out: the client is to be told of all that happens after that.
            self._feed.is_watched = True
            self._feed.begin()

    def has_taken_all(self) -> None:
        """Note that it has read the latest stats; and that it is done, where it asks for nothing more."""
        self.has_unread_stats = False
        self.has_ended = self._is_at_an_end and not self._asked


class ControlServer(PollServer):
    """Answers the clients of a control socket until it is closed. Thread-safe.

    Parameters
    ----------
    address
        Where: a Unix socket.
    process
        The process that it is for.
    may_write
        Whether its clients may change anything.

    Raises
    ------
    OSError
        When the address cannot be had.
    RuntimeError
        When the system has no thread left.
    """

    thread_name = "manyhands-control"

    def __init__(self, address: Address, process: ControlledProcess, *, may_write: bool) -> None:
        self._process = process
        self._may_write = may_write
        self._feed = EventFeed()
        self._next_events = 0.0
        self._time_share = TimeShare(SHARE, MOST_PAUSE)
        super().__init__(address)

    def new_client(self, connection: Any) -> Client:
        """Return the client of a connection; of another user, or one too many, it is turned away."""
        stranger = _foreign_user(connection)
        if stranger is not None:
            _sleep(BEFORE_A_REFUSAL)  # any user can call an abstract name, again and again
            return _TurnedAway(
                connection, f"this socket is for user {os.geteuid()}, not for {stranger}"
            )
        if len(self.clients) >= MOST_CLIENTS and not self._ends_one_of_no_need():
            return _TurnedAway(
                connection, f"{MOST_CLIENTS} clients are here, all that there may be"
            )
        return ControlClient(
            connection, self._process, self._feed, self.room_for_files, may_write=self._may_write
        )

    def _ends_one_of_no_need(self) -> bool:
        is_one_there = any(client.priority() == 0 for client in self.clients)
        return is_one_there and self.clients.end_one()

    def _controlled(self) -> list[ControlClient]:
        return [client for client in self.clients if isinstance(client, ControlClient)]

    def seconds_left(self) -> float | None:
        """Return the seconds until a client is to be told something."""
        clients, now = self._controlled(), time.monotonic()
        watches = [client.watched for client in clients if client.watched is not None]
        due = [watch.stats_due for watch in watches if watch.of_stats]
        due += [self._next_events] if any(watch.of_events for watch in watches) else []
        if any(client.is_asking for client in clients):
            due.append(now + self._time_share.seconds_left(now))
        return max(0.0, min(due) - now) if due else None

    def do_chores(self) -> None:
        """Answer those that wait for it, and tell those that watch."""
        clients = self._controlled()
        self._answer_one_each(clients)
        self._hear_of_events(clients)
        self._tell_stats(clients)
        self._tell_events(clients)

    def _answer_one_each(self, clients: list[ControlClient]) -> None:
        began = now = time.monotonic()
        asking = [client for client in clients if client.is_asking]
        for client in sorted(asking, key=lambda client: client.waits_since):
            # Then the poll goes on, which newcomers end, and what is to be told in time.
            if self._time_share.seconds_left(now) or now - began > MOST_PAUSE:
                return
            client.answer_one()
            self.clients.settle(client)
            now = time.monotonic()
            self._time_share.note(now, time.thread_time())

    def _hear_of_events(self, clients: list[ControlClient]) -> None:
        self._feed.is_watched = any(
            each.watched is not None and each.watched.of_events for each in clients
        )
        if self._feed.is_watched:
            self._feed.begin()
        else:
            self._feed.end()

    def _tell_stats(self, clients: list[ControlClient]) -> None:
        now = time.monotonic()
        due = [
            (client, client.watched)
            for client in clients
            if client.watched is not None and client.watched.is_due(now)
        ]
        # Before anything can fail: else it would be tried again at once, for ever.
        for _, watch in due:
            watch.put_off(now)
        watches = [watch for _, watch in due]
        try:
            if due:
                self._tell_status(due, self._status(), now)
        except Exception as error:  # noqa: BLE001 - of a program's own classes, say; the next look may do
            # Once, until it is told again.
            if not all(watch.has_failed for watch in watches):
                print_uncaught(error)
            for watch in watches:
                watch.has_failed = True
        else:
            for watch in watches:
                watch.has_failed = False

    def _status(self) -> dict[str, Any]:
        self._process.count_traffic()
        with self.room_for_files():
            return self._process.status(may_write=self._may_write)

    def _tell_status(
        self, due: list[tuple[ControlClient, Watch]], status: dict[str, Any], now: float
    ) -> None:
        for client, watch in due:
            told = watch.stats(status, now, is_behind=client.has_unread_stats)
            if told is not None:
                client.has_unread_stats = True
                client.send(told)
            self.clients.settle(client)

    def _tell_events(self, clients: list[ControlClient]) -> None:
        now = time.monotonic()
        if not self._feed.is_watched or now < self._next_events:
            return
        self._next_events = now + EVENTS_INTERVAL
        batch = self._feed.take()
        for client in clients:
            if client.watched is not None and client.watched.of_events:
                client.send(client.watched.events(batch, is_behind=client.is_behind) or b"")
                self.clients.settle(client)

    def has_closed(self) -> None:
        """Hear of events no longer."""
        self._feed.end()


def _sleep(seconds: float) -> None:
    original(time, "sleep")(seconds)


def _bounded(verb: str, answer: bytes) -> bytes:
    if len(answer) > LONGEST_ANSWER:
        what = f"the answer would have {len(answer)} bytes, and {LONGEST_ANSWER} are the most"
        hint = ": a smaller limit helps" if VERBS.takes(verb, "limit") else ""
        raise Refusal(Code.NOT_NOW, what + hint)
    return answer


def _foreign_user(connection: Any) -> int | None:
    """Return which user a client is of, where that is neither this process's nor root."""
    # Where the system does not tell, the mode of the file keeps others out.
    user = peer_user(connection)
    return None if user in {None, 0, os.geteuid()} else user
