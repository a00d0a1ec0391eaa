"""The parent's side: deals what handlers in processes of their own, and the program, tell the others.

Nothing is dealt, and there is no thread for it, until a handler or the program has something to tell: a
process that forks had better have no second thread. The one that deals is a thread of the system's that takes
no lock which a forked handler could need, but those that are fresh in each copy of the process, and calls
nothing of the program's.
"""

import _socket
import contextlib
import os
import select
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from manyhands.connections.connection import Connection
from manyhands.connections.outbox_terms import Receiver
from manyhands.connections.outboxes import ConnectionWithOutbox, outbox_of
from manyhands.connections.registry import Registry
from manyhands.connections.rooms import Rooms
from manyhands.dealing.channel import Channel
from manyhands.dealing.child_side import ChildSide
from manyhands.dealing.notices import Notices
from manyhands.dealing.peer import Peer
from manyhands.dealing.requests import Requests
from manyhands.dealing.shared_terms import SharedTerms
from manyhands.dealing.uplink import Uplink
from manyhands.engines import ProcessesEngine, Task
from manyhands.exchange.local import LocalExchange
from manyhands.model.connection_states import Reason, State
from manyhands.runtime.error_reports import print_uncaught
from manyhands.runtime.fork_hooks import forking, parent_server, renew_in_copies
from manyhands.runtime.locks import holding
from manyhands.runtime.unpatched import brief_rlock, original, start_native_thread

IDLE = 1.0
"""Seconds after which the thread that deals ends, when no process is attached any more."""


class _Channels:
    """What one thread deals over: an uplink, and the processes whose channels have come over it."""

    def __init__(self) -> None:
        self.uplink = Uplink()
        self.epoll: Any = None
        self.peers: dict[int, Peer] = {}
        """By the descriptors of their channels."""

        self.sockets: dict[int, _socket.socket] = {}
        """The channels themselves, from the moment on in which they are there."""

        self.notices = Notices()
        self.is_dealt = False
        """Whether the thread is there."""

        self.is_to_end = False
        """Whether the thread is to end with the last channel."""

    def close_copies(self) -> None:
        """Give back, in a forked copy of the process, what is the original's."""
        for peer in [*self.peers.values(), *self.notices.peers()]:
            peer.channel.begin_anew()
        for channel in self.sockets.values():
            channel.close()
        if self.epoll is not None:
            self.epoll.close()

    # As what tells that a process reads

    def watch(self, channel: Channel) -> None:
        """Have a channel flushed, by the thread that deals, once its process reads."""
        self.epoll.modify(channel.descriptor, select.EPOLLIN | select.EPOLLOUT)

    def forget(self, channel: Channel) -> None:
        """Leave it to the thread that deals, which reads the end of the channel."""


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
    terms : SharedTerms
        What the options say of outboxes.
    wake_loop : callable
        Wakes the accept loop, from a handler's process too, whose next turn calls `look`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - all that it deals with
        self,
        engine: ProcessesEngine,
        rooms: Rooms,
        registry: Registry,
        exchange: LocalExchange,
        terms: SharedTerms,
        wake_loop: Callable[[], object],
    ) -> None:
        # Weakly: it has this one.
        self._engine = weakref.ref(engine)
        self._rooms = rooms
        self._registry = registry
        self._wake_loop = wake_loop
        self._exchange = exchange
        self._terms = terms
        self._requests = Requests(rooms, registry, terms)
        self._notes: deque[Callable[[], object]] = deque()
        self._child_sides: dict[int, ChildSide] = {}
        """By the process; each handler's has one."""

        self._process = os.getpid()
        self._channels: _Channels | None = None
        self._lock = brief_rlock()
        self._is_to_rest = False
        """Whether the server is closed, and what it has is given back with the last process."""

        self.is_used = False
        """Whether anything was dealt, so that each process is to attach at its beginning."""

    # Nothing is renewed in each copy: what a handler's process touches, it has to copy, and each pays for it.

    @property
    def deals_here(self) -> bool:
        """Whether this is the process that has forked the others."""
        return os.getpid() == self._process

    @property
    def parent(self) -> ChildSide | None:
        """In the process of a handler, what leads to its parent; None in the parent, and in other copies."""
        here = os.getpid()
        if here == self._process:
            return None
        side = self._child_sides.get(here)
        if side is None:
            made = self._new_child_side()
            # `setdefault` is one step: of two threads that come first, both get the same.
            side = None if made is None else self._child_sides.setdefault(here, made)
        return side

    def _new_child_side(self) -> ChildSide | None:
        engine, channels = self._engine(), self._channels
        task = None if engine is None else engine.carried
        if parent_server() != self._process or channels is None or not isinstance(task, Connection):
            return None
        return ChildSide(task, channels.uplink, self._wake_loop)

    # What the engine tells

    def prepare(self, task: Task) -> None:
        """Be ready for a process that is forked for a task, and for those after it."""
        assert isinstance(task, Connection)  # noqa: S101 - tells the type checker
        if not self._terms.are_noted:
            # Else a property of the program's fails in handlers, as on the other engines.
            with contextlib.suppress(Exception):
                self._terms.note(*task.outbox_terms())
        if not self.deals_here:
            # A copy of the process, which serves by itself.
            self._lock, self._process = brief_rlock(), os.getpid()
            self._channels, self.is_used = None, False
            self._notes.clear()
        with self._lock:
            self._is_to_rest = False
            if self._channels is None:
                # Out of descriptors, the client comes first; the next fork tries again.
                with contextlib.suppress(OSError):
                    self._channels = _Channels()
            self._rooms.dealer = self._registry.dealer = self

    def begin_in_child(self, task: Task) -> None:
        """In a process that was forked for a task, and notified before: attach when its handler begins."""
        assert isinstance(task, Connection)  # noqa: S101 - tells the type checker
        task.outbox = None  # that of the original
        side = self.parent
        if side is not None and task.is_registered:
            task.before_handler(side.begin)

    def attach(self) -> None:
        """In such a process: attach, for it was notified. For signal handlers."""
        side = self.parent
        if side is not None:
            side.attach()

    def look(self) -> None:
        """Begin to deal, if a process has something to tell; do what is noted. For the accept loop."""
        channels = self._channels
        if channels is not None and channels.uplink.was_used and not channels.is_dealt:
            if not self.deals_here:
                return
            with self._lock:
                if channels is self._channels:  # else they are given back
                    self._begin_dealing(channels)
        while self._notes:
            with contextlib.suppress(IndexError):  # another loop has taken it
                self._notes.popleft()()
        if self._is_to_rest:
            self.rest()

    def rest(self) -> None:
        """Give back what is not needed while there are no processes, now or once the last one has ended."""
        if not self.deals_here:
            return
        with self._lock:
            engine = self._engine()
            self._is_to_rest = engine is not None and engine.running() > 0
            if self._is_to_rest:
                return
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

        A process that has not attached yet is notified, and what is put waits for it.
        """
        engine = self._engine()
        if engine is None or connection.engine is not engine or not self.deals_here:
            return outbox_of(connection)
        # As Ctrl-C may interrupt the program here.
        holding(self._lock, self._make_peer, engine, connection)
        return None if connection.outbox is None else _unless_over(connection)

    def _make_peer(self, engine: ProcessesEngine, connection: ConnectionWithOutbox) -> None:
        channels = self._channels
        if connection.outbox is not None or channels is None:
            return
        notify = engine.notifier(connection.task)
        if notify is None or not self._begin_dealing(channels):
            return
        assert isinstance(connection, Connection)  # noqa: S101 - tells the type checker
        peer = self._new_peer(channels, connection)
        if channels.notices.add(connection.number, peer, notify):
            channels.uplink.wake()
        connection.outbox = peer

    def _new_peer(self, channels: _Channels, connection: Connection | None) -> Peer:
        return Peer(connection, self._exchange, channels, self._terms, self.note)

    def note(self, act: Callable[[], object]) -> None:
        """Have something done in the accept loop, which may call what is the program's."""
        self._notes.append(act)
        self._wake_loop()

    # Dealing

    def _begin_dealing(self, channels: _Channels) -> bool:
        """Have the thread deal; return False where there is none to be had."""
        if not self.is_used:
            self.is_used = self._terms.are_wanted = True
            self._wake_loop()  # it may sleep as if they were not
        if channels.is_dealt:
            return True
        try:
            if channels.epoll is None:
                channels.epoll = original(select, "epoll")()
                channels.epoll.register(channels.uplink.fileno(), select.EPOLLIN)
            renew_in_copies(channels, _Channels.close_copies)
            start_native_thread(self._deal, channels, name="manyhands-dealing")
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
            seconds_left = channels.notices.seconds_left()
        if seconds_left is None and not channels.peers:
            seconds_left = IDLE
        ready = channels.epoll.poll(seconds_left)
        for descriptor, events in ready:
            peer = channels.peers.get(descriptor)
            if peer is None:
                self._take_channels(channels)
                continue
            if events & select.EPOLLOUT:
                # In this order: what has to wait again is watched again.
                channels.epoll.modify(descriptor, select.EPOLLIN)
                peer.channel.flush()
            if events & ~select.EPOLLOUT:
                self._read(channels, descriptor, peer)
        if channels.notices:
            self._notify_again(channels)
        return not ready

    def _take_channels(self, channels: _Channels) -> None:
        """Take the channels that have come up."""
        while True:
            with forking:
                come = channels.uplink.receive()
                if come is None:
                    return
                number, channel = come
                channels.sockets[channel.fileno()] = channel
            try:
                self._attach(channels, number, channel)
            except Exception as error:  # noqa: BLE001 - no memory, say; its process attaches anew
                print_uncaught(error)
                channels.peers.setdefault(channel.fileno(), self._new_peer(channels, None))
                self._end(channels, channel.fileno())

    def _attach(self, channels: _Channels, number: int, channel: _socket.socket) -> None:
        """Have a process attached by its channel."""
        connection, descriptor = self._registry.here(number), channel.fileno()
        before = None if connection is None else connection.outbox
        if isinstance(before, Peer) and before.descriptor in channels.peers:
            # Its channel has ended, which is about to be read.
            self._end(channels, before.descriptor)
        with self._lock:
            # In one go: what is put into one that the program makes in between would wait for ever.
            peer = channels.notices.take(number) or self._new_peer(channels, connection)
            if connection is not None:
                connection.outbox = peer
        if connection is not None:
            _unless_over(connection)
        channels.peers[descriptor] = peer
        channels.epoll.register(descriptor, select.EPOLLIN)
        peer.attach(channel)

    def _read(self, channels: _Channels, descriptor: int, peer: Peer) -> None:
        failure = ""
        try:
            is_there = peer.read(self._requests)
        except Exception as error:  # noqa: BLE001 - the others go on
            print_uncaught(error)
            is_there, failure = False, "it has sent what cannot be read"
        if not is_there:
            self._end(channels, descriptor, failure)

    def _end(self, channels: _Channels, descriptor: int, failure: str = "") -> None:
        """End a channel; one that has failed is not lost in silence: its connection ends with it."""
        peer = channels.peers.pop(descriptor)
        connection, failure = peer.connection, failure or peer.channel.failure
        # Before it is closed: a copy of the process may have it too, and epoll would tell of it for ever.
        with contextlib.suppress(OSError):  # it was never there: no memory
            channels.epoll.unregister(descriptor)
        channel = channels.sockets.pop(descriptor)
        peer.close()
        channel.close()
        if connection is None:
            return
        if connection.outbox is peer:
            self._rooms.forget(connection)
        if failure:
            print_uncaught(
                BrokenPipeError(f"the channel to connection {connection.number}: {failure}")
            )
            connection.close(Reason.HANDLER_FAILED)

    def _notify_again(self, channels: _Channels) -> None:
        with self._lock:
            due, given_up = channels.notices.due()
        for notify in due:
            notify()
        for peer in given_up:
            peer.give_up()

    def _has_ended(self, channels: _Channels) -> bool:
        """End dealing, unless there is something to deal after all."""
        with self._lock:
            if channels.notices or not channels.uplink.forget_use():
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
