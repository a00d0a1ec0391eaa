"""The handler's half: what it tells and asks goes to its parent, and what comes goes to its client."""

import _socket
import contextlib
import itertools
import marshal
import socket
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.outbox import Outbox, check_length
from manyhands.connections.outboxes import ConnectionWithOutbox, outbox_of
from manyhands.connections.rooms import Member
from manyhands.connections.tls_handshake import is_tls
from manyhands.dealing.distant_exchange import DistantExchange
from manyhands.dealing.frames import HEADS, Frame, FrameReader, Kind, pack, texts
from manyhands.dealing.uplink import Uplink
from manyhands.exchange.exchange import LONGEST_MESSAGE
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


class _Wait:
    """The wait of a thread, or a fiber, for an answer."""

    __slots__ = ("answer", "has_come")

    def __init__(self) -> None:
        self.has_come = Latch()
        self.answer: Frame | None = None


class _Line:
    """The channel to the parent, from when it is wanted; what is put waits until there is one.

    Signal handlers may make one and open it: nothing here waits, and no lock is needed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.waits: dict[int, _Wait] = {}
        self.channel: _socket.socket | None = None
        self.is_over = False
        self.claim = ["to open it"]
        self.outbox = Outbox(_send_nowhere, -1, self)
        self.turn = self.outbox.hold()

    def outbox_terms(self) -> tuple[int, str]:
        """Return the bytes that may wait for a parent that does not read."""
        return max(self._connection.outbox_terms()[0], LONGEST_MESSAGE) + HEADS, "drop_new"

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """Leave it to those that tell: each hears that nobody was told."""

    def end(self) -> None:
        """Send nothing more, and have all that wait for answers go on."""
        self.is_over = True
        self.outbox.end()
        for wait in list(self.waits.values()):
            wait.has_come.set()
        if self.channel is not None:
            self.channel.close()


class HandlersHalf:
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
        self._line: _Line | None = None
        self._is_to_begin = False
        self._is_over = False
        self._dropped = 0
        self._told_missed = 0
        self.exchange = DistantExchange(self, connection)
        """The server's exchange, as this process has it."""

    def begin(self) -> None:
        """Begin to hear, for a handler that is about to begin."""
        self._opened()
        if is_tls(self._connection.request):
            # Now, while its handler is in no call on it: later it may be inside of OpenSSL.
            outbox_of(self._connection)

    def hear(self) -> None:
        """Begin to hear, since the parent has something to tell. For signal handlers in the main thread."""
        connection = self._connection
        if self._line is not None or not connection.is_registered:
            return
        if connection.state is State.OPEN:
            # Without a thread for it the parent gives up on it.
            with contextlib.suppress(RuntimeError, MemoryError):
                start_native_thread(self._opened)
        elif not self._is_to_begin:
            # What came before the handler has begun could not be sent: it hears from then on.
            self._is_to_begin = True
            connection.before_handler(self.begin)

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        self._uplink.close()
        if self._line is not None and self._line.channel is not None:
            self._line.channel.close()

    # What it is asked as the rooms

    def join(self, connection: ConnectionWithOutbox, room: str, name: str) -> bool:
        """Have a connection told what is said in a room; return whether it is a member now."""
        return bool(self._told(self.ask(Kind.JOIN, connection.number, texts(room, name))))

    def leave(self, connection: ConnectionWithOutbox, room: str) -> None:
        """Have a connection told nothing more of a room, from when this returns."""
        if self._line is not None:
            self.ask(Kind.LEAVE, connection.number, texts(room))

    def forget(self, connection: ConnectionWithOutbox) -> None:
        """Have the parent know what the connection has missed in all: it comes to its end."""
        missed = self._missed()
        if missed > self._told_missed:
            self._told_missed = missed
            self.ask(Kind.MISSED, connection.number, texts(str(missed)))

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
        return DistantConnection(number, address, self, self._connection)

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
        line = self._opened()
        request = next(self._requests) % 2**32
        wait = line.waits[request] = _Wait()
        try:
            # Looked at after the entry: the end of the line looks at the waits after it has said so.
            if line.outbox.put(pack(kind, number, body, request)) and not line.is_over:
                wait.has_come.wait(ANSWERS_WITHIN if seconds is None else seconds)
        finally:
            line.waits.pop(request, None)
        answer = wait.answer
        if answer is not None and answer.kind == Kind.REFUSE:
            raise Mistake(answer.body.decode())
        return answer

    def say(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Tell the parent something, and wait for nothing."""
        self._opened().outbox.put(pack(kind, number, body))

    def _opened(self) -> _Line:
        """Return the line to the parent, which is opened now, if it was not."""
        line = self._line
        if line is None:
            # `setdefault` is one step: of two threads, or a signal handler and what it interrupts, both get
            # the same.
            line = vars(self).setdefault("_made", _Line(self._connection))
            self._line = line
        try:
            line.claim.pop()
        except IndexError:
            return line
        try:
            self._open(line)
        except (OSError, RuntimeError):
            # No descriptor, no thread, or the parent has gone just now. The next call tries again.
            line.end()
            self._line = None
            vars(self).pop("_made", None)
        return line

    def _open(self, line: _Line) -> None:
        if not self._uplink.has_parent():
            raise ProcessLookupError
        renew_in_copies(self, HandlersHalf.close_copies)
        channel, above = _socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        line.channel = channel
        # At once, if it can be: the handler may become another program next, and the parent is to know.
        has_gone_up = self._is_passed_up(above)
        start_native_thread(self._listen, line, None if has_gone_up else above)
        line.outbox.lead_to(channel.send, channel.fileno(), keeps_attempts=False)
        line.outbox.give_back(line.turn)

    def _is_passed_up(self, above: _socket.socket) -> bool:
        has_gone_up = self._uplink.send(self._connection_number(), above)
        if has_gone_up:
            above.close()
            if self._uplink.say_that_it_was_used():
                self._wake_loop()
        return has_gone_up

    def _connection_number(self) -> int:
        return self._connection.number if self._connection.is_registered else 0

    def _listen(self, line: _Line, above: _socket.socket | None) -> None:
        frames = FrameReader()
        try:
            while above is not None and not self._is_passed_up(above):
                self._uplink.wait_until_it_takes()
            above = None
            assert line.channel is not None  # noqa: S101 - tells the type checker
            while data := line.channel.recv(CHUNK):
                for frame in frames.feed(data, 2**32):
                    self._take(line, frame)
        except OSError:
            pass  # the parent has gone, or a copy of this process
        finally:
            line.end()

    def _take(self, line: _Line, frame: Frame) -> None:
        if frame.kind == Kind.DELIVER:
            try:
                self._deliver(line, frame.body)
            except Exception as error:  # noqa: BLE001 - the next one may do
                print_uncaught(error)
            return
        if frame.kind in {Kind.MESSAGE, Kind.CLOSED}:
            self.exchange.take(frame)
            return
        wait = line.waits.get(frame.request)
        if wait is not None:
            wait.answer = frame
            wait.has_come.set()

    def _deliver(self, line: _Line, piece: bytes) -> None:
        outbox = outbox_of(self._connection)
        if outbox is None:
            self._dropped += 1  # it goes over to TLS just now, or comes to its end
        else:
            outbox.put(piece)
        missed = self._missed()
        if missed != self._told_missed:
            self._told_missed = missed
            line.outbox.put(pack(Kind.MISSED, self._connection.number, texts(str(missed))))
        if outbox is not None and outbox.is_over and not self._is_over:
            self._is_over = True
            line.outbox.put(pack(Kind.OVER, self._connection.number))


class _OutboxElsewhere:
    """What takes pieces, in a handler's process, for the connection of another one."""

    def __init__(self, number: int, half: HandlersHalf) -> None:
        self._number = number
        self._half = half
        self.is_over = False
        self.waiting = 0
        self.missed = 0

    def put(self, data: bytes) -> bool:
        """Have a piece sent by way of the parent."""
        return self._half.send(self._number, data)

    def end(self) -> None:
        """Do nothing: it is the other process's."""


class DistantConnection(Connection):
    """Stands, in a handler's process, for the connection of another one: it can be sent to."""

    __slots__ = ()

    def __init__(
        self, number: int, client_address: Any, half: HandlersHalf, own: Connection
    ) -> None:
        super().__init__(own.server, None, client_address, None, own.engine, own.core)
        self.number = number
        self.outbox = _OutboxElsewhere(number, half)

    def close(self, reason: Reason = Reason.KICKED) -> bool:  # noqa: ARG002 - as of any connection
        """Refuse.

        Raises
        ------
        RuntimeError
            It is another process's.
        """
        raise RuntimeError(
            f"a handler in a process of its own cannot close connection {self.number}, which another process "
            "serves"
        )


def _send_nowhere(data: bytes | memoryview, flags: int) -> int:  # noqa: ARG001 - in the place of a channel's
    raise BlockingIOError
