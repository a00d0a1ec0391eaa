"""A worker's end of the link to its supervisor."""

import _socket
import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from manyhands.connections.outbox_writer import outbox_writer
from manyhands.dealing.channel import Channel, Lane, Terms
from manyhands.model.connection_states import Reason
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import takes_more
from manyhands.runtime.unpatched import brief_lock, start_native_thread
from manyhands.workers.ended_ring import EndedRing
from manyhands.workers.records import Kind, RecordReader, pack

CHUNK = 64 * 1024
"""Bytes that are read at once."""

ANSWERS_WITHIN = 5.0
"""Seconds that a connection with a PROXY header waits for the supervisor, which may be stopped."""

LAST_WORDS = 1.0
"""Seconds that a worker which ends gives its supervisor to read what it has been told."""

_ENDS = Terms(1_000_000, 64 * 1024 * 1024, "close")
"""For what is told of connections: a few records for each, while the supervisor does not read."""

# By identity: to hash a member of an enumeration is a call of Python code.
_REASONS = {id(reason): position for position, reason in enumerate(Reason)}


class _Question:
    """What a connection waits for."""

    __slots__ = ("has_answer", "refusal")

    def __init__(self) -> None:
        self.has_answer = Latch()
        self.refusal: Reason | None = None


class Link:
    """What leads from a worker to its supervisor. Thread-safe; in a forked copy nothing goes over it.

    Parameters
    ----------
    descriptor : int
        The worker's end, which this takes over.
    ended : EndedRing
        Where it notes what has ended.
    """

    def __init__(self, descriptor: int, ended: EndedRing) -> None:
        self._ended = ended
        # Held while an end is noted. No thread waits for it.
        self._noting = brief_lock()
        self._is_copy = False
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, descriptor)
        self._socket.setblocking(True)
        self._channel = Channel(outbox_writer)
        self._channel.attach(self._socket)
        self._lane = Lane(lambda: _ENDS)
        self._questions: dict[int, _Question] = {}
        self._process = os.getpid()
        self.on_drain: Callable[[float | None], object] = _leave_alone
        """Called, in a thread of the system's, when the worker is to drain: in so many seconds; None: as its
        option says."""

        self.on_hurry: Callable[[], object] = _leave_alone
        """Called in the same way when that is to be cut short."""

        self.on_stacks: Callable[[], object] = _leave_alone
        """Called in the same way when the worker is to tell where its handlers stand; it returns at once."""

        self.on_hand_over: Callable[[], object] = _leave_alone
        """Called in the same way when the worker is to hand its connections over; it returns at once."""

        self.on_keep: Callable[[], object] = _leave_alone
        """Called in the same way when it is to hand over no more of them; it returns at once."""

        self.on_lanes: Callable[[int, int], object] = _leave_alone
        """Called in the same way with the position of a listener for datagrams, and the `Lane` to read."""

        renew_in_copies(self, Link._begin_anew)

    def _begin_anew(self) -> None:
        self._channel.begin_anew()
        self._is_copy = True
        self._socket.close()
        self._questions.clear()

    def begin(self) -> None:
        """Read what the supervisor says, from now on.

        Raises
        ------
        RuntimeError
            When there is no thread to be had.
        """
        start_native_thread(self._read, name="manyhands-worker")

    def _say(self, kind: Kind, number: int = 0, body: bytes = b"", reason: int = 0) -> None:
        if os.getpid() == self._process:
            self._channel.put(pack(kind, number, body, reason), self._lane)

    # What it tells

    def tell_ready(self, about: Mapping[str, object]) -> None:
        """Tell that the worker serves."""
        said = {**about, "pid": os.getpid(), "reasons": [reason.value for reason in Reason]}
        self._say(Kind.READY, body=json.dumps(said).encode())

    def tell_failure(self, sentence: str) -> None:
        """Tell why the worker cannot serve."""
        self._say(Kind.FAILED, body=sentence.encode(errors="backslashreplace")[:4096])

    def tell_end(self, number: int, reason: Reason) -> None:
        """Have the supervisor count a connection as closed."""
        position = _REASONS[id(reason)]
        if not self._note_end(number, position):
            self._say(Kind.ENDED, number, reason=position)
        elif self._ended.is_awaited:
            self._ended.is_awaited = False
            self._say(Kind.ENDS)

    def _note_end(self, number: int, position: int) -> bool:
        """Note an end in the ring; return False when it has no room, or another thread notes one just now."""
        # Not waited for, nor by a signal's handler, which has interrupted the holder perhaps.
        if self._is_copy or not self._noting.acquire(blocking=False):
            return False
        try:
            return self._ended.note(number, position)
        finally:
            self._noting.release()

    def give_back(self, place: int) -> None:
        """Have the supervisor deal a connection again."""
        self._say(Kind.RETURNED, place)

    def tell_of_room(self) -> None:
        """Have the supervisor know that something was taken."""
        self._say(Kind.ROOM)

    def tell_stop(self) -> None:
        """Have the supervisor stop the whole server."""
        self._say(Kind.STOP)

    def tell_leaving(self) -> None:
        """Have the supervisor deal to others, and make another worker: this one drains."""
        self._say(Kind.LEAVES)

    def tell_closed(self, listener: int) -> None:
        """Have the supervisor close the listener at a position, and all workers' of it."""
        self._say(Kind.CLOSED, listener)

    def tell_of_cut_off(self, number: int, peer: str, age: float, doing: str) -> None:
        """Tell of a connection that a drain has cut off."""
        said = json.dumps([number, peer, age, doing[:1000]])
        self._say(Kind.LEFT, number, said.encode())

    def tell_gone(self) -> None:
        """Tell that the worker has come to its end as it should, and let all that was told go out."""
        self._say(Kind.GONE)
        deadline = time.monotonic() + LAST_WORDS
        while self._channel.unsent and not self._channel.is_over:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            takes_more(self._socket.fileno(), left)
            self._channel.flush()

    def identify(self, number: int, client_address: Any) -> Reason | None:
        """Have the supervisor apply the limits for addresses; return why the connection is refused, if so."""
        question = self._questions[number] = _Question()
        try:
            # Of an address that is none of the network it is enough to know that.
            said = client_address if isinstance(client_address, tuple) else ""
            self._say(Kind.IDENTIFY, number, json.dumps(said, default=str).encode())
            if not question.has_answer.wait(ANSWERS_WITHIN):
                # The limits cannot be asked: a client more would be one too many.
                return Reason.REFUSED_STOPPING
        finally:
            self._questions.pop(number, None)
        return question.refusal

    # What it is told

    def _read(self) -> None:
        records = RecordReader()
        with contextlib.suppress(OSError, ValueError):
            while data := self._socket.recv(CHUNK):
                for kind, _, place, body in records.feed(data):
                    self._take(kind, place, body)
        # The supervisor has gone: this worker drains by itself.
        self._channel.end()
        for question in list(self._questions.values()):
            question.refusal = Reason.REFUSED_STOPPING
            question.has_answer.set()
        self.on_drain(None)

    def _take(self, kind: int, place: int, body: bytes) -> None:
        if kind == Kind.IDENTIFIED:
            self._take_answer(place, body)
        elif kind == Kind.DRAIN:
            self.on_drain(float(body) if body else None)
        elif kind == Kind.HURRY:
            self.on_hurry()
        elif kind == Kind.STACKS:
            self.on_stacks()
        elif kind == Kind.HAND_OVER:
            self.on_hand_over()
        elif kind == Kind.KEEP:
            self.on_keep()
        elif kind == Kind.LANES:
            self.on_lanes(place, int(body))

    def _take_answer(self, place: int, body: bytes) -> None:
        question = self._questions.get(place)
        if question is not None:
            question.refusal = Reason(body.decode()) if body else None
            question.has_answer.set()


def _leave_alone(*_: object) -> None:
    """Do nothing."""
