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

JOIN, LEAVE = b"join\n", b"leave\n"
"""A client that says these enters the room, and leaves it."""

TELL = b"tell "
"""What comes after this in a line is for the room."""

FALL_BEHIND = b"fall behind\n"
"""A client that says this is in the room, and reads nothing, until it is closed for that."""

ROOM = "soak"

STALLED = 1.0
"""Seconds for which such a client stays in the room with its kernel's buffers full."""

FILLED_AFTER = 0.1
"""Seconds that such a client has read nothing for when the kernel's buffers are full."""

LOAD = b"x" * 65536
LOADS = 1024

# Datagrams, for a handler may be in a process of its own.
_heard, _said = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
_heard.setblocking(False)
_said.setblocking(False)


class Echo(StreamRequestHandler):
    """Sends every line back; pours, stays, tells a room, or has the client kicked, when it is asked to."""

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
            elif not self._is_for_the_room(line):
                self.wfile.write(line)

    def _is_for_the_room(self, line: bytes) -> bool:
        if line == JOIN:
            # In a process of its own it may have no thread to hear with.
            self.wfile.write(JOIN if self.join(ROOM) else LEAVE)
        elif line == LEAVE:
            self.leave(ROOM)
            self.wfile.write(LEAVE)
        elif line.startswith(TELL):
            self.server.tell(ROOM, line.removeprefix(TELL))
        elif line == FALL_BEHIND:
            self._fall_behind()
        else:
            return False
        return True

    def _fall_behind(self) -> None:
        # It must be closed for what waits in its outbox, and not for a deadline that passes meanwhile.
        self.deadlines.idle_timeout = self.deadlines.write_timeout = None
        self.request.settimeout(FILLED_AFTER)
        with suppress(TimeoutError):
            while True:
                self.wfile.write(LOAD)
        self.join(ROOM)
        self.request.settimeout(STALLED)
        with suppress(TimeoutError):
            self.request.recv(1)
        while self.send(LOAD):
            pass


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
