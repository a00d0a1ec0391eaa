"""One end of the channel between a server's process and that of a handler: whole frames, none of which waits.

Frames of several sorts share a channel: pieces, answers, the messages of each subscription. Each sort has a
`Lane` with a bound of its own, so what overflows in one lane costs nothing in another.
"""

import _socket
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from manyhands.connections.outbox_queue import SHARE
from manyhands.connections.outbox_terms import AT_ONCE
from manyhands.runtime.locks import is_held_here
from manyhands.runtime.unpatched import brief_rlock

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Terms(NamedTuple):
    """What may wait in a lane.

    Attributes
    ----------
    most : int
        Frames.
    size : int
        Bytes; a frame of any length may wait where no other one does.
    when_behind : str
        What becomes of a frame that has no room: it takes the place of the oldest ones with
        ``"drop_oldest"``, else it is dropped.
    """

    most: int
    size: int
    when_behind: str


CONTROL = Terms(100_000, 16 * 1024 * 1024, "close")
"""For frames that are never dropped. As an asker waits for each answer, or for a second, these are few: a
process that has so many waiting reads nothing for minutes."""

LATEST = Terms(1, 0, "drop_oldest")
"""For frames each of which says all that the ones before have said."""


class Lane:
    """Frames of one sort that wait in a channel. For the holder of the channel's lock, but for its counts."""

    __slots__ = ("_terms", "_turns", "frames", "missed", "size")

    def __init__(self, terms: Callable[[], Terms]) -> None:
        self._terms = terms
        self._turns = 0
        self.frames: deque[bytes] = deque()
        self.size = 0
        """Bytes that wait."""

        self.missed = 0
        """Frames that were dropped."""

    def put(self, frame: bytes) -> bool:
        """Have a frame wait; return False when it is dropped."""
        most, size, when_behind = self._terms()
        if when_behind == "drop_oldest":
            while not self._fits(frame, most, size):
                self._take()
                self.missed += 1
        if not self._fits(frame, most, size):
            self.missed += 1
            return False
        self.frames.append(frame)
        self.size += len(frame)
        return True

    def _fits(self, frame: bytes, most: int, size: int) -> bool:
        return not self.frames or (len(self.frames) < most and self.size + len(frame) <= size)

    def _take(self) -> bytes:
        frame = self.frames.popleft()
        self.size -= len(frame)
        return frame

    def needs_turn(self) -> bool:
        """Note a further turn, unless each frame that waits has one: those of dropped frames are left."""
        if self._turns >= len(self.frames):
            return False
        self._turns += 1
        return True

    def take_turn(self) -> bytes:
        """Take the oldest frame in a turn; nothing where it was dropped."""
        self._turns -= 1
        return self._take() if self.frames else b""


class Watcher(Protocol):
    """What tells a channel that its other end reads again."""

    def watch(self, outbox: "Channel", /) -> None:
        """Have a channel flushed once its other end reads."""

    def forget(self, outbox: "Channel", /) -> None:
        """Watch a channel no longer."""


class Channel:
    """Sends frames in their order, at once or as fast as the other end reads. Thread-safe.

    Parameters
    ----------
    watcher : Watcher

    Notes
    -----
    Until its socket is attached all that is put waits, within the same bounds. Not for signal handlers.
    """

    __slots__ = (
        "_batch",
        "_is_at_work",
        "_is_clear",
        "_lock",
        "_offset",
        "_order",
        "_socket",
        "_watcher",
        "control",
        "descriptor",
        "failure",
        "is_over",
    )

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._socket: _socket.socket | None = None
        # Held for sends that do not wait. Reentrant, so that it can be asked
        # whether the caller has it.
        self._lock = brief_rlock()
        self._is_at_work = False
        """Whether what waits is just being changed, or a part of a frame has gone out."""

        self._is_clear = False
        """Whether a frame may go out at once: nothing waits, and there is a socket."""

        # What goes out in which turn. A lane that has dropped old frames has turns left for new ones, so a
        # frame never goes out after one of any lane that was put later.
        self._order: deque[Lane] = deque()
        self._batch = b""
        self._offset = 0
        self.control = Lane(lambda: CONTROL)
        self.descriptor = -1
        self.is_over = False
        """Whether nothing can be sent any more."""

        self.failure = ""
        """Why this end has ended the channel, where that was no end as it should be: a sentence."""

    def attach(self, connection: _socket.socket) -> None:
        """Send what waits, and all that follows, on a socket. The caller closes that, after `end`."""
        if not self._locked(self._begin, connection):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _begin(self, connection: _socket.socket) -> bool:
        if not self.is_over:
            self._socket, self.descriptor = connection, connection.fileno()
            self._flush()
        return not self.is_over

    def put(self, frame: bytes, lane: Lane) -> bool:
        """Have a frame sent in its lane; return False when it is dropped, and when the channel is over."""
        return self._locked(self._put, frame, lane)

    def put_and_tell(self, frame: bytes, lane: Lane) -> tuple[bool, bool]:
        """Do what `put` does; return also whether any frame of the lane was dropped for it."""
        return self._locked(self._put_and_tell, frame, lane)

    def _put_and_tell(self, frame: bytes, lane: Lane) -> tuple[bool, bool]:
        missed = lane.missed
        return self._put(frame, lane), lane.missed != missed

    def _locked(
        self,
        act: Callable[Parameters, Result],
        /,
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Result:
        lock = self._lock
        if is_held_here(lock):
            raise RuntimeError(
                "a signal's handler, or a finalizer, has interrupted a send, and cannot send there too"
            )
        try:
            # Within the `try`, as in `runtime.locks.holding`.
            lock.acquire()
            result = act(*arguments, **keywords)
        except BaseException as error:
            if is_held_here(lock):
                if self._is_at_work and not self.is_over:
                    # As a rule just after a send: how much of the frame went out is not known then.
                    self._end(f"a frame that was being sent was interrupted: {error!r}")
                lock.release()
            raise
        lock.release()
        return result

    def _put(self, frame: bytes, lane: Lane) -> bool:
        if self.is_over:
            return False
        if self._is_clear:
            return self._send(frame)
        self._is_at_work = True
        is_kept = lane.put(frame)
        if lane.needs_turn():
            self._order.append(lane)
        self._is_at_work = False
        return is_kept

    def _send(self, frame: bytes) -> bool:
        assert self._socket is not None  # noqa: S101 - tells the type checker: before that nothing is clear
        sent: list[int] = []
        whole = [len(frame)]
        try:
            # One step of C, and what interrupts it finds in the list how much has gone out. An exception just
            # after a plain call would take its result along.
            sent.extend(map(self._socket.send, (frame,), (AT_ONCE,)))
        except BlockingIOError:
            pass
        except BaseException as error:
            # A Unix socket gives no TimeoutError: that is of a signal's handler.
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                self._end()  # as in `_send_some`
                return False
            self._is_at_work = bool(sent) and sent != whole
            raise
        # Nothing is called before this is known: there the exception could come.
        if sent == whole:
            return True
        self._is_at_work = True
        self._batch, self._offset = frame, sum(sent)
        self._send_some()
        self._is_at_work = False
        return not self.is_over

    def say(self, frame: bytes) -> bool:
        """Have a frame sent that is never dropped: where even that has no room the channel has failed."""
        is_sent = self.put(frame, self.control)
        if not is_sent:
            self.end("the process at the other end does not read what it has asked for")
        return is_sent

    @property
    def unsent(self) -> int:
        """Bytes that have had their turn, and wait for the other end to read."""
        return len(self._batch) - self._offset

    def flush(self) -> None:
        """Send what the other end takes now, up to a share. For the watcher."""
        self._locked(self._flush)

    def _flush(self) -> None:
        if not self.is_over:
            self._is_at_work = True
            self._send_some()
            self._is_at_work = False

    def _send_some(self) -> None:
        assert self._socket is not None  # noqa: S101 - tells the type checker: before that nothing is clear
        self._is_clear = False
        left = SHARE
        while left > 0:
            if self._offset == len(self._batch) and not self._has_next():
                self._is_clear = True
                return
            try:
                sent = self._socket.send(memoryview(self._batch)[self._offset :], AT_ONCE)
            except BlockingIOError:
                break
            except TimeoutError:
                raise  # as in `_send`
            except OSError:
                self._end()  # the other end is gone, as the thread that reads is told, too
                return
            self._offset += sent
            left -= sent
        try:
            self._watcher.watch(self)
        except (OSError, RuntimeError) as error:
            self._end(f"nothing tells when the other end of the channel reads: {error}")

    def _has_next(self) -> bool:
        frames: list[bytes] = []
        size = 0
        while self._order and size < SHARE:
            frames.append(frame := self._order.popleft().take_turn())
            size += len(frame)
        self._batch, self._offset = b"".join(frames), 0
        return size > 0

    def end(self, failure: str = "") -> None:
        """Send nothing more, and have both ends read an end of file. Once more does no harm.

        When it has returned, no byte is on its way to the descriptor.
        """
        self._locked(self._end_watched, failure)

    def _end_watched(self, failure: str) -> None:
        if not self.is_over:
            self._end(failure)
            if self._socket is not None:
                self._watcher.forget(self)

    def _end(self, failure: str = "") -> None:
        self.is_over, self._is_clear, self.failure = True, False, failure
        self._order.clear()
        self._batch, self._offset = b"", 0
        if failure and self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def begin_anew(self) -> None:
        """Be over, in a forked copy of the process, and give the copy of the socket back."""
        self._lock = brief_rlock()
        self.is_over, self._is_clear = True, False
        if self._socket is not None:
            self._socket.close()
