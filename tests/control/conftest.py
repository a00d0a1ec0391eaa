"""Servers with a control socket, and clients of that."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server
from manyhands.control.client import Client
from tests.support import Echo


class ControlledServer:
    """A server with its control socket, while it serves."""

    def __init__(self, server: Server, place: str, stack: ExitStack) -> None:
        self.server = server
        self.place = place
        self._stack = stack

    def client(self, place: str | None = None) -> Client:
        """Return a client, which is closed at the end of the test."""
        return self._stack.enter_context(Client(place or self.place))


Controlled = Callable[..., Any]


@pytest.fixture
def controlled(tmp_path: Path) -> Controlled:
    """Serve with a control socket: a context that yields a `ControlledServer`."""

    @contextmanager
    def serve(*addresses: str, handler: Any = Echo, **options: Any) -> Iterator[ControlledServer]:
        place = str(tmp_path / "control.sock")
        options = {"control": place, "drain_timeout": 1.0, **options}
        server = Server(handler, *(addresses or ("tcp://127.0.0.1:0",)), **options)
        with server, ExitStack() as stack:
            yield ControlledServer(server, place, stack)

    return serve
