"""The hub: a process that hands on what workers tell each other, one message for each worker.

`python -m manyhands.hub.process DESCRIPTOR SUPERVISOR`: the listening socket, and the process that holds
it. It loads nothing of a program, and keeps nothing: if it is killed and started anew, the workers come back
by themselves.
"""

import _socket
import contextlib
import errno
import itertools
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from manyhands.dealing.channel import Channel
from manyhands.dealing.frames import Frame, pack, take_texts, texts
from manyhands.hub.asks import Asks
from manyhands.hub.frames import CONNECTIONS, EVERYTHING, LONGEST, Flags, Kind
from manyhands.hub.peer import HubWorker
from manyhands.hub.topic_page import SHARED_BIT, TopicPage, place_of
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.sockets import peer_user
from manyhands.runtime.wakeup import WakeUp

CHUNK = 64 * 1024
"""Bytes that are read from one worker before the next one has its turn."""

LOOKS_EVERY = 1.0
"""Seconds between two looks whether the supervisor is still there."""

PAUSE = 0.1
"""Seconds until the next try, where there is no descriptor or no memory for a worker that comes."""

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

MOST_WORKERS = 8192
"""Workers of all generations: more are turned away."""


class Topics:
    """Who follows which topic."""

    def __init__(self) -> None:
        self.page = TopicPage()
        self._followers: dict[int, dict[str, set[HubWorker]]] = {}
        """By the place in the page, and the topic."""

    def follow(self, worker: HubWorker, topic: str, *, is_followed: bool) -> None:
        """Note that a worker follows a topic, or does not any more."""
        place = place_of(topic)
        here = self._followers.setdefault(place, {})
        followers = here.setdefault(topic, set())
        if is_followed:
            followers.add(worker)
            worker.topics.add(topic)
        else:
            followers.discard(worker)
            worker.topics.discard(topic)
        if not followers:
            del here[topic]
        if not here:
            del self._followers[place]
        self.page.set(place, {each.bit for several in here.values() for each in several})

    def followers(self, topic: str) -> set[HubWorker]:
        """Return those that follow a topic."""
        everything: set[HubWorker] = self._followers.get(0, {}).get(EVERYTHING, set())
        return self._followers.get(place_of(topic), {}).get(topic, set()) | everything

    def forget(self, worker: HubWorker) -> None:
        """Forget a worker that has gone."""
        for topic in list(worker.topics):
            self.follow(worker, topic, is_followed=False)


class Hub:
    """Hands on what workers tell each other.

    Parameters
    ----------
    listener
        Where they connect; it does not block.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll: Any = select.epoll()
        self._workers: dict[int, HubWorker] = {}
        """By the descriptors of their connections."""

        self._by_number: dict[int, HubWorker] = {}
        self._numbers = itertools.count(1)
        self._topics = Topics()
        self._asks = Asks()
        self._acts: dict[int, Callable[[HubWorker, Frame], None]] = {
            Kind.FOLLOW: self._follow,
            Kind.TO_TOPIC: self._to_topic,
            Kind.TO_ALL: self._to_all,
            Kind.TO_ONE: self._to_one,
            Kind.ANSWER: self._answer,
            Kind.MISSED: self._missed,
        }

    # As what tells that a worker reads

    def watch(self, channel: Channel) -> None:
        """Have a channel flushed once its worker reads."""
        self._epoll.modify(channel.descriptor, select.EPOLLIN | select.EPOLLOUT)

    def forget(self, channel: Channel) -> None:
        """Leave it to the next turn, which reads the end of the channel."""

    def run(self, may_end: Callable[[], bool], wake_up: WakeUp) -> None:
        """Hand on, until it may end and has no worker."""
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(wake_up.fileno(), select.EPOLLIN)
        while self._workers or not may_end():
            ready = self._epoll.poll(self._asks.seconds_left(LOOKS_EVERY))
            for descriptor, events in ready:
                if descriptor == self._listener.fileno():
                    self._let_in()
                elif descriptor == wake_up.fileno():
                    wake_up.drain()
                elif descriptor in self._workers:
                    self._look(self._workers[descriptor], events)
            self._asks.expire()

    # Workers

    def _let_in(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:
            if error.errno in SHORTAGES:
                time.sleep(PAUSE)  # else the next turn, and all after it, would begin at once
            return  # or another hub has it, or it has gone again
        # The system's own: its class costs nothing.
        connection = _socket.socket(fileno=accepted.detach())
        try:
            if peer_user(connection) == os.geteuid() and len(self._workers) < MOST_WORKERS:
                self._welcome(connection)
            else:
                connection.close()
        except OSError:
            connection.close()  # it has gone again, or there is no memory

    def _welcome(self, connection: _socket.socket) -> None:
        number = next(self._numbers)
        taken = {worker.bit for worker in self._workers.values()}
        bit = next((bit for bit in range(SHARED_BIT) if bit not in taken), SHARED_BIT)
        descriptors = struct.pack("i", self._topics.page.descriptor)
        welcome = pack(Kind.WELCOME, number, texts(str(bit)))
        # The buffer of a new connection has room for it.
        connection.sendmsg([welcome], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        connection.setblocking(False)
        worker = HubWorker(number, bit, connection, self)
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self._workers[connection.fileno()] = self._by_number[number] = worker
        worker.channel.attach(connection)

    def _look(self, worker: HubWorker, events: int) -> None:
        if events & select.EPOLLOUT:
            # In this order: what has to wait again is watched again.
            self._epoll.modify(worker.connection.fileno(), select.EPOLLIN)
            worker.channel.flush()
        if events & ~select.EPOLLOUT:
            try:
                is_there = self._read(worker)
            except Exception as error:  # noqa: BLE001 - the others go on
                print_uncaught(error)
                is_there = False
            if not is_there:
                self._end(worker)

    def _read(self, worker: HubWorker) -> bool:
        """Read what has come of a worker; return False when that is its end."""
        try:
            data = worker.connection.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        for frame in worker.frames.feed(data, LONGEST):
            act = self._acts.get(frame.kind)
            if act is None:
                raise ValueError(f"a frame of the kind {frame.kind} has come, which only hubs send")
            act(worker, frame)
        return bool(data)

    def _end(self, worker: HubWorker) -> None:
        descriptor = worker.connection.fileno()
        del self._workers[descriptor], self._by_number[worker.number]
        self._epoll.unregister(descriptor)
        worker.channel.end()
        worker.connection.close()
        self._topics.forget(worker)
        self._asks.forget(worker)

    # What they say

    def _follow(self, worker: HubWorker, frame: Frame) -> None:
        (topic,), _ = take_texts(frame.body, 1)
        self._topics.follow(worker, topic, is_followed=bool(frame.number))
        if frame.request:
            worker.answer(frame.request, 1, b"")

    def _to_topic(self, worker: HubWorker, frame: Frame) -> None:
        (topic,), _ = take_texts(frame.body, 1)
        self._hand_on(worker, frame, topic, self._topics.followers(topic))

    def _to_all(self, worker: HubWorker, frame: Frame) -> None:
        (topic,), _ = take_texts(frame.body, 1)
        self._hand_on(worker, frame, topic, self._workers.values())

    def _to_one(self, worker: HubWorker, frame: Frame) -> None:
        meant = self._by_number.get(frame.number)
        (topic,), _ = take_texts(frame.body, 1)
        flagless = frame._replace(number=Flags.NONE)
        self._hand_on(worker, flagless, topic, () if meant is None else (meant,))

    def _hand_on(
        self, sender: HubWorker, frame: Frame, topic: str, to: Iterable[HubWorker]
    ) -> None:
        number = self._asks.new_number() if frame.request else 0
        told = pack(Kind.TOLD, sender.number, frame.body, number)
        flags = frame.number
        asked = [each for each in to if each is not sender and each.tell(told, topic, flags)]
        if number:
            is_first = bool(flags & Flags.FIRST)
            self._asks.begin(number, sender, frame.request, asked, is_first=is_first)

    def _answer(self, worker: HubWorker, frame: Frame) -> None:
        self._asks.take(worker, frame.request, frame.number, frame.body)

    def _missed(self, worker: HubWorker, frame: Frame) -> None:
        (topic, at), _ = take_texts(frame.body, 2)
        count = worker.known_losses.news(topic, frame.number)
        is_for_all = topic in {CONNECTIONS, EVERYTHING}
        to = self._workers.values() if is_for_all else self._topics.followers(topic)
        for each in to:
            if count and each is not worker:
                each.losses.note(topic, count, float(at))


def main(descriptor: int, supervisor: int) -> None:
    """Be the hub, until the supervisor says that it is the end, or has gone, and no worker is left."""
    is_told = False

    def tell(_number: int, _frame: object) -> None:
        nonlocal is_told
        is_told = True

    # What is meant for the supervisor goes to all processes of a terminal, or of a control group.
    for meant_for_others in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
        signal.signal(getattr(signal, meant_for_others), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, tell)
    # Those that have waited until there is a handler for them.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _, most_descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_descriptors, most_descriptors))
    with socket.socket(fileno=descriptor) as listener, WakeUp() as wake_up:
        listener.setblocking(False)
        with wake_up.woken_by_signals(), contextlib.suppress(KeyboardInterrupt):
            Hub(listener).run(lambda: is_told or os.getppid() != supervisor, wake_up)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
