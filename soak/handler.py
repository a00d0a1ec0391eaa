"""The handler that the crowd talks with."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from manyhands import StreamRequestHandler, blocking

KICK_ME = b"kick me\n"
"""A client that says this wants to be kicked."""

POUR = b"pour\n"
"""A client that says this is sent more than any buffer holds."""

STAY = b"stay\n"
"""The handler of a client that says this does not return, whatever the client or the server does."""

LOAD = b"x" * 65536
LOADS = 1024

# Datagrams, for a handler may be in a process of its own.
_heard, _said = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
_heard.setblocking(False)
_said.setblocking(False)


class Echo(StreamRequestHandler):
    """Sends every line back; pours, stays, or has the client kicked, when it is asked to."""

    def handle(self) -> None:
        """Serve until the client says that no more comes."""
        for line in self.rfile:
            if line == KICK_ME:
                _said.send(json.dumps([self.server.server_address, self.client_address]).encode())
            elif line == POUR:
                for _ in range(LOADS):
                    self.wfile.write(LOAD)
            elif line == STAY:
                self.wfile.write(line)
                blocking(time.sleep, 3600)
            else:
                self.wfile.write(line)


def volunteers() -> Iterator[tuple[Any, Any]]:
    """Take out the clients that want to be kicked.

    Yields
    ------
    tuple
        The addresses of the listener and of the client: each listener may have a client of that address.
    """
    with suppress(BlockingIOError):
        while True:
            listener, client = json.loads(_heard.recv(4096))
            yield tuple(listener), tuple(client)
