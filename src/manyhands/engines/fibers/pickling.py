"""A fiber's connection on its way to another process: `multiprocessing` sends it like plain sockets."""

import socket
from multiprocessing import reduction
from typing import Any

from .fiber_socket import FiberSocket


def _reduce(connection: FiberSocket) -> tuple[Any, ...]:
    descriptor = reduction.DupFd(connection.fileno())
    return _rebuild, (descriptor, connection.family, connection.type, connection.proto)


def _rebuild(descriptor: Any, family: int, kind: int, proto: int) -> socket.socket:
    """Make a plain socket, in the process that received it."""
    connection = socket.socket(family, kind, proto, fileno=descriptor.detach())
    if connection.gettimeout() is None:
        # The sender's fibers had it not block; whom it is handed over to waits in plain calls.
        connection.setblocking(True)
    return connection


def have_them_sent() -> None:
    """Let `multiprocessing` send connections of fibers."""
    reduction.ForkingPickler.register(FiberSocket, _reduce)
