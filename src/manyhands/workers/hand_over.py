"""How a worker hands connections back to its supervisor, and has what others have handed over."""

import contextlib
import errno
import os
import socket
import time
from _queue import SimpleQueue
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from manyhands.connections.hand_over import ConnectionToHandOver, Kept, can_be_left
from manyhands.model.connection_states import Reason
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.locks import Latch
from manyhands.runtime.sockets import unix_socket
from manyhands.runtime.unpatched import start_native_thread
from manyhands.runtime.wakeup import PollableLatch
from manyhands.workers.records import Handed, pack_handed

SENT_WITHIN = 5.0
"""Seconds that a worker which ends gives those on their way back; and that one of these waits for a
descriptor, or for memory, where there is none."""

_PAUSE = 0.05
"""Seconds until that is tried again."""

_MAY_PASS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS}
"""What a system that is short of descriptors, or of memory, answers (unix(7), memfd_create(2))."""


def hand_over_of(
    channel: int, handlers: Iterable[object], engine: str, tell_end: "TellEnd"
) -> "WorkerHandOver | None":
    """Return what hands over the connections of handler classes on an engine; None unless all of them can be.

    The descriptor of the hand-over channel is taken over.
    """
    if not all(can_be_left(handler, engine) for handler in handlers):
        os.close(channel)
        return None
    return WorkerHandOver(channel, tell_end, PollableLatch())


TellEnd = Callable[[int, Reason], object]


class _Going(NamedTuple):
    """A connection on its way back, with its descriptor."""

    handed: Handed
    descriptor: int
    kept: Kept


class WorkerHandOver:
    """Hands connections back, and has what other workers have kept of those that are resumed. Thread-safe.

    Parameters
    ----------
    channel : int
        The descriptor of the hand-over channel, which this takes over.
    tell_end
        Has the supervisor count a connection as closed: one that could not be handed back.
    interrupt : PollableLatch
        What interrupts all threads that wait for their clients.
    """

    def __init__(self, channel: int, tell_end: TellEnd, interrupt: PollableLatch) -> None:
        self._channel = unix_socket(socket.SOCK_SEQPACKET, channel)
        self._channel.setblocking(True)
        self._tell_end = tell_end
        self.interrupt = interrupt
        self.is_asked = False
        """Whether connections are to be handed over."""

        self._interrupts: dict[int, Callable[[], object]] = {}
        self._staying: set[int] = set()
        self._gone: set[int] = set()
        self._kept: dict[int, Kept] = {}
        self._positions: dict[Any, int] = {}
        self._queue: SimpleQueue[_Going | Latch] = SimpleQueue()
        self._claims: dict[str, object] = {}
        renew_in_copies(self, WorkerHandOver._begin_anew)

    def _begin_anew(self) -> None:
        """Be of no use in a forked copy of the process, which serves one connection to its end."""
        self._channel.close()
        self._interrupts.clear()

    def note_listener(self, server: Any, position: int) -> None:
        """Note the position of a server among the listeners."""
        self._positions[server] = position

    def ask(self) -> None:
        """Have all connections handed over, each where its handler waits for a frame."""
        if self.is_asked:
            return
        self.is_asked = True
        self.interrupt.set()
        for interrupt in tuple(self._interrupts.values()):
            interrupt()

    def keep(self) -> None:
        """Have none handed over any more: nobody can resume them."""
        # In this order: a thread that is interrupted finds that it is asked, or waits on.
        self.interrupt.clear()
        self.is_asked = False

    # For the handlers

    def enter(self, number: int, interrupt: Callable[[], object]) -> None:
        """Note that a connection may be handed over, and what is called when it is to be."""
        self._staying.discard(number)
        self._interrupts[number] = interrupt

    def stay(self, number: int) -> None:
        """Note that a connection is not handed over, for now at least."""
        self._staying.add(number)

    def leave(self, number: int) -> None:
        """Note that its handler has ended."""
        self._interrupts.pop(number, None)
        self._staying.discard(number)

    def is_to_go(self, number: int) -> bool:
        """Tell whether a connection is to be handed over."""
        return self.is_asked and number in self._interrupts and number not in self._staying

    # Out of this process

    def has_taken(self, number: int) -> bool:
        """Tell, once, whether a connection that has ended here goes on elsewhere."""
        is_gone = number in self._gone
        self._gone.discard(number)
        return is_gone

    def send(self, connection: ConnectionToHandOver, descriptor: int, kept: Kept) -> None:
        """Have a connection go back to the supervisor. The descriptor is taken over. Never waits."""
        number = connection.number
        self._gone.add(number)
        position = self._positions.get(connection.server, 0)
        handed = Handed(number, position, connection.client_address)
        self._queue.put(_Going(handed, descriptor, kept))
        claim = object()
        # One step: of two handlers that leave at the same time one starts the thread.
        if self._claims.setdefault("", claim) is claim:
            try:
                start_native_thread(self._send_all, name="manyhands-hand-over")
            except RuntimeError:
                self._claims.clear()  # with the next one it is tried again, or at the end

    def wait_until_sent(self, seconds: float = SENT_WITHIN) -> None:
        """Wait until all have gone that are on their way back, so many seconds at the most."""
        sent = Latch()
        if self._claims:
            self._queue.put(sent)
            sent.wait(seconds)
        elif not self._queue.empty():
            self._queue.put(sent)
            self._send_all(until=sent)

    def _send_all(self, until: Latch | None = None) -> None:
        while True:
            going = self._queue.get()
            if isinstance(going, Latch):
                going.set()
                if going is until:
                    return
                continue
            try:
                self._send(going)
            except Exception as error:  # noqa: BLE001 - the others are to go on, whatever it is with this one
                if not isinstance(error, OSError):
                    # An address that a hook has made, and JSON does not have, say.
                    print_uncaught(error)
                self._tell_end(going.handed.place, Reason.CUT_OFF)
            finally:
                os.close(going.descriptor)

    def _send(self, going: _Going) -> None:
        """Send one back, when the supervisor takes it.

        Raises
        ------
        OSError
            When it cannot be sent: the supervisor has gone, as a rule.
        """
        deadline = time.monotonic() + SENT_WITHIN
        while True:
            try:
                kept = _written(going.kept.as_bytes())
                try:
                    message = pack_handed(going.handed)
                    socket.send_fds(self._channel, [message], [going.descriptor, kept])
                finally:
                    os.close(kept)
            except OSError as error:
                if error.errno not in _MAY_PASS or time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    # Into this process

    def note_kept(self, number: int, descriptor: int) -> None:
        """Note what is kept of a connection that is resumed here. The descriptor is taken over."""
        try:
            size = os.fstat(descriptor).st_size
            self._kept[number] = Kept.of_bytes(os.pread(descriptor, size, 0))
        finally:
            os.close(descriptor)

    def take_kept(self, number: int) -> Kept | None:
        """Return what was kept of a connection, once; None of one that is new."""
        return self._kept.pop(number, None)


def _written(data: bytes) -> int:
    """Return the descriptor of a file in memory with these bytes."""
    descriptor = os.memfd_create("manyhands-kept", os.MFD_CLOEXEC)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    return descriptor
