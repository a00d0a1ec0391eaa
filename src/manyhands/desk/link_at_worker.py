"""A worker's end of the link to its desk, which is in another process: the desk as its handlers have it."""

import _socket
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from manyhands.connections.outbox_writer import outbox_writer
from manyhands.dealing.channel import Channel, Lane, Terms
from manyhands.dealing.frames import Frame, FrameReader, pack
from manyhands.desk.call_handler import MAINTENANCE
from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.link_frames import (
    CHUNK,
    KINDS,
    Kind,
    body_of,
    body_of_text,
    plain,
    text_of,
    value,
)
from manyhands.desk.messages import Message, from_the_desk
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import peer_process, peer_user
from manyhands.runtime.unpatched import start_native_thread

_QUESTIONS = Terms(10_000_000, 2**40, "close")
"""Each call has one question, of what was received at once: so they are bounded by the calls."""

_TOLD = Terms(1000, 1024 * 1024, "drop_new")
"""For what the operator is told beside."""

_CONNECTS_WITHIN = 5.0

_ENDS_WITHIN = 2.0
"""Seconds that the desk gets to read all that this worker has told it."""

_PF_EXITING = 0x4
"""A flag of a process (``include/linux/sched.h``)."""


class DeskElsewhere:
    """The desk of a worker: a `call_handler.Desk`. Thread-safe, and fibers may wait in it.

    Parameters
    ----------
    address : bytes
        Of the desk's process: an abstract name.
    number : int
        The worker's.
    on_lost : callable
        Called, in a thread of the system's, when the desk has gone: all calls were ended then.
    """

    def __init__(
        self, address: bytes, number: int, on_lost: Callable[[], object] = lambda: None
    ) -> None:
        self._address = address
        self._number = number
        self._on_lost = on_lost
        self._socket = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._channel = Channel(outbox_writer)
        self._questions = Lane(lambda: _QUESTIONS)
        self._told = Lane(lambda: _TOLD)
        self._calls: dict[int, CallElsewhere] = {}
        self._is_closed = False
        self._has_ended = Latch()
        self._desk_is_closing = False
        self._desk_process: int | None = None
        self._acts: dict[int, Callable[[CallElsewhere, Frame], object]] = {
            Kind.DONE: lambda call, frame: call.answer(value(frame.body)),
            Kind.FAILED: lambda call, _: call.answer(_Failed),
            Kind.SAY: lambda call, frame: call.connection.say(text_of(frame.body)),
            Kind.HANG_UP: lambda call, frame: call.connection.hang_up(Ending(text_of(frame.body))),
            Kind.ENCODING: _set_encoding,
        }

    def start(self) -> None:
        """Reach the desk.

        Raises
        ------
        OSError
            When it is not there, or is another user's.
        RuntimeError
            When the system has no thread left.
        """
        self._socket.settimeout(_CONNECTS_WITHIN)
        self._socket.connect(self._address)
        self._socket.settimeout(None)
        if peer_user(self._socket) != os.geteuid():
            raise PermissionError("the process at the address of the desk is another user's")
        self._desk_process = peer_process(self._socket)
        self._channel.attach(self._socket)
        self.send(Kind.HELLO, 0, body_of(self._number))
        start_native_thread(self._read, name="manyhands-desk-link")

    def close(self) -> None:
        """Leave the desk in good order, with a word that it waits for. Once more does no harm."""
        self._is_closed = True
        if self.send(Kind.ENDS, 0):
            self._has_ended.wait(_ENDS_WITHIN)
        self._channel.end()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # As the handlers have it

    def take(self, connection: CallIO, peer: str, connection_number: int) -> "CallElsewhere":
        """Enter a call, and welcome the caller."""
        call = CallElsewhere(self, connection_number, connection)
        # Before it is told: the desk may have something to say at once.
        self.know(connection_number, call)
        try:
            call.enter(peer)
        except BaseException:
            call.forget()
            raise
        return call

    def take_back(self, connection: CallIO, connection_number: int) -> "CallElsewhere | None":
        """Have a call go on that another worker has parked; None where it is over."""
        call = CallElsewhere(self, connection_number, connection)
        return call if call.go_on() else None

    def tell(self, sentence: str) -> None:
        """Tell the operator what is no call's."""
        self.tell_all([sentence])

    def tell_all(self, sentences: Sequence[str]) -> None:
        """Tell the operator several sentences. Never waits; they are dropped where too many wait."""
        self._channel.put(pack(Kind.TELL, 0, body_of(list(sentences))), self._told)

    def dismiss(self, connection_number: int) -> None:
        """End a call, since this worker is to end. A desk that closes ends its calls itself."""
        call = self._calls.get(connection_number)
        if call is not None and not self._desk_is_closing:
            self.end(call)

    def end(self, call: "CallElsewhere") -> None:
        """End a call from this side, with a word to the caller. Once more does nothing."""
        if not call.claim_end():
            return
        if self._desk_is_closing or _is_exiting(self._desk_process):
            goodbye, ending = "the desk has closed", Ending.DESK_CLOSED
        else:
            goodbye, ending = MAINTENANCE, Ending.WORKER_LEFT
        call.connection.say(from_the_desk(goodbye))
        call.connection.hang_up(ending)

    # For its calls

    def know(self, number: int, call: "CallElsewhere") -> None:
        """Know a call, to which the desk may have something to say."""
        self._calls[number] = call

    def send(self, kind: Kind, number: int, body: bytes = b"") -> bool:
        """Send a frame, soon; return False where the desk has gone."""
        return self._channel.put(pack(kind, number, body), self._questions)

    @property
    def has_gone(self) -> bool:
        """Whether nothing is answered any more."""
        return self._channel.is_over

    def forget(self, number: int) -> bool:
        """Know a call no more; return whether it was known."""
        return self._calls.pop(number, None) is not None

    # In the thread that reads

    def _read(self) -> None:
        frames = FrameReader(KINDS)
        try:
            with contextlib.suppress(OSError):
                while data := self._socket.recv(CHUNK):
                    for frame in frames.feed(data):
                        self._take(frame)
        except ValueError as error:
            print_uncaught(error)
        self._lose()

    def _take(self, frame: Frame) -> None:
        if frame.kind == Kind.SAY_ALL:
            numbers, text = value(frame.body)
            said = frame._replace(kind=Kind.SAY, body=body_of_text(text))
            for number in numbers:
                self._do(said._replace(number=number))
        elif frame.kind == Kind.CLOSING:
            self._desk_is_closing = True
            self.send(Kind.KNOWS, 0)
        else:
            self._do(frame)

    def _do(self, frame: Frame) -> None:
        call = self._calls.get(frame.number)
        if call is None:
            return  # it has ended just now
        try:
            self._acts[frame.kind](call, frame)
        except Exception as error:  # noqa: BLE001 - of one call; the others go on
            print_uncaught(error)

    def _lose(self) -> None:
        self._channel.end()
        # In this order: what waits for an answer finds its call ended.
        calls = list(self._calls.values())
        if not self._is_closed:
            for call in calls:
                self.end(call)
        for call in calls:
            call.answer(None)
        self._socket.close()
        self._has_ended.set()
        if not self._is_closed:
            self._on_lost()


class _Failed:
    """In the place of an answer: the desk has a fault."""


class CallElsewhere:
    """A call at a desk in another process: a `call_handler.CallAtDesk`."""

    __slots__ = (
        "_answer",
        "_desk",
        "_has_answer",
        "_number",
        "_unclaimed",
        "came_too_late",
        "connection",
    )

    def __init__(self, desk: DeskElsewhere, number: int, connection: CallIO) -> None:
        self._desk = desk
        self._number = number
        self.connection = connection
        self.came_too_late = False
        self._has_answer: Latch | None = None
        self._answer: Any = None
        # A list, for `pop` is one step.
        self._unclaimed = [None]

    def claim_end(self) -> bool:
        """Tell whether the caller is to end the call: of a drain and the end of the link one does."""
        with contextlib.suppress(IndexError):
            self._unclaimed.pop()
            return True
        return False

    def enter(self, peer: str) -> None:
        """Be entered at the desk."""
        came_too_late = self._ask(Kind.TAKE, body_of(peer))
        if came_too_late is None:
            self._desk.end(self)
        self.came_too_late = came_too_late is not False

    def hear(self, messages: Sequence[Message]) -> bool:
        """Have the desk hear; return whether the caller says goodbye."""
        return bool(self._ask(Kind.HEAR, body_of(plain(messages))))

    def speaks_too_fast(self) -> None:
        """Tell the desk so."""
        self._ask(Kind.FAST)

    def only_listens(self) -> bool:
        """Tell the desk so; return False where nobody answers any more."""
        return bool(self._ask(Kind.LISTENS))

    def spoke_too_long(self, limit: int) -> None:
        """Tell the desk so."""
        self._ask(Kind.TOO_LONG, body_of(limit))

    def leave(self, ending: Ending) -> None:
        """Tell the desk that the call has ended."""
        self._ask(Kind.LEAVES, body_of_text(ending))
        self._desk.forget(self._number)

    def park(self) -> bool:
        """Have the desk keep what it has to say, until the call goes on; return False where it has gone."""
        is_parked = bool(self._ask(Kind.PARK))
        if is_parked:
            self._desk.forget(self._number)
        return is_parked

    def go_on(self) -> bool:
        """Have the desk say it here, from now on; return False where the call is over."""
        self._desk.know(self._number, self)
        goes_on = bool(self._ask(Kind.GO_ON))
        if not goes_on:
            self._desk.forget(self._number)
        return goes_on

    def forget(self) -> None:
        """Tell the desk that the call is over, unless it knows."""
        if self._desk.forget(self._number):
            self._desk.send(Kind.FORGET, self._number)

    def _ask(self, kind: Kind, body: bytes = b"") -> Any:
        """Ask the desk, and wait for its answer; None where it has gone."""
        has_answer = self._has_answer = Latch()
        self._answer = None
        # The end of the link looks for those that wait when nothing can be sent any more.
        if self._desk.send(kind, self._number, body) and not self._desk.has_gone:
            has_answer.wait()
        if self._answer is _Failed:
            raise RuntimeError("the desk has a fault, which its own process has told of")
        return self._answer

    # For the thread that reads

    def answer(self, answer: Any) -> None:
        """Give what was asked for."""
        has_answer, self._has_answer = self._has_answer, None
        if has_answer is not None:
            self._answer = answer
            has_answer.set()


def _is_exiting(process: int | None) -> bool:
    """Tell whether a process is about to end, or has ended.

    When it is killed the kernel closes its sockets one by one, and the supervisor's may be closed before the
    desk's. But first of all it notes that the process exits (``do_exit`` in Linux's ``kernel/exit.c``).
    """
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    # Behind the name, which may have parentheses in it (proc_pid_stat(5)).
    return bool(int(told.rpartition(")")[2].split()[6]) & _PF_EXITING)


def _set_encoding(call: CallElsewhere, frame: Frame) -> None:
    call.connection.encoding = text_of(frame.body)
