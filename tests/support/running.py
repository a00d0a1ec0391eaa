"""Server classes, and the addresses of a server."""

from types import ModuleType
from typing import Any

from manyhands import Server, socketserver
from manyhands.testing import socket_address

ENGINES = ("sequential", "threads", "processes", "fibers")


class Echo(socketserver.StreamRequestHandler):
    """Says each line back."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


def answering(answer: bytes) -> Any:
    """Return a handler that answers and returns."""

    def handler(request: Any, client_address: Any, server: Any) -> None:
        request.sendall(answer)

    return handler


def server_class(engine: str, module: ModuleType = socketserver) -> Any:
    """Return the TCP server class of a module whose mix-in chooses the engine."""
    names = {
        "sequential": "TCPServer",
        "threads": "ThreadingTCPServer",
        "processes": "ForkingTCPServer",
        "fibers": "FiberTCPServer",
    }
    return getattr(module, names[engine])


def bound(server: Server, number: int = 0) -> Any:
    """Return one of the server's addresses as a socket takes it."""
    return socket_address(server.addresses[number])
