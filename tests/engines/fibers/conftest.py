"""A thread for fibers, and pairs of sockets of which one is a fiber's."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from greenlet import greenlet

from manyhands.engines.fibers.hub_thread import HubThread
from manyhands.engines.fibers.sockets import FiberSocket
from tests.support.waiting import PATIENCE


class Fibers:
    """Runs functions in fibers of one thread, for tests that look on from their own thread."""

    def __init__(self) -> None:
        self.hub_thread = HubThread()

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run `function` in a new fiber; the future has what it returned or raised."""
        outcome: Future[Any] = Future()

        def live() -> None:
            try:
                outcome.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - the future raises it in the test
                outcome.set_exception(error)

        self.hub_thread.call(lambda: greenlet(live, self.hub_thread.hub).switch())
        return outcome

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run `function` in a new fiber to its end; return what it returned."""
        return self.spawn(function, *arguments).result(PATIENCE)

    def adopt(self, plain: socket.socket) -> FiberSocket:
        """Make a fiber's socket of a plain one, in their thread."""
        own: FiberSocket = self.do(FiberSocket.taking_over, plain, self.hub_thread.poller)
        return own

    def end(self) -> None:
        self.hub_thread.call(self.hub_thread.release)
        self.hub_thread._thread.join(PATIENCE)
        assert not self.hub_thread._thread.is_alive()


@pytest.fixture
def fibers() -> Iterator[Fibers]:
    running = Fibers()
    yield running
    running.end()


@pytest.fixture(params=["tcp", "unix"])
def pair(
    request: pytest.FixtureRequest, fibers: Fibers
) -> Iterator[tuple[FiberSocket, socket.socket]]:
    """Two ends of one connection: the fiber's, and a plain one for the test itself."""
    if request.param == "unix":
        near, far = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
    far.settimeout(PATIENCE)
    own = fibers.adopt(near)
    with far:
        yield own, far
        fibers.do(own.close)
