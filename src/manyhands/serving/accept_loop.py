"""The accept loop: waits on listeners, and hands each connection to its server's hooks.

Small enough to be read in one sitting, since everything goes through it.

Stopping
    The loop asks `is_stopping` whenever it wakes, and a `WakeUp` wakes it: no poll interval is waited for.

A full engine
    While an engine has no room its listeners are not polled: the kernel's backlog holds new clients. The
    engine wakes the loop when a worker ends. The same goes for a server that has `max_connections`, unless
    it refuses clients then.

A suspended listener
    It is not polled either, until it is resumed, which wakes the loop.

Accept errors
    A listener whose `accept` found the process out of descriptors rests, 10 ms at first, then twice as
    long each time up to a second. After five seconds of that, waiting clients are refused with the help of
    a spare descriptor.
"""

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from manyhands.model import lazy_events as events
from manyhands.model.accept_errors import Backoff
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.sockets import accept_at_once, has_client_waiting
from manyhands.runtime.spare_descriptor import SpareDescriptor
from manyhands.runtime.unpatched import are_waits_patched, green_selectors, original
from manyhands.runtime.wakeup import WakeUp
from manyhands.serving.core import core_of
from manyhands.serving.followed_options import OPTIONS_INTERVAL
from manyhands.serving.listener_watch import ListenerWatch
from manyhands.serving.plain_turns import serve_plainly
from manyhands.serving.reaper import ReaperTurns
from manyhands.serving.request_hooks import Listener, handle_request_noblock

# poll(2) needs no descriptor of its own and one system call a turn; there are never more than a few.
ServerSelector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)


def new_selector() -> selectors.BaseSelector:
    """Return what a server waits with in the calling thread, be it a fiber of gevent's or eventlet's."""
    green = green_selectors()
    selector: selectors.BaseSelector = (
        ServerSelector() if green is None else green.DefaultSelector()
    )
    return selector


MOST_REFUSED = 256
"""Clients that one call refuses: the rest wait for the next turn, so that the accept loop can still be
stopped."""


def close_waiting(listener: socket.socket, most: int) -> int:
    """Accept and close up to so many clients that wait on a bound stream socket; return how many it were."""
    count, close = 0, original(os, "close")
    with contextlib.suppress(OSError):
        # Asked first, for `accept` could block: a listener of the program's may.
        while count < most and has_client_waiting(listener):
            descriptor, _ = accept_at_once(listener)
            close(descriptor)
            count += 1
    return count


class AcceptLoop:
    """Serves several listeners in the calling thread until told to stop.

    Parameters
    ----------
    listeners
        The servers whose listening sockets to wait on; they share their engines.
    is_stopping
        Asked on every turn: what is true ends the loop.
    chores
        Called after every turn; may be added to, and taken from, at any time.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        is_stopping: Callable[[], object],
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        self._listeners = listeners
        self._is_stopping = is_stopping
        self._chores = chores
        self.child_asked_to_stop = False
        """Whether a forked child asked for the end of the loop."""

        self._engine_descriptors: set[int] = set()
        self._wakeup: WakeUp | None = None
        self._has_been_stopped = False

    def stop(self) -> None:
        """End the loop. Thread-safe."""
        self._has_been_stopped = True
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.wake()

    def run(self, wakeup: WakeUp, poll_interval: float | None) -> None:
        """Serve until it is to stop, or until every listener has been closed.

        Parameters
        ----------
        wakeup
            Whatever changes the answer of `is_stopping` wakes this.
        poll_interval
            Seconds between two calls of `service_actions` when nothing happens; None: as long as it takes.

        Raises
        ------
        ValueError
            When a listener is closed at the start, or has been drained.
        Exception
            Whatever `handle_error` of a server raises.
        """
        self._wakeup = wakeup
        if self._is_over():
            return
        with (
            self._selector() as selector,
            SpareDescriptor() as spare,
            wakeup.woken_by_signals(),
            self._attending(wakeup) as reaper_turns,
        ):
            selector.register(wakeup, selectors.EVENT_READ, wakeup)
            may_be_plain = (
                type(selector) is ServerSelector
                and not are_waits_patched()
                and len(self._listeners) == 1
                and self._chores == ()
            )
            watches = self._watches(selector, wakeup)
            while watches and not self._is_over():
                timeout = self._prepare(watches, poll_interval, selector, reaper_turns)
                if [watch for watch in watches if watch.is_closed]:
                    watches = [watch for watch in watches if not watch.is_closed]
                    continue
                called = _wait(selector, watches, timeout)
                if wakeup in called:
                    self.child_asked_to_stop = wakeup.drain()
                    reaper_turns.was_woken = True
                self._turn(watches, called, spare)
                if may_be_plain and called == set(watches):
                    serve_plainly(watches[0], wakeup, self._is_stopping, poll_interval)

    def _watches(self, selector: selectors.BaseSelector, wakeup: WakeUp) -> list[ListenerWatch]:
        try:
            _refuse_the_drained(self._listeners)
            return [ListenerWatch(listener, selector, wakeup.wake) for listener in self._listeners]
        except ValueError:
            if self._is_over():
                return []  # the stop has closed the listeners as well, just now
            raise

    def _is_over(self) -> bool:
        return bool(self._has_been_stopped or self.child_asked_to_stop or self._is_stopping())

    def _selector(self) -> selectors.BaseSelector:
        first = self._listeners[0]
        own = core_of(first).engines.of(first).selector()
        return new_selector() if own is None else own

    @contextlib.contextmanager
    def _attending(self, wakeup: WakeUp) -> Iterator[ReaperTurns]:
        """Have the reaper and admission control know of the loop while it runs."""
        core = core_of(self._listeners[0])
        core.reaper.wake_loop = wakeup.wake_from_handler
        core.reaper.accept_loops.add(self)
        # What the program has set since the last loop holds from the first client on.
        core.options.changed()
        try:
            yield ReaperTurns(core.reaper)
        finally:
            core.reaper.accept_loops.discard(self)
            core.admission.forget(wakeup.wake)

    def _prepare(
        self,
        watches: Sequence[ListenerWatch],
        poll_interval: float | None,
        selector: selectors.BaseSelector,
        reaper_turns: ReaperTurns,
    ) -> float | None:
        """Poll those listeners that there is room for; return how long to sleep at most."""
        now, soonest = time.monotonic(), poll_interval
        for watch in watches:
            timeout = watch.prepare(now)
            if timeout is not None and (soonest is None or timeout < soonest):
                soonest = timeout
        first = watches[0]
        first.core.options.follow(first.listener, now, first.core.engines)
        has_processes = first.engine.name == "processes"
        if has_processes or self._engine_descriptors:
            self._follow_engines(watches, selector)
        if not has_processes:
            return soonest
        seconds = first.core.options.seconds_to_look()
        if seconds is not None and (soonest is None or seconds < soonest):
            soonest = seconds
        return reaper_turns.turn(soonest, OPTIONS_INTERVAL)

    def _follow_engines(
        self, watches: Iterable[ListenerWatch], selector: selectors.BaseSelector
    ) -> None:
        """Have the loop wake up when a worker process ends."""
        descriptors = {watch.engine.fileno() for watch in watches} - {-1}
        if descriptors != self._engine_descriptors:
            for gone in self._engine_descriptors - descriptors:
                selector.unregister(gone)
            for new in descriptors - self._engine_descriptors:
                selector.register(new, selectors.EVENT_READ, None)
            self._engine_descriptors = descriptors

    def _turn(
        self, watches: Iterable[ListenerWatch], called: AbstractSet[object], spare: SpareDescriptor
    ) -> None:
        for watch in watches:
            # A stop is for the connections that wait already, too.
            if self._is_over():
                return
            if watch in called:
                self._take_from(watch, spare)
            listener, core = watch.listener, watch.core
            watch.engine.reap()
            if core.admission.has_chores or core.unserved.refusals.are_due:
                core.do_chores(listener)
            try:
                listener.service_actions()
            except Exception:  # noqa: BLE001 - a hook's failure must not end the service
                listener.handle_error(None, None)
        for chore in tuple(self._chores):
            try:
                chore()
            except Exception:  # noqa: BLE001 - as little must one of these
                self._listeners[0].handle_error(None, None)

    def _take_from(self, watch: ListenerWatch, spare: SpareDescriptor) -> None:
        """Hand over the clients that wait on a listener: one, or as many as its engine takes at once."""
        for number in range(watch.engine.at_once):
            if number and self._is_over():
                break
            # The poll told of the first client. The place that was free then may be gone: listeners can
            # share an engine.
            if not watch.may_accept(is_first=not number):
                break
            handle_request_noblock(watch.listener)
        core = watch.core
        if core.accept_backoff.since is not None:
            _refuse_backlog(watch, core.accept_backoff, spare)
        elif core.shortage.backoff.since is not None and core.shortage.is_of_descriptors:
            _refuse_backlog(watch, core.shortage.backoff, spare)


def _wait(
    selector: selectors.BaseSelector, watches: Iterable[ListenerWatch], timeout: float | None
) -> AbstractSet[object]:
    """Sleep until something is ready; return what."""
    if [watch for watch in watches if watch.is_crowded]:
        # Only a look without waiting tells that a backlog is empty.
        called = {key.data for key, _ in selector.select(0)}
        for watch in watches:
            if watch not in called:
                watch.note_empty_backlog()
        if called:
            return called
    return {key.data for key, _ in selector.select(timeout)}


def _refuse_backlog(watch: ListenerWatch, backoff: Backoff, spare: SpareDescriptor) -> None:
    """Turn the backlog away when accepting has been impossible for long."""
    if not backoff.patience_is_over(time.monotonic()):
        return
    listening = getattr(watch.listener, "socket", None)
    if isinstance(listening, socket.socket) and listening.type == socket.SOCK_STREAM:
        # Without a free descriptor a client cannot even be refused, since only an accepted connection can be
        # closed. With the spare one given up they are accepted and closed one by one.
        with spare.given_up():
            count = close_waiting(listening, MOST_REFUSED)
        reason = Reason.REFUSED_OUT_OF_DESCRIPTORS
        note_refused(watch.listener, count, reason, backoff.reason)


def note_refused(server: Listener, count: int, reason: Reason, why: str) -> None:
    """Count clients of the backlog that were closed unserved, if there were any, and tell of them."""
    if count:
        core_of(server).registry.refuse(reason, count)
        if event_hub.has_subscribers:
            described = format_address(server.server_address)
            event_hub.emit(events.BacklogRefused(described, count, why))


class LetGo(socket.socket):
    """Stands where a listening socket was that a drain has let go of."""


def has_let_go(server: object) -> bool:
    """Tell whether a drain has let go of a server's listening socket."""
    return isinstance(getattr(server, "socket", None), LetGo)


def _refuse_the_drained(servers: Iterable[object]) -> None:
    """Raise `ValueError`, as for closed listeners, when a drain has let go of one of these."""
    if any(map(has_let_go, servers)):
        raise ValueError("the server has drained, and listens no more: make a new one")
