"""The server classes on fibers: `socketserver`'s family, a generation further.

They stand beside the drop-in's classes, and are found in `manyhands.socketserver` too, but not among the
names that it shares with the standard library's module.
"""

from manyhands.dropin import FiberMixIn
from manyhands.socketserver import TCPServer, UDPServer, UnixDatagramServer, UnixStreamServer

__all__ = [
    "FiberMixIn",
    "FiberTCPServer",
    "FiberUDPServer",
    "FiberUnixDatagramServer",
    "FiberUnixStreamServer",
]


class FiberTCPServer(FiberMixIn, TCPServer):
    """Serves each TCP connection in a fiber of its own."""


class FiberUDPServer(FiberMixIn, UDPServer):
    """Serves each datagram in a fiber of its own."""


class FiberUnixStreamServer(FiberMixIn, UnixStreamServer):
    """Serves each stream connection on a path in a fiber of its own."""


class FiberUnixDatagramServer(FiberMixIn, UnixDatagramServer):
    """Serves each datagram on a path in a fiber of its own."""
