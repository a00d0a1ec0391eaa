"""The parent's half: deals what handlers in processes of their own, and the program, tell the others.

Nothing is dealt, and there is no thread for it, until a handler or the program has something to tell: a
process that forks had better have no second thread. The one that deals is a thread of the system's that takes
no lock which a forked handler could need, but those that are fresh in each copy of the process, and calls
nothing of the program's.
"""

import contextlib
import os
import select
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.outbox import Receiver
from manyhands.connections.outboxes import ConnectionWithOutbox, outbox_of
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Rooms
from manyhands.dealing.calls import Calls
from manyhands.dealing.handlers_half import HandlersHalf
from manyhands.dealing.peer import DistantOutbox, Peer
from manyhands.dealing.requests import Requests
from manyhands.dealing.uplink import Uplink
from manyhands.engines import ProcessesEngine, Task
from manyhands.exchange.local import LocalExchange
from manyhands.model.connection_states import State
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import parent_server, renew_in_copies
from manyhands.runtime.unpatched import brief_lock, original, start_native_thread

IDLE = 1.0
"""Seconds after which the thread that deals ends, when no process hears any more."""


class _Channels:
    """What one thread deals over: an uplink, and the processes whose channels have come over it."""

    def __init__(self) -> None:
        self.uplink = Uplink()
        self.epoll: Any = None
        self.peers: dict[int, Peer] = {}
        self.calls = Calls()
        self.is_dealt = False
        """Whether the thread is there."""

        self.is_to_end = False
        """Whether the thread is to end with the last channel."""

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        for peer in self.peers.values():
            peer.close_copy()
        if self.epoll is not None:
            self.epoll.close()


class Dealer:
    """Deals for one server what the processes of its engine `processes` tell each other. Thread-safe.

    Parameters
    ----------
    engine : ProcessesEngine
        What forks them.
    rooms : Rooms
    registry : Registry
    exchange : LocalExchange
        What they, and the program, tell each other with.
    wake_loop : callable
        Wakes the accept loop, from a handler's process too, whose next turn calls `look`.
    """

    def __init__(
        self,
        engine: ProcessesEngine,
        rooms: Rooms,
        registry: Registry,
        exchange: LocalExchange,
        wake_loop: Callable[[], object],
    ) -> None:
        # Weakly: it has this one.
        self._engine = weakref.ref(engine)
        self._rooms = rooms
        self._registry = registry
        self._wake_loop = wake_loop
        self._requests = Requests(rooms, registry, exchange)
        self._notes: deque[Callable[[], object]] = deque()
        self._halves: dict[int, HandlersHalf] = {}
        """By the process; each handler's has one."""

        self._process = os.getpid()
        self._channels: _Channels | None = None
        self._lock = brief_lock()
        self.is_used = False
        """Whether anything was dealt, so that each process is to hear from its beginning."""

    # Nothing is renewed in each copy: what a handler's process touches, it has to copy, and each pays for it.

    @property
    def deals_here(self) -> bool:
        """Whether this is the process that has forked the others."""
        return os.getpid() == self._process

    @property
    def elsewhere(self) -> HandlersHalf | None:
        """In the process of a handler, what leads to its parent; None in the parent, and in other copies."""
        here = os.getpid()
        if here == self._process:
            return None
        half = self._halves.get(here)
        if half is None:
            made = self._new_half()
            # `setdefault` is one step: of two threads that come first, both get the same.
            half = None if made is None else self._halves.setdefault(here, made)
        return half

    def _new_half(self) -> HandlersHalf | None:
        engine, channels = self._engine(), self._channels
        task = None if engine is None else engine.carried
        if parent_server() != self._process or channels is None or not isinstance(task, Connection):
            return None
        return HandlersHalf(task, channels.uplink, self._wake_loop)

    # What the engine tells

    def prepare(self) -> None:
        """Be ready for processes that are forked from now on."""
        if not self.deals_here:
            # A copy of the process, which serves by itself.
            self._lock, self._process = brief_lock(), os.getpid()
            self._channels, self.is_used = None, False
            self._notes.clear()
        with self._lock:
            if self._channels is None:
                # Out of descriptors, the client comes first; the next fork tries again.
                with contextlib.suppress(OSError):
                    self._channels = _Channels()
            self._rooms.dealer = self._registry.dealer = self

    def begin_in_child(self, task: Task) -> None:
        """In a process that was forked for a task, and called before that: hear when its handler begins."""
        assert isinstance(task, Connection)  # noqa: S101 - tells the type checker
        task.outbox = None  # that of the original
        half = self.elsewhere
        if half is not None and task.is_registered:
            task.before_handler(half.begin)

    def hear(self) -> None:
        """In such a process: begin to hear, for it is called. For signal handlers."""
        half = self.elsewhere
        if half is not None:
            half.hear()

    def look(self) -> None:
        """Begin to deal, if a process has something to tell; do what is noted. For the accept loop."""
        channels = self._channels
        if channels is not None and channels.uplink.was_used and not channels.is_dealt:
            if not self.deals_here:
                return
            with self._lock:
                self._begin_dealing(channels)
        while self._notes:
            with contextlib.suppress(IndexError):  # another loop has taken it
                self._notes.popleft()()

    def rest(self) -> None:
        """Give back what is not needed while there are no processes."""
        if not self.deals_here:
            return
        with self._lock:
            engine = self._engine()
            if engine is not None and engine.running():
                return  # another thread has just forked one
            channels, self._channels = self._channels, None
            if channels is None:
                return
            channels.is_to_end = True
            if channels.is_dealt:
                channels.uplink.wake()
            else:
                channels.uplink.close()

    # What the program tells

    def outbox_of(self, connection: ConnectionWithOutbox) -> Receiver | None:
        """Return what takes pieces for a connection; None where nothing does.

        A process that does not hear yet is called, and what is put waits for it.
        """
        engine = self._engine()
        if engine is None or connection.engine is not engine or not self.deals_here:
            return outbox_of(connection)
        with self._lock:
            channels = self._channels
            if connection.outbox is not None or channels is None:
                return connection.outbox
            ring = engine.call(connection)
            if ring is None or not self._begin_dealing(channels):
                return None
            assert isinstance(connection, Connection)  # noqa: S101 - tells the type checker
            peer = Peer(connection, self._note)
            outbox = DistantOutbox(connection.number, peer)
            connection.outbox = outbox
            if channels.calls.add(connection.number, outbox, peer, ring):
                channels.uplink.wake()
        return _unless_over(connection)

    def _note(self, act: Callable[[], object]) -> None:
        self._notes.append(act)
        self._wake_loop()

    # Dealing

    def _begin_dealing(self, channels: _Channels) -> bool:
        """Have the thread deal; return False where there is none to be had."""
        self.is_used = True
        if channels.is_dealt:
            return True
        try:
            if channels.epoll is None:
                channels.epoll = original(select, "epoll")()
                channels.epoll.register(channels.uplink.fileno(), select.EPOLLIN)
            renew_in_copies(channels, _Channels.close_copies)
            start_native_thread(self._deal, channels)
        except (OSError, RuntimeError):
            return False  # the next turn of the accept loop tries again
        channels.is_dealt = True
        return True

    def _deal(self, channels: _Channels) -> None:
        while True:
            is_idle = False
            try:
                is_idle = self._turn(channels)
            except Exception as error:  # noqa: BLE001 - no memory, say; the others go on
                print_uncaught(error)
                original(time, "sleep")(0.1)
            is_unused = (is_idle or channels.is_to_end) and not channels.peers
            if is_unused and self._has_ended(channels):
                return

    def _turn(self, channels: _Channels) -> bool:
        """Deal what has come; return whether nothing has, for a while."""
        with self._lock:
            seconds_left = channels.calls.seconds_left()
        if seconds_left is None and not channels.peers:
            seconds_left = IDLE
        ready = channels.epoll.poll(seconds_left)
        for descriptor, _ in ready:
            peer = channels.peers.get(descriptor)
            if peer is None:
                self._welcome(channels)
            else:
                self._hear(channels, descriptor, peer)
        if channels.calls:
            self._call_again(channels)
        return not ready

    def _welcome(self, channels: _Channels) -> None:
        """Take the channels that have come up."""
        while (hello := channels.uplink.receive()) is not None:
            number, channel = hello
            connection = self._registry.get(number)
            with self._lock:
                peer = channels.calls.take(number)
            if peer is None:
                peer = Peer(connection, self._note)
                if connection is not None:
                    connection.outbox = DistantOutbox(number, peer, connection.missed)
                    _unless_over(connection)
            peer.attach(channel)
            channels.peers[channel.fileno()] = peer
            channels.epoll.register(channel.fileno(), select.EPOLLIN)

    def _hear(self, channels: _Channels, descriptor: int, peer: Peer) -> None:
        try:
            is_there = peer.read(self._requests)
        except Exception as error:  # noqa: BLE001 - the others go on
            print_uncaught(error)
            is_there = False
        if is_there:
            return
        # Before it is closed: a copy of the process may have it too, and epoll would tell of it for ever.
        channels.epoll.unregister(descriptor)
        del channels.peers[descriptor]
        peer.close()
        if peer.connection is not None:
            self._rooms.forget(peer.connection)

    def _call_again(self, channels: _Channels) -> None:
        with self._lock:
            rings, given_up = channels.calls.due()
        for ring in rings:
            ring()
        for outbox in given_up:
            outbox.give_up()

    def _has_ended(self, channels: _Channels) -> bool:
        """End dealing, unless there is something to deal after all."""
        with self._lock:
            if channels.calls or not channels.uplink.forget_use():
                return False
            channels.is_dealt = False
            channels.epoll.close()
            channels.epoll = None
            if channels.is_to_end:
                channels.uplink.close()
        return True


def _unless_over(connection: Any) -> Receiver | None:
    """Return the outbox that a connection has just got, unless it has ended meanwhile, and ended none."""
    if connection.state is State.CLOSED:
        connection.outbox.end()
        return None
    outbox: Receiver | None = connection.outbox
    return outbox
