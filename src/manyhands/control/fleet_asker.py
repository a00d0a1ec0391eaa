"""Asks the workers of a server on behalf of its operators, from a thread that waits for none of them."""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from manyhands.control.event_feed import EventFeed
from manyhands.control.fleet import ASKED_STATES, Fleet, Key, WorkerSeen, key_of
from manyhands.control.gathering import Answers, Gathering, Params, give, guarded
from manyhands.control.later import Later
from manyhands.control.messages import written
from manyhands.control.time_share import TimeShare
from manyhands.control.worker_channel import WorkerChannel
from manyhands.control.worker_totals import WorkerTotals
from manyhands.poll_server.clients import Client
from manyhands.poll_server.server import PollServer
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import original

ANSWER_LIMIT = 1.0
"""Seconds for a worker to answer: its control thread does so while its handlers hold up everything else."""

GATHER_LIMIT = 5.0
"""Seconds for all of that, and what is made of it: some verbs ask twice."""

STATS_INTERVAL = 1.0
"""Seconds between two stats of a worker."""

LATE_STATS = 2.5
"""Seconds after which a worker is missing that was to tell of itself."""

WATCHED = ("events", "stats")

LOOK_INTERVAL = 0.2
"""Seconds between two looks for new workers, while these are watched, or are to be told something."""

SCRAPE_LIMIT = 0.25
"""Seconds that a scrape waits for workers. One that is late counts with what it told last."""

SHARE = 0.25
"""How much of the time the thread works while workers tell more and more: the supervisor has to accept."""

MOST_PAUSE = 0.01
"""Seconds that it pauses at once at the most, so that answers are not late."""

LINGER = 10.0
"""Seconds for which workers are watched after the last need: a client that watches again loses nothing."""


Asks: TypeAlias = Callable[[], Sequence[tuple[WorkerSeen, Params]]]
"""Returns which workers to ask, and with what."""


class Stats(NamedTuple):
    """What a worker told last, and when, by `time.monotonic`."""

    status: dict[str, Any]
    at: float


class FleetAsker(PollServer):
    """Asks the workers of a fleet, and hears what they tell. Thread-safe.

    It listens nowhere: its clients are connections to the workers, which it makes when they are needed.

    Parameters
    ----------
    fleet
        The workers.

    Raises
    ------
    OSError, RuntimeError
        When the system has no descriptor, or no thread left.
    """

    thread_name = "manyhands-fleet"

    is_woken = True

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.totals = WorkerTotals()
        """What workers have counted that are there no more. For this thread to write."""

        self.latest: dict[Key, Stats] = {}
        """What each worker told last, by its key. For this thread to write, one entry in one step."""

        self._errands: deque[Callable[[], object]] = deque()
        self._channels: dict[Key, WorkerChannel] = {}
        self._needs: dict[EventFeed, frozenset[str]] = {}
        self._needed_until = dict.fromkeys(WATCHED, 0.0)
        self._watched: frozenset[str] = frozenset()
        self._next_look = 0.0
        self._adjusted: dict[str, object] = {}
        self._is_scraped = False
        self._is_recalled = False
        """Whether the connections are to be given back: another program is to take the supervisor over."""

        self._time_share = TimeShare(SHARE, MOST_PAUSE)
        super().__init__(None)
        fleet.when_recalled(lambda value: self.do_soon(lambda: self._recall(value)))

    def new_client(self, connection: Any) -> Client:
        """There is none: it makes its connections itself."""
        raise NotImplementedError

    def gather(
        self,
        verb: str,
        asks: Asks,
        merge: Callable[[Answers], object],
        limit: float = ANSWER_LIMIT,
    ) -> Later:
        """Ask workers; return the answer that is there when all of theirs are.

        Parameters
        ----------
        verb
            What to ask for.
        asks
            Whom, and with what. Called in the thread of this, as `merge` is.
        merge
            Makes one answer of all. It may raise a `Refusal`, and return a `Later`.
        limit
            Seconds for each of them to answer.
        """
        later = Later(GATHER_LIMIT, "the workers have not answered in time")

        def done(answers: Answers) -> None:
            guarded(later, lambda: give(later, merge(answers)))

        def begin() -> None:
            self._look()
            self._ask(verb, asks(), done, time.monotonic() + limit)

        self.do_soon(lambda: guarded(later, begin))
        return later

    def everyone(self, params: Params | None = None) -> Sequence[tuple[WorkerSeen, Params]]:
        """Return all workers that can be asked, each with the same params."""
        return [(each, params or {}) for each in self.serving()]

    def serving(self) -> list[WorkerSeen]:
        """Return the workers that can be asked."""
        seen = [each for each in self.fleet.workers() if each.state in ASKED_STATES]
        return sorted(seen, key=lambda each: (each.number, each.generation))

    def do_soon(self, errand: Callable[[], object]) -> None:
        """Have something done by the thread of this."""
        self._errands.append(errand)
        self.wake()

    def note_watch(self, feed: EventFeed, what: frozenset[str]) -> None:
        """Note what clients of a control socket watch, whose feed is told of events of the workers."""
        before = self._needs.get(feed, frozenset())
        if what == before:
            return
        self._linger(what | before)
        self._needs[feed] = what
        if not what:
            del self._needs[feed]
        self.wake()

    def _linger(self, what: Iterable[str]) -> None:
        for each in what:
            self._needed_until[each] = time.monotonic() + LINGER

    def begin_watch(self, what: Sequence[str], merge: Callable[[Answers], object]) -> Later:
        """Have the workers watched from now on; the answer is there when each has told how it fares."""

        def asks() -> Sequence[tuple[WorkerSeen, Params]]:
            self._linger(what)
            self._watch_as_needed(time.monotonic())
            return self.everyone()

        return self.gather("status", asks, merge)

    def adjusted(self, values: Mapping[str, object]) -> None:
        """Have options set like this in workers that come later. For the thread of this."""
        self.fleet.adjust(values)
        # Those that are being made just now do not know of it.
        self._adjusted = {**self._adjusted, **values}

    def figures(self) -> tuple[dict[Key, str], list[Key]]:
        """Return what workers have for Prometheus, and which there are. It waits for them, `SCRAPE_LIMIT`.

        For threads that serve operators: no fiber may wait so.
        """
        self._is_scraped = True
        later = self.gather("metrics", self.everyone, lambda answers: answers, SCRAPE_LIMIT)
        is_there = Latch()
        later.when_there(is_there.set)
        is_there.wait(2 * SCRAPE_LIMIT)
        answers = later.given if later.is_there else None
        results = answers.results if isinstance(answers, Answers) else []
        return {key_of(worker): each["text"] for worker, each in results}, self.present()

    def present(self) -> list[Key]:
        """Return the keys of the workers that there are."""
        return [key_of(each) for each in self.fleet.workers() if each.state != "ended"]

    def _ask(
        self,
        verb: str,
        asked: Sequence[tuple[WorkerSeen, Params]],
        done: Callable[[Answers], None],
        by: float,
    ) -> None:
        gathering = Gathering([worker for worker, _ in asked], done)
        for position, (worker, params) in enumerate(asked):
            channel = None if self._is_recalled else self._channels.get(key_of(worker))
            answered = gathering.place(position)
            if channel is None:
                answered(None)
            else:
                channel.ask(verb, dict(params), answered, by)
                self.clients.settle(channel)
        gathering.end_if_complete()

    def _look(self) -> None:
        """Have a connection to each worker, and none to those that are there no more."""
        self._next_look = time.monotonic() + LOOK_INTERVAL
        present = set(self.present())
        for key in [key for key in self._channels if key not in present]:
            self.clients.end(self._channels.pop(key).connection.fileno())
            self.latest.pop(key, None)
            self.totals.gone(key)
        for worker in self.serving():
            if key_of(worker) not in self._channels and not self._is_recalled:
                self._connect(worker)

    def _recall(self, value: bool) -> None:
        """Give all connections back, each as soon as nothing is on its way; or have them again."""
        self._is_recalled = value
        if value and self._watched:
            self._watched = frozenset()
            for channel in list(self._channels.values()):
                self._have_watched(channel)

    def _return_connections(self) -> None:
        for key, channel in list(self._channels.items()):
            if channel.has_ended:
                self.fleet.give_back(channel.worker, None)
            elif channel.is_at_rest:
                del self._channels[key]
                self.clients.release(channel)
                self.fleet.give_back(channel.worker, channel.connection)

    def _connect(self, worker: WorkerSeen) -> None:
        connection = self.fleet.control_of(worker)
        if connection is None:
            return
        connection.setblocking(False)
        plain = original(socket, "socket")(fileno=connection.detach())
        channel = self._channels[key_of(worker)] = WorkerChannel(plain, worker, self._hear)
        self.clients.add(channel)
        if self._is_scraped:
            # From now on it counts what is counted only for those who ask.
            channel.ask("metrics", {}, _ignored, time.monotonic() + ANSWER_LIMIT)
            self.clients.settle(channel)
        if self._adjusted:
            by = time.monotonic() + ANSWER_LIMIT
            channel.ask("limits.set", {"values": self._adjusted}, _ignored, by)
            self.clients.settle(channel)
        if self._watched:
            self._have_watched(channel)

    def _have_watched(self, channel: WorkerChannel) -> None:
        params: dict[str, object] = {"what": sorted(self._watched), "every": STATS_INTERVAL}
        channel.ask("watch", params, _ignored, time.monotonic() + ANSWER_LIMIT)
        self.clients.settle(channel)

    def _hear(self, channel: WorkerChannel, kind: str, params: dict[str, Any]) -> None:
        if kind == "stats":
            self.note(channel.worker, params)
        elif kind == "events":
            worker = channel.worker.number
            items = [written({**item, "worker": worker}) for item in params["items"]]
            for feed, what in self._needs.copy().items():
                if "events" in what:
                    feed.add(items, params["dropped"])

    def note(self, worker: WorkerSeen, status: dict[str, Any]) -> None:
        """Note how a worker fares. For the thread of this."""
        self.latest[key_of(worker)] = Stats(status, time.monotonic())
        self.totals.note(key_of(worker), status)

    def seconds_left(self) -> float | None:
        """Return the seconds until a worker's time is over, or one is looked for."""
        due = [each.next_deadline() for each in self._channels.values()]
        due += [self._next_look if self._is_to_look else None]
        left = min((each for each in due if each is not None), default=None)
        return None if left is None else max(0.0, left - time.monotonic())

    def do_chores(self) -> None:
        """Do what other threads have left to do, and watch the workers while that is needed."""
        while self._errands:
            self._do(self._errands.popleft())
        now = time.monotonic()
        for channel in list(self._channels.values()):
            channel.end_late_ones(now)
        if self._is_recalled:
            self._return_connections()
        else:
            self._watch_as_needed(now)
        self._rest()

    def _do(self, errand: Callable[[], object]) -> None:
        try:
            errand()
        except Exception as error:  # noqa: BLE001 - the next one may do
            print_uncaught(error)

    def _watch_as_needed(self, now: float) -> None:
        needed = frozenset().union(*self._needs.copy().values())
        wanted = needed | {each for each in WATCHED if now < self._needed_until[each]}
        if wanted != self._watched:
            self._watched = wanted
            for channel in list(self._channels.values()):
                self._have_watched(channel)
        if self._is_to_look and now >= self._next_look:
            self._look()

    @property
    def _is_to_look(self) -> bool:
        """Whether workers that come are to be known at once: they have limits to set, or sums to count."""
        return bool(self._watched or self._adjusted or self._is_scraped)

    def _rest(self) -> None:
        self._time_share.note(time.monotonic(), time.thread_time())
        pause = self._time_share.seconds_left(time.monotonic())
        if pause:
            _sleep(pause)


def _sleep(seconds: float) -> None:
    original(time, "sleep")(seconds)


def _ignored(outcome: object) -> None:
    del outcome
