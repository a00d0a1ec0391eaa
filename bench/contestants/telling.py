"""Handlers for whom all connections are one room: by `join` and `tell`, or as each tutorial has it."""

import contextlib
import socket
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


def tell_what_datagrams_say(server):
    """Have a thread of the program tell all what it receives, on the port that the server listens on."""
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind(server.server_address)

    def tell():
        while data := heard.recv(65536):
            server.tell("all", data)

    threading.Thread(target=tell, daemon=True).start()
