"""What serves a call: a thread, or a fiber. The test itself looks on from its own thread."""

import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, Self

from tests.engines.fibers.conftest import Fibers
from tests.support.waiting import PATIENCE


class Worker(Protocol):
    """Runs functions where a handler would run."""

    def adopt(self, connection: socket.socket) -> socket.socket:
        """Return the connection as a handler gets it."""

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        """Run a function beside all others."""

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function to its end; return what it returned."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Threads:
    """Runs each function in a thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=64)

    def adopt(self, connection: socket.socket) -> socket.socket:
        return connection

    def spawn(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        return self._pool.submit(function, *arguments)

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.spawn(function, *arguments).result(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown()


class InFibers(Fibers):
    """Runs each function in a fiber of one thread."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()


WORKERS: dict[str, Callable[[], Worker]] = {"threads": Threads, "fibers": InFibers}
