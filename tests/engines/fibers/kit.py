"""What the tests of a fiber's socket share."""

import socket
from typing import Any

import gevent

from manyhands.engines.fibers.foreign_threads import READ
from manyhands.engines.fibers.sockets import FiberSocket

from .conftest import Fibers

Pair = tuple[FiberSocket, socket.socket]


LARGE = bytes(range(256)) * 40_000
"""More than the kernel's buffers hold."""


def everything(sock: Any, size: int = 65_536) -> bytes:
    received = b""
    while data := sock.recv(size):
        received += data
    return received


def is_waiting(own: FiberSocket, event: int = READ) -> bool:
    return own.channel.is_waited_for(event)


def turns_of_the_loop_in(fibers: Fibers, seconds: float) -> int:
    before = fibers.hub_thread.hub.loop.iteration
    gevent.sleep(seconds)
    turns: int = fibers.hub_thread.hub.loop.iteration - before
    return turns
