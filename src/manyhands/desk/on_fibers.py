"""How a fiber waits: the other fibers of its thread run meanwhile. For fibers of the fiber engine."""

import contextlib
import errno
import select
import socket
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, TypeVar

from gevent.socket import wait_write
from greenlet import getcurrent, greenlet

Result = TypeVar("Result")


def _call(hub: Any, function: Callable[[], object]) -> None:
    """Have `function` called in a hub, soon; from any thread."""
    loop = hub.loop
    is_here = hub.thread_ident == get_ident()
    (loop.run_callback if is_here else loop.run_callback_threadsafe)(function)


class Sleeper:
    """A fiber that sleeps until somebody wakes it, as `waiting.Sleeper` has it."""

    __slots__ = ("_fiber", "_hub")

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._fiber: Any = getcurrent()

    def sleep(self, seconds: float | None) -> None:
        """Sleep until `wake`, at most for so long."""
        timer = None if seconds is None else self._hub.loop.timer(seconds)
        try:
            if timer is not None:
                timer.start(self.resume)
            self._hub.switch()
        finally:
            # A wake may still be due, and it is not for what the fiber waits for next.
            self._fiber = None
            if timer is not None:
                timer.close()

    def wake(self) -> None:
        """End the sleep, which has begun by then: the hub runs when its fibers wait."""
        _call(self._hub, self.resume)

    def resume(self) -> None:
        """End the sleep now. In the hub."""
        fiber, self._fiber = self._fiber, None
        if fiber is not None:
            fiber.switch()


class _Nudged(BaseException):
    """Thrown into a fiber that waits for its connection: it is to look up."""


class Watch:
    """Waits for a fiber's socket, as `waiting.Watch` has it; without a descriptor of its own.

    Parameters
    ----------
    connection : FiberSocket
        Of the calling fiber's home.
    hub : gevent.hub.Hub
        The calling fiber's.
    """

    __slots__ = ("_connection", "_fiber", "_hub", "_is_mute", "_is_nudged")

    def __init__(self, connection: socket.socket, hub: Any) -> None:
        self._connection = connection
        self._hub = hub
        self._fiber: Any = None
        self._is_nudged = False
        self._is_mute = False

    def receive(self, size: int, seconds: float | None = None) -> bytes | None:
        """Receive; None when `seconds` were over first, or somebody nudged."""
        self._connection.settimeout(None if seconds is None else max(0.0, seconds))
        try:
            return self._heedfully(lambda: self._connection.recv(size))
        except BlockingIOError:
            return None
        except TimeoutError as error:
            # The kernel has a timeout too: after it, the connection is lost (tcp(7), keep-alive).
            if error.errno == errno.ETIMEDOUT:
                raise
            return None

    def wait_to_write(self) -> None:
        """Wait until the peer reads, or is gone."""
        wait_write(self._connection.fileno())

    def wait_for_hang_up(self, seconds: float | None = None) -> bool:
        """Wait until the connection is over in both directions, or a nudge."""
        descriptor = self._connection.fileno()
        has_hung_up = self._heedfully(lambda: _wait_for_hang_up(self._hub, descriptor, seconds))
        return has_hung_up is not False

    def _heedfully(self, wait: Callable[[], Result]) -> Result | None:
        """Wait; None when somebody nudges, or has done so before."""
        if self._is_nudged and not self._is_mute:
            return None
        self._fiber = getcurrent()
        try:
            return wait()
        except _Nudged:
            return None
        finally:
            self._fiber = None

    def nudge(self) -> None:
        """End the wait that goes on, and all that follow."""
        if not self._is_mute:
            self._is_nudged = True
            _call(self._hub, self._look_up)

    def _look_up(self) -> None:
        """Wake the fiber, if it waits. In the hub."""
        if self._fiber is not None and not self._is_mute:
            self._fiber.throw(_Nudged)

    def mute(self) -> None:
        """Take no nudges from now on, and forget those that came."""
        self._is_mute = True

    def beside(self, function: Callable[[], object]) -> None:
        """Have `function` run in a fiber of its own."""
        _call(self._hub, lambda: greenlet(function, self._hub).switch())


def _wait_for_hang_up(hub: Any, descriptor: int, seconds: float | None) -> bool:
    """Wait until a connection is over in both directions; tell whether that came in time."""
    sleeper = Sleeper(hub)
    has_hung_up = False

    def tell() -> None:
        nonlocal has_hung_up
        has_hung_up = True
        sleeper.resume()

    with _HangUps.told(hub, descriptor, tell):
        sleeper.sleep(seconds)
    return has_hung_up


class _HangUps:
    """The wait for nothing but a hang-up, which gevent's loop has not: one descriptor for all who wait so.

    It is there while anybody waits.
    """

    _of: "dict[Any, _HangUps]" = {}  # noqa: RUF012 - of each hub, touched in that hub's thread only

    def __init__(self, hub: Any) -> None:
        self._waiting: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._watcher = hub.loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._tell)

    @classmethod
    @contextlib.contextmanager
    def told(cls, hub: Any, descriptor: int, tell: Callable[[], None]) -> Iterator[None]:
        """Have `tell` called in the hub when the connection is over, unless the context is left before."""
        shared = cls._of.get(hub) or cls._of.setdefault(hub, cls(hub))
        shared._waiting[descriptor] = tell
        try:
            # A hang-up and an error are always reported (epoll_ctl(2)), and once is enough.
            shared._epoll.register(descriptor, select.EPOLLONESHOT)
            yield
        finally:
            del shared._waiting[descriptor]
            shared._leave(hub, descriptor)

    def _leave(self, hub: Any, descriptor: int) -> None:
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)
        if not self._waiting:
            del self._of[hub]
            self._watcher.close()
            self._epoll.close()

    def _tell(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if descriptor in self._waiting:
                self._waiting[descriptor]()
