"""Fixtures that several tests of servers use."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from manyhands import blocking


class Gate:
    """Holds up handlers, in whatever process, until it is opened."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()

    def wait(self) -> None:
        blocking(self._inside.recv, 1)

    def open(self) -> None:
        self._outside.sendall(b"!")

    def close(self) -> None:
        self._outside.close()  # a handler that still waits reads the end
        self._inside.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """Threads, for what waits."""
    with ThreadPoolExecutor(4) as executor:
        yield executor
