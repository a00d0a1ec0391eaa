"""The accept loop: waits on listeners, and hands each connection to its server's hooks.

Small enough to be read in one sitting, since everything goes through it.

Stopping
    The loop looks at `stopping()` whenever it wakes, and a `WakeUp` wakes it: nobody waits for a poll
    interval to pass.

A full engine
    While an engine has no room its listeners are not polled: the kernel's backlog holds who calls. The
    engine wakes the loop when a worker ends. The same goes for a server that has `max_connections`, unless
    it refuses those who call then.

A suspended listener
    It is not polled either, until it is resumed, which wakes the loop.

Accept errors
    A listener whose `accept` found the process out of descriptors rests, 10 ms at first, then twice as
    long each time up to a second. After five seconds of that, waiting clients are refused with the help of
    a reserved descriptor.
"""

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from manyhands.engines import Engine
from manyhands.model import events
from manyhands.model.accept_errors import Backoff
from manyhands.model.connection_states import Reason
from manyhands.runtime.sockets import descriptor_of, is_closed, poll_to_read
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.admission_control import LOOK_AGAIN
from manyhands.serving.core import EngineRoom
from manyhands.serving.reaper import Attendance
from manyhands.serving.spare_descriptor import Reserve
from manyhands.serving.suspend import refuse_the_drained

# poll(2) needs no descriptor of its own and one system call a turn; there are never more than a few.
_ServerSelector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)


class Listener(Protocol):
    """What the loop needs of a server."""

    socket: socket.socket

    @property
    def _stands_still(self) -> bool: ...
    @property
    def _accept_backoff(self) -> Backoff: ...
    @property
    def _engine_room(self) -> EngineRoom: ...

    def fileno(self) -> int:
        """Return the listening socket's descriptor as it is now; it may be replaced at any time."""

    def _seconds_to_rest(self, now: float) -> float: ...
    def _engine_of_next_request(self) -> Engine: ...
    def _describe_listener(self) -> str: ...
    def _handle_request_noblock(self) -> None: ...
    def service_actions(self) -> None:
        """Do the server's regular work."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception that is being handled."""


class Watch:
    """One listener in the loop's selector: polled, or left alone for now."""

    def __init__(
        self, listener: Listener, selector: selectors.BaseSelector, wake: Callable[[], None]
    ) -> None:
        self.listener = listener
        self.engine = listener._engine_of_next_request()
        self.door = listener._engine_room.door
        self._selector = selector
        self._wake = wake
        self._polled: int | None = None
        self.is_crowded = False
        """Whether the engine was full, and the backlog has not been empty since."""

        self.poll()

    def poll(self) -> None:
        """Have the listener polled, by the descriptor that it has now."""
        descriptor = self.listener.fileno()
        if descriptor != self._polled:
            self.leave_alone()
            self._selector.register(descriptor, selectors.EVENT_READ, self)
            self._polled = descriptor
            self._look = poll_to_read(descriptor)

    def leave_alone(self) -> None:
        """Have the listener polled no longer."""
        if self._polled is not None:
            self._selector.unregister(self._polled)
            self._polled = None

    def is_closed(self) -> bool:
        """Tell whether the listening socket has been closed."""
        # Some programs take the socket away when they stop.
        return is_closed(self.listener)

    def is_current(self) -> bool:
        """Tell whether what was polled is still the listener's socket."""
        return descriptor_of(self.listener) == self._polled

    def has_client_waiting(self) -> bool:
        """Look whether another client waits, and could be served now."""
        return bool(
            self.engine.has_room()
            and self.door.has_room()
            and not self.listener._seconds_to_rest(time.monotonic())
            and self._look.poll(0)
            # Last: who called after the listener was suspended is seen only by a look that came later still.
            and not self.listener._stands_still
            and self.is_current()
        )

    def update(self, now: float) -> float | None:
        """Poll the listener, or leave it alone; return the seconds after which to look again, if any."""
        if self.is_closed():
            self.leave_alone()
            return 0.0
        rest = self.listener._seconds_to_rest(now)
        if self.listener._stands_still:
            self.leave_alone()
            return None  # `resume` wakes the loop
        if rest or not self._may_be_polled():
            self.leave_alone()
            return rest or (None if self.door.has_room() else LOOK_AGAIN)
        self.poll()
        return None

    def _may_be_polled(self) -> bool:
        # `has_room` is asked again before each accept, and costs more.
        is_as_before = self._polled is not None and self.engine.has_room() and self.door.has_room()
        return is_as_before or self.has_room()

    def has_room(self) -> bool:
        """Tell whether the next connection would be served at once; if not, who makes room wakes the loop."""
        # Asked for anew each time: a program may change its engine, or its bound, at any time.
        engine = self.engine = self.listener._engine_of_next_request()
        engine.on_room = self._wake
        self.door.look(self.listener)
        has_worker = engine.has_room()
        if has_worker and self.door.has_room(self._wake):
            return True
        if not self.is_crowded:
            self.is_crowded = True
            self._tell_of_crowd(is_engine_full=not has_worker)
        return False

    def _tell_of_crowd(self, *, is_engine_full: bool) -> None:
        described, engine = self.listener._describe_listener(), self.engine
        events.hub.emit(
            events.EngineFull(described, engine.name, engine.limit or 0)
            if is_engine_full
            else events.ServerFull(described, self.door.most)
        )

    def nobody_called(self) -> None:
        """Note that the selector did not name the listener: if it was polled, its backlog is empty."""
        if self._polled is not None:
            self.is_crowded = False


class AcceptLoop:
    """Serves several listeners in the calling thread until told to stop.

    Parameters
    ----------
    listeners
        The servers whose listening sockets to wait on.
    stopping
        Looked at on every turn: True ends the loop.
    """

    def __init__(self, listeners: Sequence[Listener], stopping: Callable[[], bool]) -> None:
        self._listeners = listeners
        self._stopping = stopping
        self.child_asked_to_stop = False
        """Whether a forked child asked for the end of the loop."""

        self._engine_descriptors: set[int] = set()
        self._waker: WakeUp | None = None
        self._has_been_stopped = False

    def stop(self) -> None:
        """End the loop. Thread-safe."""
        self._has_been_stopped = True
        waker = self._waker
        if waker is not None:
            waker.wake()

    def run(self, waker: WakeUp, poll_interval: float | None) -> None:
        """Serve until `stopping()`, or until every listener has been closed.

        Parameters
        ----------
        waker
            Whatever changes the answer of `stopping` wakes this.
        poll_interval
            Seconds between two calls of `service_actions` when nothing happens; None: as long as it takes.

        Raises
        ------
        ValueError
            When a listener is closed at the start, or has been drained.
        Exception
            Whatever `handle_error` of a server raises.
        """
        self._waker = waker
        if self._is_over():
            return
        deadlines = Attendance(self._listeners, waker)
        with (
            self._selector() as selector,
            Reserve() as reserve,
            _woken_by_signals(waker),
            deadlines,
        ):
            selector.register(waker, selectors.EVENT_READ, waker)
            watches = self._watches(selector, waker)
            while watches and not self._is_over():
                timeout = deadlines.turn(_prepare(watches, poll_interval), watches[0].engine.name)
                self._follow_engines(watches, selector)
                called = _wait(selector, watches, timeout)
                if waker in called:
                    self.child_asked_to_stop = waker.drain()
                    deadlines.note_wake()
                self._turn(watches, called, reserve)
                watches = _without_closed(watches)

    def _watches(self, selector: selectors.BaseSelector, waker: WakeUp) -> list[Watch]:
        try:
            refuse_the_drained(self._listeners)
            return [Watch(listener, selector, waker.wake) for listener in self._listeners]
        except ValueError:
            if self._is_over():
                return []  # whoever stopped it has closed the listeners as well, just now
            raise

    def _is_over(self) -> bool:
        return self._has_been_stopped or self.child_asked_to_stop or self._stopping()

    def _selector(self) -> selectors.BaseSelector:
        # Listeners of one loop share their engine.
        own = self._listeners[0]._engine_of_next_request().selector() if self._listeners else None
        return _ServerSelector() if own is None else own

    def _follow_engines(self, watches: Iterable[Watch], selector: selectors.BaseSelector) -> None:
        """Have the loop wake up when a worker of an engine ends."""
        descriptors = {watch.engine.fileno() for watch in watches} - {-1}
        if descriptors != self._engine_descriptors:
            for gone in self._engine_descriptors - descriptors:
                selector.unregister(gone)
            for new in descriptors - self._engine_descriptors:
                selector.register(new, selectors.EVENT_READ, None)
            self._engine_descriptors = descriptors

    def _turn(
        self, watches: Iterable[Watch], called: AbstractSet[object], reserve: Reserve
    ) -> None:
        for watch in watches:
            # Whoever stops the loop wants no further connection served, even one that waits already.
            if self._is_over():
                return
            if watch in called:
                self._take_from(watch, reserve)
            _service(watch)

    def _take_from(self, watch: Watch, reserve: Reserve) -> None:
        """Hand over who waits on a listener: one, or as many as its engine takes at once."""
        # The place that was free before the poll may be gone: listeners can share an engine.
        listener = watch.listener
        if listener._stands_still or not watch.is_current() or not watch.has_room():
            return
        engine = watch.engine
        listener._handle_request_noblock()
        for _ in range(engine.at_once - 1):
            if self._is_over() or not watch.has_client_waiting():
                break
            listener._handle_request_noblock()
        _lose_patience(listener, reserve)


@contextlib.contextmanager
def _woken_by_signals(waker: WakeUp) -> Iterator[None]:
    """Have signals wake the loop, in the main thread, where nobody else has asked for that.

    A hub that is about to sleep would not notice one until something else wakes it.
    """
    is_asked_for = _ask_for_signals(waker)
    try:
        yield
    finally:
        if is_asked_for:
            signal.set_wakeup_fd(-1)


def _ask_for_signals(waker: WakeUp) -> bool:
    try:
        before = signal.set_wakeup_fd(waker.signal_fileno(), warn_on_full_buffer=False)
    except ValueError:
        return False  # not the main thread, and only there are signals handled
    if before != -1:
        signal.set_wakeup_fd(before)
    return before == -1


def _without_closed(watches: Iterable[Watch]) -> list[Watch]:
    """Drop the listeners that have been closed, from the selector too: poll(2) reports them for ever."""
    left = []
    for watch in watches:
        if watch.is_closed():
            watch.leave_alone()
        else:
            left.append(watch)
    return left


def _prepare(watches: Iterable[Watch], poll_interval: float | None) -> float | None:
    """Poll those listeners that there is room for; return how long to sleep at most."""
    now, soonest = time.monotonic(), poll_interval
    for watch in watches:
        timeout = watch.update(now)
        if timeout is not None and (soonest is None or timeout < soonest):
            soonest = timeout
    return soonest


def _wait(
    selector: selectors.BaseSelector, watches: Iterable[Watch], timeout: float | None
) -> AbstractSet[object]:
    """Sleep until something is ready; return what."""
    if [watch for watch in watches if watch.is_crowded]:
        # Only a look without waiting tells that nobody is left in the backlog.
        called = {key.data for key, _ in selector.select(0)}
        for watch in watches:
            if watch not in called:
                watch.nobody_called()
        if called:
            return called
    return {key.data for key, _ in selector.select(timeout)}


def _lose_patience(listener: Listener, reserve: Reserve) -> None:
    """Turn the backlog away when accepting has been impossible for long."""
    backoff = listener._accept_backoff
    if backoff.since is None or not backoff.patience_is_over(time.monotonic()):
        return
    listening = getattr(listener, "socket", None)
    if isinstance(listening, socket.socket) and listening.type == socket.SOCK_STREAM:
        count = reserve.refuse_backlog(listening)
        if count:
            listener._engine_room.books.refuse(Reason.REFUSED_OUT_OF_DESCRIPTORS, count)
            described = listener._describe_listener()
            events.hub.emit(events.BacklogRefused(described, count, backoff.reason))


def _service(watch: Watch) -> None:
    """Do a server's regular work; what it raises is reported and survived."""
    watch.engine.reap()
    if watch.door.has_chores:
        watch.door.do_chores()
    try:
        watch.listener.service_actions()
    except Exception:  # noqa: BLE001 - a hook's failure must not end the service
        watch.listener.handle_error(None, None)
