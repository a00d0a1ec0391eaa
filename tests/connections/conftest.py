"""Connections whose server's end is read in a thread or in a fiber, over TCP and over Unix sockets."""

import array
import fcntl
import socket
import termios
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from tests.engines.fibers.conftest import Fibers
from tests.support.waiting import PATIENCE


class Stage:
    """Makes connections, and runs in its own way what works on their server's ends."""

    def __init__(self, family: str, resources: ExitStack) -> None:
        self.family = family
        self._resources = resources

    def connect(self) -> tuple[Any, socket.socket]:
        """Return the server's end of a new connection, and the peer's."""
        near, far = socket.socketpair() if self.family == "unix" else _tcp_pair()
        self._resources.enter_context(far)
        far.settimeout(PATIENCE)
        return self._adopt(near), far

    def spawn(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Begin to run a function; return its future."""
        raise NotImplementedError

    def do(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Run a function to its end; return what it returned."""
        return self.spawn(function, *arguments, **keywords).result(PATIENCE)

    def _adopt(self, near: socket.socket) -> Any:
        raise NotImplementedError


class ThreadStage(Stage):
    def __init__(self, family: str, resources: ExitStack) -> None:
        super().__init__(family, resources)
        self._pool = resources.enter_context(ThreadPoolExecutor())

    def spawn(
        self, function: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> "Future[Any]":
        return self._pool.submit(function, *arguments, **keywords)

    def _adopt(self, near: socket.socket) -> socket.socket:
        return self._resources.enter_context(near)


class FiberStage(Stage):
    def __init__(self, family: str, resources: ExitStack) -> None:
        super().__init__(family, resources)
        self._fibers = Fibers()
        resources.callback(self._fibers.end)

    def spawn(
        self, function: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> "Future[Any]":
        return self._fibers.spawn(lambda: function(*arguments, **keywords))

    def _adopt(self, near: socket.socket) -> Any:
        own = self._fibers.adopt(near)
        self._resources.callback(lambda: self._fibers.do(own.close))
        return own


@pytest.fixture(params=["thread-tcp", "thread-unix", "fiber-tcp", "fiber-unix"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    kind, family = request.param.split("-")
    with ExitStack() as resources:
        yield {"thread": ThreadStage, "fiber": FiberStage}[kind](family, resources)


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        # Each piece is to come by itself.
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener.accept()[0], far


def unread(connection: Any) -> int:
    """Return how many bytes lie in the kernel that the server has not received (FIONREAD, tty_ioctl(4))."""
    count = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, count)
    return count[0]
