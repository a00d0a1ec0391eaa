"""The standard library's `socketserver`, on manyhands' servers: change the import, or nothing.

Takes the module's place word for word: every public name and every hook is there. With no option set, a
program may notice only what is better: see ``docs/drop-in.md``.

::

    from manyhands import socketserver

    class Echo(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 8008), Echo) as server:
        server.serve_forever()
"""

# Public programs reach for these through the module.
import os
import selectors
import socket
import sys
import threading
from io import BufferedIOBase
from time import monotonic as time
from typing import TYPE_CHECKING

from manyhands.dropin import BaseServer, TCPServer, ThreadingMixIn, UDPServer
from manyhands.dropin.handlers import (
    BaseRequestHandler,
    DatagramRequestHandler,
    StreamRequestHandler,
)
from manyhands.dropin.mixins import FiberMixIn as FiberMixIn  # noqa: PLC0414 - so it is exported
from manyhands.dropin.mixins import NoThreads as _NoThreads
from manyhands.dropin.stream_files import SocketWriter as _SocketWriter
from manyhands.engines.threads import Threads as _Threads
from manyhands.serving.accept_loop import ServerSelector as _ServerSelector

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from _typeshed import ReadableBuffer

# The standard library's, which programs print. From Python 3.15 on it warns of its removal.
if sys.version_info < (3, 15):
    __version__ = "0.4"
else:

    def __getattr__(name: str) -> object:
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Few programs ask. (The standard library's own way to say it, with its words.)
        import warnings  # noqa: PLC0415 - see above

        warnings._deprecated("__version__", remove=(3, 20))
        return "0.4"


__all__ = [
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "UDPServer",
]


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """Serves each datagram in a thread of its own."""


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """Serves each TCP connection in a thread of its own."""


# As in the standard library: where the system lacks `fork` or Unix sockets, the classes are not there, and
# programs find that out by `hasattr`.
if hasattr(os, "fork"):
    from manyhands.dropin import ForkingMixIn

    class ForkingUDPServer(ForkingMixIn, UDPServer):
        """Serves each datagram in a process of its own."""

    class ForkingTCPServer(ForkingMixIn, TCPServer):
        """Serves each TCP connection in a process of its own."""

    __all__ += ["ForkingMixIn", "ForkingTCPServer", "ForkingUDPServer"]

if hasattr(socket, "AF_UNIX"):

    class UnixStreamServer(TCPServer):
        """Serves stream connections on a path."""

        address_family = socket.AF_UNIX
        if TYPE_CHECKING:
            server_address: str | ReadableBuffer  # type: ignore[assignment]  # TCP's are pairs

            def __init__(
                self,
                server_address: str | ReadableBuffer,
                RequestHandlerClass: Callable[[Any, Any, Self], Any],
                bind_and_activate: bool = True,
            ) -> None: ...

    class UnixDatagramServer(UDPServer):
        """Serves datagrams on a path."""

        address_family = socket.AF_UNIX
        if TYPE_CHECKING:
            server_address: str | ReadableBuffer  # type: ignore[assignment]  # UDP's are pairs

            def __init__(
                self,
                server_address: str | ReadableBuffer,
                RequestHandlerClass: Callable[[Any, Any, Self], Any],
                bind_and_activate: bool = True,
            ) -> None: ...

    class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
        """Serves each stream connection on a path in a thread of its own."""

    class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
        """Serves each datagram on a path in a thread of its own."""

    __all__ += [
        "ThreadingUnixDatagramServer",
        "ThreadingUnixStreamServer",
        "UnixDatagramServer",
        "UnixStreamServer",
    ]

# Python 3.12 brought these; `__all__` follows the running version.
if hasattr(os, "fork") and hasattr(socket, "AF_UNIX") and sys.version_info >= (3, 12):

    class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
        """Serves each stream connection on a path in a process of its own."""

    class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
        """Serves each datagram on a path in a process of its own."""

    __all__ += ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]

# Of ours. `__all__` leaves them out: it has what the standard library has, and programs import its star.


class FiberTCPServer(FiberMixIn, TCPServer):
    """Serves each TCP connection in a fiber of its own."""


class FiberUDPServer(FiberMixIn, UDPServer):
    """Serves each datagram in a fiber of its own."""


if hasattr(socket, "AF_UNIX"):

    class FiberUnixStreamServer(FiberMixIn, UnixStreamServer):
        """Serves each stream connection on a path in a fiber of its own."""

    class FiberUnixDatagramServer(FiberMixIn, UnixDatagramServer):
        """Serves each datagram on a path in a fiber of its own."""
