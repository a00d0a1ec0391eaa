"""Which fibers wait for which descriptors: in plain Python, for where `_poller` could not be compiled.

Both modules have the same names and are under the same tests; the compiled one takes half the time.

One epoll descriptor holds all connections of a thread, and gevent's loop watches that one descriptor. A
connection that was once waited for stays in it, so that request and response cost no `epoll_ctl`. One that
is ready while no fiber waits for it is taken out until one does, for epoll would tell of it again and again.

Fibers that are ready are switched to one from the other, the hub last: that halves the switches.
"""

import _socket
import contextlib
import errno
import os
import select
import sys
import time
import weakref
from _socket import MSG_DONTWAIT
from collections.abc import Iterator
from socket import SocketIO
from typing import TYPE_CHECKING, Any

from gevent import monkey
from gevent.exceptions import BlockingSwitchOutError
from greenlet import getcurrent, greenlet

from manyhands.engines.fibers.foreign_threads import (
    READ,
    WRITE,
    DescriptorWait,
    cannot_watch,
    native_thread_id,
    wait_in_foreign_thread,
)
from manyhands.engines.fibers.spinning import note_end

if TYPE_CHECKING:
    from manyhands.runtime.socket_limits import Limits

BATCH = 256
"""Descriptors served between two turns of gevent's loop: its timers must not wait for a whole crowd."""

_GONE = select.EPOLLERR | select.EPOLLHUP
"""What epoll reports whether asked for or not (epoll_ctl(2)); it wakes readers and writers alike."""

_TIMED_OUT = object()

_NO_WAITS: "frozenset[DescriptorWait]" = frozenset()

_close = monkey.get_original("os", "close")  # `gevent.monkey`'s own waits for a turn of the loop
_new_epoll: Any = monkey.get_original("select", "epoll")  # `gevent.monkey` takes the name away

# Not the hub's own `switch`, which does more than is needed here.
_switch = greenlet.switch


class Poller:
    """Wakes the fibers of one thread when their descriptors are ready.

    Parameters
    ----------
    hub : gevent.hub.Hub
        The hub of the calling thread.
    """

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.thread = native_thread_id()
        self._epoll: select.epoll | None = _new_epoll()
        # Not owned: of a connection that has no other reference left, nothing may stay.
        self._channels: weakref.WeakValueDictionary[int, Channel] = weakref.WeakValueDictionary()
        self._ready: Iterator[Any] = iter(())
        self._watcher = hub.loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._dispatch)

    @property
    def is_open(self) -> bool:
        """Whether fibers can wait: not any more once it is closed, nor in a process forked from this one."""
        return self._epoll is not None

    def close(self) -> None:
        """Give the descriptor back; no fiber may wait any more. For the poller's own thread."""
        self._watcher.close()
        self.forget()

    def forget(self) -> None:
        """Close this process's copy of the epoll descriptor, which a forked process shares."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()

    def _dispatch(self) -> None:
        """Wake the fibers whose descriptors are ready. Runs in the hub."""
        assert self._epoll is not None  # noqa: S101 - the watcher has gone with it
        self._ready = self._woken(self._epoll.poll(0, BATCH))
        for fiber in self._ready:
            try:
                _switch(fiber)
            except BaseException:  # noqa: BLE001 - of a fiber of the program's; an engine's ends with what it raises
                self.hub.handle_error(fiber, *sys.exc_info())

    def _woken(self, reported: list[tuple[int, int]]) -> Iterator[Any]:
        for descriptor, events in reported:
            channel = self._channels.get(descriptor)
            if channel is not None:
                yield from channel._woken(events)
            else:
                # A connection that was not closed here: another process, or a duplicate, still has it open.
                self._forget_descriptor(descriptor)

    def _forget_descriptor(self, descriptor: int) -> None:
        if self._epoll is not None:
            with contextlib.suppress(OSError):  # EBADF: it has been closed meanwhile
                self._epoll.unregister(descriptor)

    def _give_way(self) -> Any:
        """Let the next fiber run that is ready, or the hub; return what the wake-up passes."""
        fiber = next(self._ready, self.hub)
        return None if fiber is getcurrent() else _switch(fiber)

    def wait_any(self, channels: "list[Channel]", timeout: float | None) -> list[int]:
        """Wait until one of several channels can be read; return the descriptors of those that can.

        No other fiber may wait for any of them, and the caller must be in the poller's thread. After
        `timeout` seconds there are none; with 0 other fibers have their turn, but the caller does not wait.
        """
        fiber = getcurrent()
        timer = None if timeout is None else self.hub.loop.timer(timeout)
        try:
            for channel in channels:
                self._watch(channel, channel._events | READ)
                channel._reader = fiber
            if timer is not None:
                timer.start(_wake, channels, fiber)
            self._give_way()
            return [channel.fd for channel in channels if channel._reader is not fiber]
        finally:
            for channel in channels:
                channel._forget(READ, fiber)
            if timer is not None:
                timer.close()

    def _watch(self, channel: "Channel", events: int) -> None:
        """Have epoll tell of these events of a channel; of none: have it forget the channel."""
        before, channel._events = channel._events, events
        if self._epoll is None or events == before:
            return
        try:
            # Most connections stay registered from their first wait to their end: no call at all above.
            if not before:
                self._register(self._epoll, channel.fd, events)
            elif events:
                self._epoll.modify(channel.fd, events)
            else:
                self._epoll.unregister(channel.fd)
        except OSError as error:
            # EBADF or ENOENT: the program closed the descriptor, whereupon epoll forgot it. The next call
            # that uses it raises that.
            if events:
                channel._events = before
                raise cannot_watch(error.errno or 0) from None

    def _register(self, epoll: "select.epoll", descriptor: int, events: int) -> None:
        try:
            epoll.register(descriptor, events)
        except FileExistsError:
            # Left by a channel that a signal kept from closing.
            epoll.modify(descriptor, events)


class Channel:
    """A descriptor, and the fibers that wait for it: at most one to read and one to write.

    Parameters
    ----------
    poller : Poller
        Of the thread whose fibers wait.
    fd : int
        A descriptor. It is the channel's own, and is closed with it, until `give_up`.
    """

    __slots__ = (
        "__weakref__",
        "_beside",
        "_events",
        "_is_fresh",
        "_is_owner",
        "_reader",
        "_writer",
        "ends",
        "fd",
        "is_closed",
        "limits",
        "poller",
        "timeout",
    )

    def __init__(self, poller: Poller, fd: int) -> None:
        self.fd = fd
        if fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.poller = poller
        self.timeout: float | None = None
        """Seconds that the functions below wait: None for ever, 0 not at all."""

        self.limits: Limits | None = None
        """The limits that the program has set in the kernel; None without."""

        self.ends = 0
        """How many receives have met the end of the input."""

        self.is_closed = False
        """Whether it has been closed, in another thread perhaps, even if `close` has not run yet."""

        self._is_owner = True
        self._is_fresh = True
        self._events = 0
        self._reader: Any = None
        self._writer: Any = None
        self._beside: frozenset[DescriptorWait] = _NO_WAITS
        poller._channels[fd] = self

    def give_up(self) -> int:
        """Return the descriptor, which the caller closes from now on."""
        self._is_owner = False
        return self.fd

    def __del__(self) -> None:
        if self.fd < 0:
            return
        # It was never closed. A duplicate may still be open, and epoll would tell of it for ever (epoll(7)).
        if self.poller._channels.get(self.fd, self) is self:
            self.poller._forget_descriptor(self.fd)
        if self._is_owner:
            _close(self.fd)

    def shutdown(self, how: int) -> None:
        """Shut the connection down (shutdown(2))."""
        # For one call, so that the connection need not get a socket object for its life.
        borrowed = _socket.socket(fileno=self.fd)
        try:
            borrowed.shutdown(how)
        finally:
            borrowed.detach()

    def getsockopt(self, level: int, option: int, length: int) -> bytes:
        """Return up to `length` bytes of an option (getsockopt(2))."""
        self._check_open()
        borrowed = _socket.socket(fileno=self.fd)
        try:
            return borrowed.getsockopt(level, option, length)
        finally:
            borrowed.detach()

    def wait(self, event: int, timeout: float | None = None) -> None:
        """Wait, in any thread, until the descriptor is ready for `READ` or `WRITE`.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        OSError
            `EBADF` when the channel is closed, or has been meanwhile.
        """
        self._check_open()
        if self.poller.thread != native_thread_id() or self.poller._epoll is None:
            wait_in_foreign_thread(self.fd, event, timeout)
        elif (self._reader if event == READ else self._writer) is not None:
            self._wait_beside(event, timeout)
        else:
            self._wait_here(event, timeout)
        self._check_open()

    def wait_to_send(self, timeout: float | None) -> None:
        """Wait until something can be sent, as `wait`, and within the kernel's limit where there is no other.

        Raises
        ------
        BlockingIOError
            After the time that SO_SNDTIMEO gives.
        """
        if timeout is not None or self.limits is None:
            self.wait(WRITE, timeout)
            return
        try:
            self.wait(WRITE, self.limits.send)
        except TimeoutError:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None

    def may_try(self) -> bool:
        """Tell, once, whether to receive without waiting: a request may have come with the connection."""
        was_fresh, self._is_fresh = self._is_fresh, False
        if was_fresh:
            self._check_open()
        return was_fresh

    def _check_open(self) -> None:
        if self.fd < 0 or self.is_closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _wait_here(self, event: int, timeout: float | None) -> None:
        fiber = getcurrent()
        if fiber is self.poller.hub:
            raise BlockingSwitchOutError("the hub itself cannot wait for a connection")
        self.poller._watch(self, self._events | event)
        self._note(event, fiber)
        timer = None if timeout is None else self.poller.hub.loop.timer(timeout)
        try:
            if timer is not None:
                timer.start(self._time_out, event, fiber)
            has_timed_out = self.poller._give_way() is _TIMED_OUT
        finally:
            # An exception may have been thrown into the fiber while it waited (`gevent.Timeout`).
            self._forget(event, fiber)
            if timer is not None:
                timer.close()
        if has_timed_out and self.fd >= 0:
            raise TimeoutError("timed out")

    def _wait_beside(self, event: int, timeout: float | None) -> None:
        """Wait for what another fiber waits for already."""
        wait = DescriptorWait(self.poller.hub, self.fd, event)
        self._beside |= {wait}
        try:
            wait.wait(timeout)
        finally:
            self._beside -= {wait}

    def _note(self, event: int, fiber: Any) -> None:
        if event == READ:
            self._reader = fiber
        else:
            self._writer = fiber

    def _forget(self, event: int, fiber: Any) -> bool:
        """Note that `fiber` no longer waits; return whether it did."""
        waiting = self._reader if event == READ else self._writer
        if waiting is fiber:
            self._note(event, None)
        return waiting is fiber

    def _time_out(self, event: int, fiber: Any) -> None:
        """Wake a fiber that has waited long enough. Runs in the hub."""
        if self._forget(event, fiber):
            _switch(fiber, _TIMED_OUT)

    def is_waited_for(self, event: int) -> bool:
        """Tell whether a fiber of the poller's thread waits for `READ` or `WRITE`."""
        return (self._reader if event == READ else self._writer) is not None

    def _woken(self, events: int) -> Iterator[Any]:
        """Yield the fibers that these events wake; have epoll tell no more of events that wake none."""
        if events & (READ | _GONE):
            fiber, self._reader = self._reader, None
            if fiber is not None:
                yield fiber
            else:
                self.poller._watch(self, self._events & ~READ)
        if events & (WRITE | _GONE):
            # A descriptor can be written to nearly always.
            self.poller._watch(self, self._events & ~WRITE)
            fiber, self._writer = self._writer, None
            if fiber is not None:
                yield fiber

    def close(self) -> None:
        """Have epoll forget the descriptor; fibers that wait get an error. For the poller's own thread."""
        if self.poller._channels.get(self.fd) is self:
            # Else the program closed the descriptor itself, and another file has its number by now.
            self.poller._watch(self, 0)
            del self.poller._channels[self.fd]
        for wait in self._beside:
            wait.end()
        descriptor, self.fd = self.fd, -1
        if self._is_owner and descriptor >= 0:
            _close(descriptor)
        for event, fiber in ((READ, self._reader), (WRITE, self._writer)):
            if fiber is not None:
                self.poller.hub.loop.run_callback(self._time_out, event, fiber)


def _wake(channels: list[Channel], fiber: Any) -> None:
    """Wake a fiber that waits for all of these channels. Runs in the hub."""
    if all(channel._reader is fiber for channel in channels):
        _switch(fiber)


def recv(sock: Any, bufsize: int, flags: int = 0) -> bytes:
    """Receive up to `bufsize` bytes; ``b""`` when the peer has shut its side down."""
    channel: Channel = sock.channel
    if flags or channel.timeout == 0 or channel.limits is not None or bufsize <= 0:
        received: bytes = sock.recv_with_flags(bufsize, flags)
        return received
    while True:
        # Waiting first: after a response, the next request is hardly ever there already.
        if not channel.may_try():
            channel.wait(READ, channel.timeout)
        try:
            received = sock.bare.recv(bufsize, MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not received:
            note_end(channel)
        return received


def recv_into(sock: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
    """Receive into `buffer`, at most `nbytes` bytes (0: as many as fit); return how many."""
    channel: Channel = sock.channel
    if flags or channel.timeout == 0 or channel.limits is not None or not memoryview(buffer).nbytes:
        count: int = sock.recv_into_with_flags(buffer, nbytes, flags)
        return count
    while True:
        if not channel.may_try():
            channel.wait(READ, channel.timeout)
        try:
            count = sock.bare.recv_into(buffer, nbytes, MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not count:
            note_end(channel)
        return count


def readinto(self: Any, buffer: Any) -> int | None:
    """Read into `buffer`: the method `readinto` of a `socket.SocketIO`, on a shorter way."""
    sock = self._sock
    if sock is None or self._timeout_occurred or not self._reading:
        return SocketIO.readinto(self, buffer)  # which raises the reason
    try:
        return recv_into(sock, buffer)
    except TimeoutError:
        self._timeout_occurred = True
        raise
    except BlockingIOError:
        return None


def send(sock: Any, data: Any, flags: int = 0) -> int:
    """Send what a socket that blocks would send: all of `data`, or some of it if there is a timeout."""
    channel: Channel = sock.channel
    sent: int = 0
    with memoryview(data) as view, view.cast("B") as octets:
        while True:
            try:
                try:
                    sent += sock.bare.send(octets[sent:], flags | MSG_DONTWAIT)
                except BlockingIOError:
                    if channel.timeout == 0 or flags & MSG_DONTWAIT:
                        raise
                    channel.wait_to_send(channel.timeout)
                    continue
            except OSError:
                if not sent:
                    raise
                return sent  # the next call will meet the error
            if sent == len(octets) or channel.timeout is not None or flags & MSG_DONTWAIT:
                return sent


def sendall(sock: Any, data: Any, flags: int = 0) -> None:
    """Send all of `data`; the timeout is for all of it."""
    channel: Channel = sock.channel
    if channel.fd >= 0 and type(data) is bytes and not flags:
        # Nearly everything that is sent fits into the kernel's buffer.
        try:
            sent = sock.bare.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return
        _send_rest(sock, memoryview(data)[sent:], flags)
    else:
        with memoryview(data) as view, view.cast("B") as octets:
            _send_rest(sock, octets, flags)


def _send_rest(sock: Any, rest: memoryview, flags: int) -> None:
    channel: Channel = sock.channel
    deadline = None if channel.timeout is None else time.monotonic() + channel.timeout
    while rest:
        try:
            rest = rest[sock.bare.send(rest, flags | MSG_DONTWAIT) :]
        except BlockingIOError:
            if channel.timeout == 0 or flags & MSG_DONTWAIT:
                raise
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("timed out") from None
            channel.wait_to_send(left)


def set_slot(slot: Any) -> None:
    """Do nothing: here, attributes are found by their names."""
