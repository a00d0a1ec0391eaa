"""How a handler leaves a process between two frames of its client's, and goes on in another one."""

import contextlib
import math
import time
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection, current_connection
from manyhands.connections.hand_over import HandedOver, HandOver, Kept
from manyhands.connections.outbox import Outbox
from manyhands.connections.tls_handshake import is_tls
from manyhands.model.usage_errors import Mistake
from manyhands.runtime.peer_wait import FiberPeerWait, peer_wait


class Passage:
    """The way of one connection into this process, if it comes from another one, and out of it.

    For the thread, or the fiber, that serves the connection.
    """

    def __init__(self, connection: Connection, hand_over: HandOver) -> None:
        self._connection = connection
        self._hand_over = hand_over

    @property
    def latch(self) -> Any:
        """What interrupts all threads that wait for their clients, once they are to leave."""
        return self._hand_over.interrupt

    @property
    def is_asked(self) -> bool:
        """Whether the connection is to leave where its handler waits for its client."""
        return self._hand_over.is_asked

    def bring_in(self) -> Kept | None:
        """Bring in what another process has kept of the connection, and return it; None of a new one.

        What is not for the handler has its place by then.
        """
        connection = self._connection
        kept = self._hand_over.take_kept(connection.number)
        if kept is None:
            return None
        connection.opened_at = kept.opened_at
        for name, seconds in kept.timeouts.items():
            setattr(connection.deadlines, name, seconds)
        rooms = connection.core.rooms
        if kept.unsent:
            outbox = rooms.outbox_of(connection)
            if outbox is not None:
                outbox.put(kept.unsent)
        for room, name in kept.rooms.items():
            rooms.join(connection, room, name)
        return kept

    def open(self, interrupt: Callable[[], object]) -> None:
        """Note that the connection may leave from now on; `interrupt` is called when it is to."""
        self._hand_over.enter(self._connection.number, interrupt)

    def close(self) -> None:
        """Note that the handler has ended, or cannot be left any more."""
        self._hand_over.leave(self._connection.number)

    def stay(self) -> None:
        """Note that the connection does not leave, for now at least."""
        self._hand_over.stay(self._connection.number)

    def depart(self, state: bytes, unread: Callable[[], bytes] = bytes) -> None:
        """Have the connection leave with the state of its handler; return where that cannot be just now.

        Raises
        ------
        HandedOver
            When it has left. What is written on it from now on has no way to the client.
        """
        connection = self._connection
        rooms = connection.core.rooms.names_of(connection)
        unsent = self._unsent()
        if unsent is None or not connection.give_away():
            self.stay()
            return
        own = connection.own_timeouts
        timeouts = {} if own is None else own.own
        kept = Kept(state, unread(), unsent, rooms, timeouts, connection.opened_at)
        self._hand_over.send(connection, connection.request.detach(), kept)
        raise HandedOver

    def _unsent(self) -> bytes | None:
        """Return what waits for the client; None where a write is under way, or the client has gone."""
        outbox = self._connection.outbox
        return outbox.take_unsent() if isinstance(outbox, Outbox) else b""


def passage_of_caller() -> Passage | None:
    """Return the passage of the connection that the caller serves; None where it has none."""
    connection = current_connection()
    hand_over = None if connection is None else connection.core.hand_over
    return None if connection is None or hand_over is None else Passage(connection, hand_over)


def make_resumable(handler: Any) -> None:
    """Have a handler of frames, which is just made, leave when that is asked, or go on where one was."""
    passage = passage_of_caller()
    if passage is not None:
        handler.handle = _Stay(handler, passage).serve


class _Stay:
    """The time of a handler of frames in this process."""

    def __init__(self, handler: Any, passage: Passage) -> None:
        self._handler = handler
        self._passage = passage
        self._wait: Any = None
        self._is_in_peace = False
        """Whether its waits are not interrupted any more, for it was asked and stays."""

    def serve(self) -> None:
        """Do what `handle` does, or `resume`; end where the connection leaves."""
        handler, passage = self._handler, self._passage
        del handler.handle  # which was this
        if is_tls(handler.connection):
            handler.handle()  # what TLS has agreed on stays in this process
            return
        kept = passage.bring_in()
        self._heed_interrupts()
        handler.rfile.receive_by = self.receive
        try:
            if kept is None:
                handler.handle()
            else:
                handler.rfile.feed(kept.unread)
                handler.resume(kept.state)
        except HandedOver:
            pass
        except OSError:
            # Its `finally` has written to a client that is not its own any more.
            if not handler.is_handed_over:
                raise
        finally:
            passage.close()

    def _heed_interrupts(self) -> None:
        self._wait = wait = peer_wait(self._handler.connection, self._passage.latch)
        self._is_in_peace = False
        # Threads share what interrupts them.
        self._passage.open(wait.interrupt if isinstance(wait, FiberPeerWait) else _leave_alone)

    def receive(self, size: int, seconds: float | None) -> bytes | None:
        """Receive while the handler waits for a frame; None when nothing has come within the seconds.

        Raises
        ------
        HandedOver
            When the connection has left this process.
        OSError
            When the connection is lost.
        """
        if self._is_in_peace and not self._passage.is_asked:
            self._heed_interrupts()
        until = math.inf if seconds is None else time.monotonic() + seconds
        stays = False
        while True:
            stays = stays or self._was_asked_to_leave()
            left = None if seconds is None else max(0.0, until - time.monotonic())
            data: bytes | None = self._wait.receive(size, left)
            if data is not None or time.monotonic() >= until:
                return data
            # It was interrupted, to leave. By now it may be to stay again.
            self._wait.forget_interrupt()

    def _was_asked_to_leave(self) -> bool:
        """Tell whether the handler was asked to leave, and stays; where it may, it leaves."""
        if not self._passage.is_asked:
            return False
        self._leave_if_it_may()
        # From now on it is waited for in peace; before the next frame it is asked again.
        self._wait.ignore_interrupts()
        self._is_in_peace = True
        return True

    def _leave_if_it_may(self) -> None:
        handler = self._handler
        # What it reads from may be another connection by now.
        is_its_own = handler.connection.fileno() == handler.request.fileno() >= 0
        state = self._paused() if is_its_own else None
        if state is None:
            self._passage.stay()
            return
        try:
            self._passage.depart(state, handler.rfile.take_unread)
        except HandedOver:
            handler.is_handed_over = True
            raise

    def _paused(self) -> bytes | None:
        handler = self._handler
        with contextlib.suppress(OSError, ValueError):
            handler.wfile.flush()
        try:
            return _checked(handler, handler.pause())
        except Exception:  # noqa: BLE001 - its client need not suffer from it: the connection stays
            handler.server.handle_error(handler.request, handler.client_address)
            return None


def _checked(handler: Any, state: object) -> bytes | None:
    if state is None or isinstance(state, bytes):
        return state
    kind, wrong = type(handler).__name__, type(state).__name__
    raise Mistake(f"{kind}.pause returns bytes, or None to stay, not {wrong}")


def _leave_alone() -> None:
    """Do nothing."""
