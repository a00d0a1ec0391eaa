"""How a thread or a fiber waits for the peer of its connection, and is interrupted by another thread."""

import contextlib
import errno
import math
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

from manyhands.runtime.caller import call_in_hub, current_thread_or_fiber, hub_of_fiber
from manyhands.runtime.locks import Latch
from manyhands.runtime.wakeup import PollableLatch

Result = TypeVar("Result")

_LOOK_INTERVAL = 0.5
"""Seconds between two looks at a peer that only listens, while there is no descriptor to be had."""


PeerWait: TypeAlias = "ThreadPeerWait | FiberPeerWait"


def peer_wait(connection: socket.socket, shared: PollableLatch | None = None) -> PeerWait:
    """Return what the calling thread or fiber waits with for its connection.

    Parameters
    ----------
    connection : socket.socket
        Its connection.
    shared : PollableLatch, optional
        What interrupts all threads that share it, at the same time; None: what interrupts this one alone.
        Fibers are interrupted one by one.

    Raises
    ------
    OSError
        When no descriptor can be had. (A thread needs one, unless it shares one; a fiber none.)
    """
    hub = hub_of_fiber()
    if hub is None:
        return ThreadPeerWait(connection, shared)
    return FiberPeerWait(connection, hub)


class ThreadPeerWait:
    """Waits in poll(2), for the connection and for a descriptor that interrupts.

    For the thread that made it, but for the methods that say otherwise.
    """

    def __init__(self, connection: socket.socket, shared: PollableLatch | None = None) -> None:
        self._connection = connection
        self._is_shared = shared is not None
        self._interrupt: PollableLatch | None = shared or PollableLatch()

    def receive(self, size: int, timeout: float | None = None) -> bytes | None:
        """Receive up to `size` bytes; None when `timeout` seconds were over first, or after `interrupt`.

        Raises
        ------
        OSError
            The connection is lost.
        """
        self._poll(select.POLLIN, timeout)
        # Asked without a look at what poll reported: after a timeout or an interrupt there is nothing, and a
        # connection that was lost raises here.
        with contextlib.suppress(BlockingIOError):
            return self._connection.recv(size, socket.MSG_DONTWAIT)
        return None

    def wait_for_hang_up(self, timeout: float | None = None) -> bool:
        """Wait until the connection is over in both directions, or `interrupt`.

        Return False when `timeout` seconds were over first.
        """
        return self._poll(0, timeout)  # a hang-up and an error are always reported (poll(2))

    def pause(self, timeout: float) -> None:
        """Wait `timeout` seconds, or until `interrupt`, whatever the peer does meanwhile."""
        poll = select.poll()
        if self._interrupt is not None:
            poll.register(self._interrupt, select.POLLIN)
        poll.poll(timeout * 1000)

    def _poll(self, events: int, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._connection, events)
        if self._interrupt is not None:
            poll.register(self._interrupt, select.POLLIN)
        return bool(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))

    def interrupt(self) -> None:
        """End the wait under way, and all that follow. From any thread, under the owner's lock.

        Of a shared latch, those of all that share it.
        """
        if self._interrupt is not None:
            self._interrupt.set()

    def forget_interrupt(self) -> None:
        """Wait as if `interrupt` had not been called. Under the owner's lock.

        A shared latch is left alone: it is cleared for all that share it, or for none.
        """
        if self._interrupt is not None and not self._is_shared:
            self._interrupt.clear()

    def ignore_interrupts(self) -> None:
        """Wait in peace from now on, after interrupts too. Under the owner's lock; once more does no harm."""
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None and not self._is_shared:
            interrupt.close()


class _Interrupted(BaseException):
    """Thrown into a fiber that waits for its connection."""


class FiberPeerWait:
    """The same for a fiber: waits with its socket, and is interrupted by way of the hub.

    Parameters
    ----------
    connection : FiberSocket
        The calling fiber's.
    hub : gevent.hub.Hub
        The hub of the calling fiber.
    """

    __slots__ = ("_connection", "_fiber", "_hub", "_ignores_interrupts", "_is_interrupted")

    def __init__(self, connection: socket.socket, hub: Any) -> None:
        self._connection = connection
        self._hub = hub
        self._fiber: Any = None
        self._is_interrupted = False
        self._ignores_interrupts = False

    def receive(self, size: int, timeout: float | None = None) -> bytes | None:
        """Receive; None when `timeout` seconds were over first, or after `interrupt`."""
        # A fiber's socket has to be asked with its own timeout: it waits in its hub's poller.
        self._connection.settimeout(None if timeout is None else max(0.0, timeout))
        try:
            return self._interruptibly(lambda: self._connection.recv(size))
        except BlockingIOError:
            return None
        except TimeoutError as error:
            # The kernel has a timeout too: after it, the connection is lost (tcp(7), keep-alive).
            if error.errno == errno.ETIMEDOUT:
                raise
            return None

    def wait_for_hang_up(self, timeout: float | None = None) -> bool:
        """Wait until the connection is over in both directions, or `interrupt`."""
        descriptor = self._connection.fileno()
        has_hung_up = self._interruptibly(lambda: _HangUps.wait_for(self._hub, descriptor, timeout))
        return has_hung_up is not False

    def pause(self, timeout: float) -> None:
        """Wait `timeout` seconds, or until `interrupt`, whatever the peer does meanwhile."""
        self._interruptibly(lambda: Latch().wait(timeout))

    def _interruptibly(self, wait: Callable[[], Result]) -> Result | None:
        """Return what `wait` returns; None after an interrupt, be it one that came before."""
        if self._is_interrupted and not self._ignores_interrupts:
            return None
        self._fiber = current_thread_or_fiber()
        try:
            return wait()
        except _Interrupted:
            return None
        finally:
            self._fiber = None

    def interrupt(self) -> None:
        """End the wait under way, and all that follow."""
        if not self._ignores_interrupts:
            self._is_interrupted = True
            # An exception may be thrown into a fiber only in the thread of its hub.
            call_in_hub(self._hub, self._throw)

    def _throw(self) -> None:
        if self._fiber is not None and not self._ignores_interrupts:
            self._fiber.throw(_Interrupted)

    def forget_interrupt(self) -> None:
        """Wait as if `interrupt` had not been called."""
        self._is_interrupted = False

    def ignore_interrupts(self) -> None:
        """Wait in peace from now on."""
        self._ignores_interrupts = True


def _look_for_hang_up(descriptor: int, timeout: float | None) -> bool:
    """Wait for a hang-up by a look now and then, which needs no descriptor."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    poll.register(descriptor, 0)
    while not poll.poll(0):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        Latch().wait(min(left, _LOOK_INTERVAL))
    return True


class _HangUps:
    """The wait for nothing but a hang-up, which gevent's loop has not: one epoll for all fibers that wait so.

    It exists while a fiber waits.
    """

    _of: "dict[Any, _HangUps]" = {}  # noqa: RUF012 - of each hub, touched in that hub's thread only

    def __init__(self, hub: Any) -> None:
        self._latches: dict[int, Latch] = {}
        self._epoll = select.epoll()
        # An epoll descriptor can be read when it has events: 1 is libev's EV_READ.
        self._watcher = hub.loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._tell)

    @classmethod
    def wait_for(cls, hub: Any, descriptor: int, timeout: float | None) -> bool:
        """Wait until a connection is over in both directions; return whether that came in time."""
        try:
            shared = cls._of.get(hub) or cls._of.setdefault(hub, cls(hub))
        except OSError:
            return _look_for_hang_up(descriptor, timeout)  # no descriptor can be had for it
        with shared._latch(hub, descriptor) as latch:
            return latch.wait(timeout)

    @contextlib.contextmanager
    def _latch(self, hub: Any, descriptor: int) -> Iterator[Latch]:
        latch = self._latches[descriptor] = Latch()
        try:
            # A hang-up and an error are always reported (epoll_ctl(2)), and once is enough.
            self._epoll.register(descriptor, select.EPOLLONESHOT)
            yield latch
        finally:
            del self._latches[descriptor]
            self._leave(hub, descriptor)

    def _leave(self, hub: Any, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)
        # The descriptor and the watcher are given back with the last wait: a desk that is quiet holds none.
        if not self._latches:
            del self._of[hub]
            self._watcher.close()
            self._epoll.close()

    def _tell(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if descriptor in self._latches:
                self._latches[descriptor].set()
