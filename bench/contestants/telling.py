"""Handlers for whom all connections are one room: by `join` and `tell`, or as each tutorial has it."""

import contextlib
import threading

DEAF = b"\0deaf"
"""What a client says first that will read nothing."""


def fill(connection):
    """Send until the kernel takes no more."""
    connection.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            connection.send(bytes(65536))
    connection.settimeout(None)


def telling(module):
    """Return the handler, on a module's own base class."""

    class Told(module.BaseRequestHandler):
        def handle(self):
            first = self.request.recv(65536)
            if first == DEAF:
                fill(self.request)
            self.join("all")
            self.send(first)
            while data := self.request.recv(65536):
                self.server.tell("all", data)

    members, lock = [], threading.Lock()

    class Recipe(module.BaseRequestHandler):
        def handle(self):
            first = self.request.recv(65536)
            with lock:
                members.append(self.request)
            self.request.sendall(first)
            while data := self.request.recv(65536):
                with lock:
                    for member in members:
                        member.sendall(data)

    return Told if hasattr(module.BaseServer, "tell") else Recipe
