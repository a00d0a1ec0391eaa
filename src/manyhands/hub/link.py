"""A worker's connection to the hub: made again whenever it ends, and what is asked over it."""

import _socket
import array
import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from manyhands.connections.outbox_writer import outbox_writer
from manyhands.dealing.channel import Channel
from manyhands.dealing.frames import Frame, FrameReader, pack, take_texts, texts
from manyhands.hub.frames import KINDS, LONGEST, Flags, Kind
from manyhands.hub.losses import KnownLosses, Losses
from manyhands.hub.peer import Lanes
from manyhands.hub.topic_page import TopicView
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import forking, renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.pending import Pending
from manyhands.runtime.sockets import peer_user
from manyhands.runtime.unpatched import native_thread_id, start_native_thread

Result = TypeVar("Result")

ANSWERS_WITHIN = 1.0
"""Seconds that a handler waits for the hub, which gives other workers less (`hub_asks.ANSWERS_WITHIN`)."""

FIRST_PAUSE = 0.01
"""Seconds until the next try to reach the hub; then twice as long each time."""

LONGEST_PAUSE = 1.0

CHUNK = 64 * 1024

MOST_WAITS = 10_000
"""Asks without an answer, of a hub that is stopped: the ones beyond are answered as if it had none."""


class Ends(Protocol):
    """What is told of the link, in the thread that reads it."""

    def is_up(self, session: "Session") -> None:
        """Say to a hub that is reached what it is to know."""

    def is_down(self) -> None:
        """Note that the hub has gone."""

    def take(self, session: "Session", frame: Frame) -> None:
        """Do what another worker, or the hub, has said."""


class _Wait(NamedTuple):
    """What waits for an answer."""

    take: Callable[[Frame], object]
    give_up: Callable[[], object]


class Session:
    """One connection to a hub, from its beginning to its end. Thread-safe, but for what is read."""

    def __init__(self, connection: _socket.socket) -> None:
        self.connection = connection
        self.channel = Channel(outbox_writer)
        self.losses = Losses(self.channel)
        self.known_losses = KnownLosses()
        self.view: TopicView | None = None
        """The page of topics, once the hub has given it."""

        self.lanes = Lanes()
        self.waits: dict[int, _Wait] = {}

    def say(self, kind: Kind, number: int, body: bytes = b"", request: int = 0) -> bool:
        """Say what is never dropped; return False where the hub has gone."""
        return self.channel.say(pack(kind, number, body, request))

    def tell(self, kind: Kind, flags: int, topic: str, body: bytes, request: int = 0) -> bool:
        """Have the hub hand on a message; return False where it is dropped."""
        if len(body) <= LONGEST:
            frame = pack(kind, flags, body, request)
            is_counted = flags if kind != Kind.TO_ONE else Flags.NONE
            if self.channel.put(frame, self.lanes.lane(topic, is_counted)):
                return True
        if kind != Kind.TO_ONE and flags & Flags.COUNTS:
            self.losses.note(topic)
        return False

    def end(self) -> None:
        """Send nothing more, and have all that wait for answers go on. Once more does no harm."""
        self.channel.end()
        while self.waits:
            with contextlib.suppress(KeyError):  # it has just got its answer
                self.waits.popitem()[1].give_up()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class HubLink:
    """What leads from a worker to the hub. Thread-safe.

    Parameters
    ----------
    address
        Of the hub.
    ends : Ends
        What is told what comes.

    Notes
    -----
    It has one thread of the system's, which takes no lock that a forked process could need but those that are
    fresh there.
    """

    def __init__(self, address: str | bytes, ends: Ends) -> None:
        self._address = address
        self._ends = ends
        self._is_closed = Latch()
        self._requests = itertools.count(1)
        self._reader = 0
        self._is_late = False
        """Whether the hub has left an ask unanswered: it is waited for no more until it says anything."""

        self.session: Session | None = None
        """While the hub is there, and has said its welcome."""

        self._socket: _socket.socket | None = None
        renew_in_copies(self, HubLink._begin_anew)

    def start(self) -> None:
        """Reach the hub, now and whenever it has gone.

        Raises
        ------
        RuntimeError
            When the system has no thread left.
        """
        start_native_thread(self._run, name="manyhands-hub")

    def close(self) -> None:
        """Leave the hub. Once more does no harm."""
        self._is_closed.set()
        session, connection = self.session, self._socket
        if session is not None:
            session.end()
        elif connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _begin_anew(self) -> None:
        # In a forked copy: the original goes on, and closes its own.
        session, self.session = self.session, None
        self._is_closed.set()
        if session is not None:
            session.channel.begin_anew()
        if self._socket is not None:
            self._socket.close()

    # What is asked

    def is_followed(self, topic: str) -> bool:
        """Tell whether another worker may follow a topic, as far as is known now."""
        session = self.session
        return session is not None and session.view is not None and session.view.is_followed(topic)

    def tell(self, kind: Kind, flags: int, topic: str, message: bytes) -> None:
        """Have a message handed on, and wait for nothing."""
        session = self.session
        if session is not None:
            session.tell(kind, flags, topic, texts(topic) + message)

    def ask(  # noqa: PLR0913, PLR0917 - what is asked, and what becomes of the answer
        self,
        kind: Kind,
        flags: int,
        topic: str,
        message: bytes,
        otherwise: Result,
        read: Callable[[Frame], Result],
    ) -> Pending[Result]:
        """Have a message handed on; return what `read` makes of the answer.

        Parameters
        ----------
        kind, flags, topic, message
            See `hub_frames`; of a message to one worker its number is in the place of the flags.
        otherwise
            The result where no answer comes.
        read
            What makes the result of the answer.
        """
        session = self.session
        if session is None or len(session.waits) >= MOST_WAITS:
            if session is not None:
                session.tell(kind, flags, topic, texts(topic) + message)
            return Pending(otherwise)
        body = message if kind == Kind.FOLLOW else texts(topic) + message
        pending, request = self._wait(session, otherwise, read)
        if kind == Kind.FOLLOW:
            is_sent = session.say(kind, flags, body, request)
        else:
            is_sent = session.tell(kind, flags, topic, body, request)
        # The end of a session looks at the waits after its channel is over.
        if not is_sent or session.channel.is_over:
            session.waits.pop(request, None)
            pending.give(otherwise)
        return pending

    def _wait(
        self, session: Session, otherwise: Result, read: Callable[[Frame], Result]
    ) -> tuple[Pending[Result], int]:
        pending = Pending(otherwise, self)
        request = next(self._requests) % 2**32 or next(self._requests)
        session.waits[request] = _Wait(
            lambda frame: pending.give(read(frame)), lambda: pending.give(otherwise)
        )
        return pending, request

    # As what says how long is waited

    def seconds_left(self) -> float:
        """Return the seconds that the caller may wait: none in the thread that reads, nor for a late hub."""
        is_to_wait = not self._is_late and native_thread_id() != self._reader
        return ANSWERS_WITHIN if is_to_wait else 0.0

    def ran_out(self) -> None:
        """Note that the hub has not answered in time."""
        if native_thread_id() != self._reader:
            self._is_late = True

    # In the thread that reads

    def _run(self) -> None:
        self._reader = native_thread_id()
        pause = FIRST_PAUSE
        while not self._is_closed.is_set():
            was_there = False
            try:
                was_there = self._serve()
            except OSError:
                pass  # there is none, or no descriptor for it
            except Exception as error:  # noqa: BLE001 - no memory, say: it is tried again
                print_uncaught(error)
            pause = FIRST_PAUSE if was_there else min(2 * pause, LONGEST_PAUSE)
            self._is_closed.wait(pause)

    def _serve(self) -> bool:
        """Reach the hub, and take what comes until its end; return False when it was not to be reached."""
        connection = self._connect()
        session = Session(connection)
        try:
            # Looked at now that `close` would find the socket.
            rest = None if self._is_closed.is_set() else self._welcomed(session)
            if rest is None:
                return False
            session.channel.attach(connection)
            self._is_late = False
            self.session = session
            self._ends.is_up(session)
            self._read(session, rest)
        finally:
            was_up, self.session = self.session is not None, None
            session.end()
            # By the thread that reads, which is in no call on it now.
            self._socket = None
            connection.close()
            if was_up and not self._is_closed.is_set():
                self._ends.is_down()
        return True

    def _connect(self) -> _socket.socket:
        with forking:
            # A copy of the process is to know what to close.
            connection = self._socket = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # With a limit, for too many may be waiting to be accepted.
            connection.settimeout(LONGEST_PAUSE)
            connection.connect(self._address)
            connection.settimeout(None)
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _welcomed(session: Session) -> bytes | None:
        """Wait for the hub's welcome; return what came behind it. None where it is none of a hub of ours."""
        connection = session.connection
        if peer_user(connection) != os.geteuid():
            return None
        descriptors = array.array("i")
        size = socket.CMSG_SPACE(descriptors.itemsize)
        data, ancillary, _, _ = connection.recvmsg(CHUNK, size)
        for _, _, passed in ancillary:
            descriptors.frombytes(passed[: descriptors.itemsize])
        try:
            (welcome, *_) = FrameReader(KINDS).feed(data) or (None,)
            if welcome is None or welcome.kind != Kind.WELCOME or not descriptors:
                return None
            (bit,), _ = take_texts(welcome.body, 1)
            session.view = TopicView(descriptors[0], int(bit))
            return data[len(pack(Kind.WELCOME, welcome.number, welcome.body)) :]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _read(self, session: Session, data: bytes) -> None:
        frames = FrameReader(KINDS)
        while True:
            for frame in frames.feed(data):
                self._is_late = False
                if frame.kind == Kind.ANSWER:
                    wait = session.waits.pop(frame.request, None)
                    if wait is not None:
                        wait.take(frame)
                else:
                    self._take(session, frame)
            with contextlib.suppress(ConnectionError, ValueError):
                data = session.connection.recv(CHUNK)
                if data:
                    continue
            return

    def _take(self, session: Session, frame: Frame) -> None:
        try:
            self._ends.take(session, frame)
        except Exception as error:  # noqa: BLE001 - the next one may do
            print_uncaught(error)
