"""A worker among others: what is told in one reaches the members, connections and subscribers of all."""

import itertools
import marshal
import time
from collections import OrderedDict
from collections.abc import Callable

from manyhands.connections.connection import Connection
from manyhands.connections.rooms import Member
from manyhands.dealing.channel import Lane, Terms
from manyhands.dealing.frames import Frame, pack, take_texts, texts
from manyhands.exchange.answer_tokens import AnswerTokens
from manyhands.hub.distant_connection import ConnectionElsewhere
from manyhands.hub.frames import (
    CONNECTIONS,
    EVERYTHING,
    ROOM,
    SUBJECT,
    Flags,
    Kind,
    parted,
)
from manyhands.hub.link import HubLink, Session
from manyhands.hub.told_by_others import ToldByOthers, What, message_of
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import Event, event_hub
from manyhands.runtime.locks import Latch, holding
from manyhands.runtime.pending import Pending
from manyhands.runtime.unpatched import brief_rlock
from manyhands.serving.core import ServerCore

MOST_TOPICS = 50_000
"""Rooms and subjects that a worker tells the hub one by one: beyond that it gets what is told of any."""

FOLLOWED = Terms(MOST_TOPICS + 1, 64 * 1024 * 1024, "drop_new")
"""What may wait of them for a new hub: all, with the longest names."""

MOST_PLACES = 10_000
"""Connections of which it is remembered which worker has them."""

PATIENCE = 2.0
"""Seconds that a process waits for the hub before it serves without it."""

_NOBODY: Pending[int] = Pending(0)
_HEARD = Pending(True)
_UNHEARD = Pending(False)


class HubMember:
    """Has a worker's server reach the others that serve the same server, by way of the hub. Thread-safe.

    Parameters
    ----------
    core : ServerCore
        That of the worker's server.
    address : str or bytes
        Of the hub: a path, or an abstract name.
    number : int
        The worker's, for events.

    Notes
    -----
    Linux only. While the hub is not there the worker is by itself: what is told reaches its own members. It
    looks for the hub for ever, and at most a second apart.
    """

    def __init__(self, core: ServerCore, address: str | bytes, number: int) -> None:
        self._core = core
        self._number = number
        self._tokens = AnswerTokens()
        self._told = ToldByOthers(core, core.own_exchange, self._tokens, self)
        self._link = HubLink(address, self)
        # Held while the hub is told of a topic, so that what it was told last is how it is.
        self._lock = brief_rlock()
        self._followed: dict[str, Pending[bool]] = {}
        self._follows_everything = False
        self._places: OrderedDict[int, int] = OrderedDict()
        self._has_been_up = Latch()
        self._is_told_lost = False
        """Whether an event has told that the hub is not there."""

        self.missed = 0
        """Messages of others that were dropped since this worker did not take them in time."""

    def start(self) -> None:
        """Reach the others from now on.

        Raises
        ------
        RuntimeError
            When the system has no thread left.
        """
        self._core.reach(self)
        self._link.start()

    def close(self) -> None:
        """Reach no other any more. Once more does no harm."""
        self._core.reach(None)
        self._link.close()

    def wait_until_connected(self, seconds: float = PATIENCE) -> bool:
        """Wait until the hub has been there, at most so many seconds; return whether it has."""
        if self._has_been_up.wait(seconds):
            return True
        self.is_down()
        if self._has_been_up.is_set():
            self._tell_that_it_is_back()  # it came just now
        return False

    @property
    def is_connected(self) -> bool:
        """Whether the hub is there now."""
        return self._link.session is not None

    # Rooms

    def follow_room(self, room: str) -> Pending[bool]:
        """See `connections.rooms.Others`."""
        return self._follow(ROOM + room)

    def tell(self, room: str, piece: bytes, but: int) -> Pending[int]:
        """See `connections.rooms.Others`."""
        topic = ROOM + room
        if not self._link.is_followed(topic):
            return _NOBODY
        message = message_of(What.TELL, time.monotonic(), but, piece)
        return self._link.ask(Kind.TO_TOPIC, Flags.COUNTS, topic, message, 0, _count)

    def members(self, room: str) -> Pending[list[tuple[float, Member]]]:
        """See `connections.rooms.Others`."""
        topic = ROOM + room
        if not self._link.is_followed(topic):
            return Pending([])
        message = message_of(What.MEMBERS, time.monotonic())
        return self._link.ask(Kind.TO_TOPIC, Flags.NONE, topic, message, [], self._members_of)

    def _members_of(self, frame: Frame) -> list[tuple[float, Member]]:
        found = []
        for worker, body in parted(frame.body):
            for at, number, name in marshal.loads(body):  # noqa: S302 - of a worker of ours
                self._note_place(number, worker)
                found.append((at, Member(number, name)))
        return found

    # Connections

    def find(self, number: object) -> Pending[Connection | None]:
        """See `connections.registry.Others`."""
        if not isinstance(number, int) or not 0 < number < 2**64:
            return Pending(None)

        def found(frame: Frame) -> Connection | None:
            for worker, body in parted(frame.body):
                self._note_place(number, worker)
                address = marshal.loads(body)  # noqa: S302 - of a worker of ours
                return ConnectionElsewhere(number, address, self, self._core)
            return None

        message = message_of(What.FIND, time.monotonic(), number)
        none: Connection | None = None
        return self._link.ask(Kind.TO_ALL, Flags.FIRST, CONNECTIONS, message, none, found)

    def _note_place(self, number: int, worker: int) -> None:
        # By the thread that reads alone.
        self._places[number] = worker
        if len(self._places) > MOST_PLACES:
            self._places.popitem(last=False)

    def send(self, number: int, piece: bytes) -> Pending[bool]:
        """See `connections.registry.Others`."""
        message = message_of(What.SEND, time.monotonic(), number, piece)
        place = self._places.get(number)
        if place is not None:
            return self._link.ask(Kind.TO_ONE, place, CONNECTIONS, message, False, _is_any)
        return self._link.ask(Kind.TO_ALL, Flags.FIRST, CONNECTIONS, message, False, _is_any)

    def send_all(self, piece: bytes, but: int) -> Pending[int]:
        """See `connections.registry.Others`."""
        message = message_of(What.SEND_ALL, time.monotonic(), but, piece)
        return self._link.ask(Kind.TO_ALL, Flags.COUNTS, CONNECTIONS, message, 0, _count)

    # The exchange

    def follow_subject(self, subject: str) -> Pending[bool]:
        """See `exchange.local.Others`."""
        return self._follow(SUBJECT + subject)

    def publish(self, subject: str, data: bytes) -> None:
        """See `exchange.local.Others`."""
        topic = SUBJECT + subject
        if self._link.is_followed(topic):
            message = message_of(What.PUBLISH, time.monotonic(), 0, data)
            self._link.tell(Kind.TO_TOPIC, Flags.COUNTS, topic, message)

    def request(self, subject: str, data: bytes, answer: Callable[[bytes], bool]) -> Pending[bool]:
        """See `exchange.local.Others`."""
        topic = SUBJECT + subject
        if not self._link.is_followed(topic):
            return _UNHEARD
        message = message_of(What.REQUEST, time.monotonic(), self._tokens.token_of(answer), data)
        flags = Flags.COUNTS | Flags.FIRST
        return self._link.ask(Kind.TO_TOPIC, flags, topic, message, True, _is_any)

    def reply(self, worker: int, token: int, data: bytes) -> Pending[bool]:
        """See `told_by_others.Replies`."""
        message = message_of(What.REPLY, time.monotonic(), token, data)
        return self._link.ask(Kind.TO_ONE, worker, SUBJECT, message, False, _is_any)

    # What the hub knows of this worker

    def _follow(self, topic: str) -> Pending[bool]:
        return holding(self._lock, self._follow_as_is, topic)

    def _follow_as_is(self, topic: str) -> Pending[bool]:
        """Tell the hub whether this worker follows a topic now, unless it knows."""
        known = self._followed.get(topic)
        if self._has(topic) == (known is not None):
            return _HEARD if known is None else known
        if known is not None:
            del self._followed[topic]
            session = self._link.session
            if session is not None:
                session.say(Kind.FOLLOW, 0, texts(topic))
            return _HEARD
        if len(self._followed) < MOST_TOPICS:
            heard = self._followed[topic] = self._say_that_it_follows(topic)
            return heard
        if not self._follows_everything:
            self._follows_everything = True
            return self._say_that_it_follows(EVERYTHING)
        return _HEARD

    def _say_that_it_follows(self, topic: str) -> Pending[bool]:
        return self._link.ask(Kind.FOLLOW, 1, topic, texts(topic), False, _is_any)

    def _has(self, topic: str) -> bool:
        name = topic[1:]
        if topic[0] == ROOM:
            return self._core.rooms.has_members(name)
        return self._core.own_exchange.has_subscribers(name)

    # As what is told of the link, in the thread that reads

    def is_up(self, session: Session) -> None:
        """Tell a hub that is there now which topics this worker follows."""
        holding(self._lock, self._say_all, session)
        self._has_been_up.set()
        self._tell_that_it_is_back()

    def _tell_that_it_is_back(self) -> None:
        if self._is_told_lost:
            self._is_told_lost = False
            self._emit(lambda: events.HubReached(self._number))

    def _say_all(self, session: Session) -> None:
        self._places.clear()
        for topic, heard in self._followed.items():
            if heard.has_come:  # else it was said to this hub, which has not answered yet
                self._followed[topic] = _HEARD
        every = (EVERYTHING,) if self._follows_everything else ()
        lane = Lane(lambda: FOLLOWED)
        for topic in itertools.chain(self._followed, every):
            session.channel.put(pack(Kind.FOLLOW, 1, texts(topic)), lane)

    def is_down(self) -> None:
        """Note that the hub has gone, or does not come."""
        self._is_told_lost = True
        self._emit(lambda: events.HubLost(self._number))

    def take(self, session: Session, frame: Frame) -> None:
        """Do what another worker has told, or note what was dropped on its way here."""
        if frame.kind == Kind.TOLD:
            count, body = self._told.do(frame.number, frame.body)
            if frame.request:
                session.say(Kind.ANSWER, count, body, frame.request)
        elif frame.kind == Kind.MISSED:
            (topic, at), _ = take_texts(frame.body, 2)
            count = session.known_losses.news(topic, frame.number)
            if count:
                self.missed += count
                self._told.miss(topic, count, float(at))
                self._emit(lambda: events.MissedFromWorkers(self._number, count))

    def _emit(self, event: Callable[[], Event]) -> None:
        if not event_hub.has_subscribers:
            return
        dealer = self._core.rooms.dealer
        if dealer is not None and dealer.deals_here:
            # Subscribers are the program's: they are called in no thread beside those that fork.
            dealer.note(lambda: event_hub.emit(event()))
        else:
            event_hub.emit(event())


def _count(frame: Frame) -> int:
    return frame.number


def _is_any(frame: Frame) -> bool:
    return frame.number > 0
