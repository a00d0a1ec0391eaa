"""The files of a stream's handler: `rfile` to read from the client, `wfile` to write to it."""

import io
from typing import TYPE_CHECKING, Any

from manyhands.connections.connection import current_connection

if TYPE_CHECKING:
    from manyhands.connections.outboxes import Gate


def open_files(handler: Any) -> None:
    """Open `rfile` and `wfile` of a stream's handler on its connection, with the handler's buffer sizes."""
    connection = handler.connection
    # The standard library's handlers have none. Asked of the class: a handler, or a mock in its place, may
    # have an answer of its own to every name.
    own = getattr(type(handler), "_open_rfile", None)
    handler.rfile = own(handler) if own is not None else connection.makefile("rb", handler.rbufsize)
    if handler.wbufsize != 0:
        handler.wfile = connection.makefile("wb", handler.wbufsize)
        return
    handler.wfile = SocketWriter(connection)
    served = current_connection()
    if served is not None:
        served.writer = handler.wfile
        handler.wfile.number = served.number


class SocketWriter(io.BufferedIOBase):
    """A `wfile` without a buffer: `write` returns once the kernel has taken all of the data."""

    # Found faster than in a dictionary.
    __slots__ = ("_sock", "gate", "is_writing", "number")

    def __init__(self, sock: Any) -> None:
        # Nothing is asked of it before the first write: the stand-ins of unit tests may have no more than
        # the handler needs, and may get their `sendall` later.
        self._sock = sock
        self.is_writing = False
        """Whether a write is under way that has found no gate."""

        self.number = 0
        """That of the connection, among those of its server; 0: it is none of a server's."""

        self.gate: Gate | None = None
        """What other handlers' pieces for this connection go through, once there were any."""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Send `data`, a bytes-like object; return its length in bytes.

        Raises
        ------
        OSError
            When the client is gone, or the connection's timeout has passed.
        """
        if self.gate is None:
            self.is_writing = True
        try:
            # Looked at again: a gate is made first, and asks then whether a write is under way.
            if self.gate is not None:
                self.is_writing = False
                self.gate.shut()
            self._sock.sendall(data)
        finally:
            self.is_writing = False
            if self.gate is not None:
                self.gate.shut()
        # `len` of another buffer counts items, which may be longer than a byte.
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        descriptor: int = self._sock.fileno()
        return descriptor
