"""The handler's side: what it tells and asks goes to its parent, and what comes goes to its client."""

import _socket
import contextlib
import errno
import itertools
import marshal
import socket
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.outbox_terms import check_length
from manyhands.connections.outbox_writer import outbox_writer
from manyhands.connections.outboxes import ConnectionWithOutbox, outbox_of
from manyhands.connections.rooms import Member
from manyhands.connections.tls_handshake import is_tls
from manyhands.dealing.channel import LATEST, Channel, Lane, Terms
from manyhands.dealing.distant_connection import DistantConnection, ServedHere
from manyhands.dealing.distant_exchange import DistantExchange
from manyhands.dealing.frames import Frame, FrameReader, Kind, pack, texts
from manyhands.dealing.uplink import Uplink
from manyhands.model.connection_states import Reason, State
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import start_native_thread

ANSWERS_WITHIN = 1.0
"""Seconds that a handler waits for its parent, which may be stopped."""

CHUNK = 64 * 1024
"""Bytes that are read at once."""

ASKED = Terms(1000, 4 * 1024 * 1024, "drop_new")
"""What may wait for a parent that does not read: handlers that ask on wait a second for each."""


class _Wait:
    """The wait of a thread, or a fiber, for an answer."""

    __slots__ = ("answer", "has_come")

    def __init__(self) -> None:
        self.has_come = Latch()
        self.answer: Frame | None = None


class _Link:
    """A channel to the parent, and the waits for what it answers. Signal handlers may make one."""

    def __init__(self) -> None:
        self.waits: dict[int, _Wait] = {}
        self.socket: _socket.socket | None = None
        self.channel = Channel(outbox_writer)
        self.asked = Lane(lambda: ASKED)
        self.missed = Lane(lambda: LATEST)
        self.has_ended = Latch()
        """Set once it is not used any more."""

        self.ends = itertools.count()
        """Counts its ends, of which the first one counts: each `next` is one step."""

    def end(self) -> None:
        """Send nothing more, and have all that wait for answers go on."""
        self.channel.end()
        for wait in list(self.waits.values()):
            wait.has_come.set()
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # It is not always the thread that reads which calls this.
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


def _start_thread(read: Callable[[_Link, _socket.socket | None], None], *arguments: Any) -> None:
    """Start the thread that reads a link.

    Raises
    ------
    OSError
        When there is none to be had.
    """
    try:
        start_native_thread(read, *arguments, name="manyhands-dealing")
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None


class ChildSide:
    """What a handler in a process of its own has of its server's rooms and connections. Thread-safe.

    Parameters
    ----------
    connection : Connection
        What the process serves, or the datagram.
    uplink : Uplink
        What leads to the parent.
    wake_loop : callable
        Wakes the parent's accept loop.
    """

    def __init__(
        self, connection: Connection, uplink: Uplink, wake_loop: Callable[[], object]
    ) -> None:
        self._connection = connection
        self._uplink = uplink
        self._wake_loop = wake_loop
        self._requests = itertools.count(1)
        self._links: dict[str, _Link] = {}
        """The one that is there; a dict, for `setdefault` is one step."""

        self._is_to_begin = False
        self._is_over = False
        self._dropped = 0
        self._told_missed = 0
        self.exchange = DistantExchange(self, connection)
        """The server's exchange, as this process has it."""

    def begin(self) -> None:
        """Attach, for a handler that is about to begin."""
        self._link()
        if is_tls(self._connection.request):
            # Now, while its handler is in no call on it: later it may be inside of OpenSSL.
            outbox_of(self._connection)

    def attach(self) -> None:
        """Attach, since the parent has something to tell. For signal handlers in the main thread."""
        connection = self._connection
        if self._links or not connection.is_registered:
            return
        if connection.state is State.OPEN:
            # Without a thread for it the parent gives up on it.
            with contextlib.suppress(RuntimeError, MemoryError):
                start_native_thread(self._link, name="manyhands-dealing")
        elif not self._is_to_begin:
            # What came before the handler has begun could not be sent: it is told from then on.
            self._is_to_begin = True
            connection.before_handler(self.begin)

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        self._uplink.close()
        for link in self._links.values():
            link.channel.begin_anew()
            if link.socket is not None:
                link.socket.close()

    # What it is asked as the rooms

    def join(self, connection: ConnectionWithOutbox, room: str, name: str) -> bool:
        """Have a connection told what is said in a room; return whether it is a member now."""
        answer = self.ask(Kind.JOIN, connection.number, texts(room, name))
        if answer is None:
            # The parent may get to it later, and would take for a member what was told that it is none.
            self.say(Kind.LEAVE, connection.number, texts(room))
        return bool(self._told(answer))

    def leave(self, connection: ConnectionWithOutbox, room: str) -> None:
        """Have a connection told nothing more of a room, from when this returns."""
        if self._links:
            self.ask(Kind.LEAVE, connection.number, texts(room))

    def forget(self, connection: ConnectionWithOutbox) -> None:
        """Have the parent learn what the connection has missed in all: it comes to its end."""
        missed = self._missed()
        if missed > self._told_missed:
            self._told_missed = missed
            self.ask(Kind.MISSED, connection.number, texts(str(missed)))

    def tell_of_lag(self, waiting: int, *, is_over: bool) -> bool:
        """Have the parent's subscribers told that the client does not read; return False where it is gone."""
        said = texts(str(waiting), str(int(is_over)))
        return self.say(Kind.BEHIND, self._connection.number, said)

    def _missed(self) -> int:
        outbox = self._connection.outbox
        return self._dropped + (0 if outbox is None else outbox.missed)

    def tell(self, room: str, piece: bytes, but: ConnectionWithOutbox | None) -> int:
        """Have all members of a room told, but one; return how many are."""
        number = 0 if but is None else but.number
        return self._told(self.ask(Kind.TELL, number, texts(room) + piece))

    def members(self, room: str) -> list[Member]:
        """Return the members of a room."""
        answer = self.ask(Kind.MEMBERS, 0, texts(room))
        return [] if answer is None else [Member(*each) for each in marshal.loads(answer.body)]  # noqa: S302 - of our own parent

    # What it is asked as the connections of others

    def connection(self, number: object) -> Connection | None:
        """Return what stands for a connection of another process; None where there is none."""
        if not isinstance(number, int) or not 0 < number < 2**64:
            return None
        if number == self._connection.number:
            return self._connection
        answer = self.ask(Kind.FIND, number)
        if answer is None or not answer.number:
            return None
        address = marshal.loads(answer.body)  # noqa: S302 - of our own parent
        own = self._connection
        here = ServedHere(own.server, own.engine, own.core)
        return DistantConnection(number, address, self, here)

    def send_all(self, piece: bytes, but: Connection | None) -> int:
        """Have a piece sent to each connection, but to one; return to how many."""
        self._check(piece)
        return self._told(self.ask(Kind.SEND_ALL, 0 if but is None else but.number, piece))

    def send(self, number: int, piece: bytes) -> bool:
        """Have a piece sent to the connection of a number; return whether it is."""
        self._check(piece)
        return bool(self._told(self.ask(Kind.SEND, number, piece)))

    def _check(self, piece: bytes) -> None:
        check_length(piece, self._connection.outbox_terms()[0])

    @staticmethod
    def _told(answer: Frame | None) -> int:
        return 0 if answer is None else answer.number

    # The channel

    def ask(
        self, kind: Kind, number: int, body: bytes = b"", seconds: float | None = None
    ) -> Frame | None:
        """Ask the parent; return its answer, or None where it gives none in time: a second unless told.

        Raises
        ------
        Mistake
            As the parent has it.
        """
        request = next(self._requests) % 2**32 or next(self._requests) % 2**32
        asked = self._asked(pack(kind, number, body, request), request)
        if asked is None:
            return None
        link, wait = asked
        try:
            # Looked at after the entry: the end of the channel looks at the waits after it has said so.
            if not link.channel.is_over:
                wait.has_come.wait(ANSWERS_WITHIN if seconds is None else seconds)
        finally:
            link.waits.pop(request, None)
        answer = wait.answer
        if answer is not None and answer.kind == Kind.REFUSE:
            raise Mistake(answer.body.decode())
        return answer

    def _asked(self, frame: bytes, request: int) -> tuple[_Link, _Wait] | None:
        """Send a question; return what waits for the answer, or None where nothing takes it."""
        for _ in range(2):
            link = self._link()
            wait = link.waits[request] = _Wait()
            if link.channel.put(frame, link.asked):
                return link, wait
            link.waits.pop(request, None)
            # A send finds first that the parent has closed the channel, and the thread that reads finds it
            # next: then there can be another one.
            if not (link.channel.is_over and link.has_ended.wait(ANSWERS_WITHIN)):
                break
        return None

    def say(self, kind: Kind, number: int, body: bytes = b"") -> bool:
        """Tell the parent something, and wait for nothing; return False where it is gone."""
        return self._link().channel.say(pack(kind, number, body))

    def _link(self) -> _Link:
        """Return the link to the parent. Where there is none the caller makes it; it may be over at once."""
        link = self._links.get("")
        if link is None:
            made = _Link()
            try:
                # One step: of two threads that come first, both get the same, and one connects it.
                link = self._links.setdefault("", made)
                if link is made:
                    self._connect(link)
            except BaseException:
                # Of a signal's handler, say: an alarm of the program's.
                self._end(made)
                raise
        return link

    def _connect(self, link: _Link) -> None:
        if not self._uplink.has_parent():
            self._end(link)
            return
        try:
            renew_in_copies(self, ChildSide.close_copies)
            link.socket, above = _socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # At once, if it can be: the handler may become another program next, and the parent is to
                # know.
                has_gone_up = self._pass_up(above)
                _start_thread(self._read, link, None if has_gone_up else above)
            except BaseException:
                above.close()
                raise
        except OSError as error:
            if error.errno is None:
                raise  # the program's own, as of an alarm that raises TimeoutError
            # No descriptor, no thread, or the parent has gone just now. The next call tries again.
            self._end(link)
            return
        link.channel.attach(link.socket)

    def _pass_up(self, above: _socket.socket) -> bool:
        """Pass the parent's end of a channel up; return False when that would wait."""
        has_gone_up = self._uplink.send(self._connection_number(), above)
        if has_gone_up:
            above.close()
            if self._uplink.say_that_it_was_used():
                self._wake_loop()
        return has_gone_up

    def _connection_number(self) -> int:
        return self._connection.number if self._connection.is_registered else 0

    def _read(self, link: _Link, above: _socket.socket | None) -> None:
        frames, connection = FrameReader(), link.socket
        assert connection is not None  # noqa: S101 - tells the type checker
        try:
            while above is not None and not self._pass_up(above):
                self._uplink.wait_until_it_takes()
            above = None
            while data := connection.recv(CHUNK):
                for frame in frames.feed(data):
                    self._take(link, frame)
        except OSError:
            pass  # the parent has gone, or a copy of this process
        finally:
            self._end(link)

    def _end(self, link: _Link) -> None:
        """Note that a link is over: the next call makes another one. Once more does no harm."""
        if next(link.ends):
            return
        failure = link.channel.failure
        if self._links.get("") is link:
            del self._links[""]
        link.end()
        self.exchange.end_subscriptions()
        link.has_ended.set()
        if failure:
            # The parent takes the handler out of its rooms, which had better not go on as if it were there.
            print_uncaught(BrokenPipeError(f"the channel to the server's process: {failure}"))
            if self._connection.is_registered:
                self._connection.expire(Reason.HANDLER_FAILED)

    def _take(self, link: _Link, frame: Frame) -> None:
        if frame.kind == Kind.DELIVER:
            try:
                self._deliver(link, frame.body)
            except Exception as error:  # noqa: BLE001 - the next one may do
                print_uncaught(error)
            return
        if frame.kind in {Kind.MESSAGE, Kind.LOST, Kind.CLOSED}:
            self.exchange.take(frame)
            return
        wait = link.waits.get(frame.request)
        if wait is not None:
            wait.answer = frame
            wait.has_come.set()

    def _deliver(self, link: _Link, piece: bytes) -> None:
        outbox = outbox_of(self._connection)
        if outbox is None:
            self._dropped += 1  # it goes over to TLS just now, or comes to its end
        else:
            outbox.put(piece)
        missed = self._missed()
        if missed != self._told_missed:
            self._told_missed = missed
            said = pack(Kind.MISSED, self._connection.number, texts(str(missed)))
            link.channel.put(said, link.missed)
        if outbox is not None and outbox.is_over and not self._is_over:
            self._is_over = True
            link.channel.say(pack(Kind.OVER, self._connection.number))
