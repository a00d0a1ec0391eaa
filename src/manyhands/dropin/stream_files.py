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


_beside: "list[SocketWriter]" = []
"""Those by which a thread writes while another one does, once for each. Each change is one step."""


class SocketWriter(io.BufferedIOBase):
    """A `wfile` without a buffer: `write` returns once the kernel has taken all of the data."""

    # Found faster than in a dictionary.
    __slots__ = ("_is_writing", "_sock", "gate", "number")

    def __init__(self, sock: Any) -> None:
        # Nothing is asked of it before the first write: the stand-ins of unit tests may have no more than
        # the handler needs, and may get their `sendall` later.
        self._sock = sock
        # Whether a write is under way that has found no gate: the first of several.
        self._is_writing = False
        self.number = 0
        """That of the connection, among those of its server; 0: it is none of a server's."""

        self.gate: Gate | None = None
        """What has the pieces for this connection wait, from the first one on until all that is written waits
        there for its place as well."""

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
        if self._is_writing:
            self._write_beside(data)
        else:
            self._is_writing = True
            try:
                # Looked at after it: a gate is made first, and asks then whether a write is under way.
                if self.gate is None:
                    self._sock.sendall(data)
                else:
                    self._is_writing = False
                    self._write_at_gate(data)
            finally:
                self._is_writing = False
                if self.gate is not None:
                    self._shut_gate()
        # `len` of another buffer counts items, which may be longer than a byte.
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def _write_beside(self, data: Any) -> None:
        """Write while another thread does."""
        _beside.append(self)
        is_sent = False
        try:
            if self.gate is None:
                self._sock.sendall(data)
                is_sent = True
        finally:
            _beside.remove(self)
            self._shut_gate()
        if not is_sent:
            self._write_at_gate(data)

    def _write_at_gate(self, data: Any) -> None:
        gate = self.gate
        if gate is None:  # shut meanwhile, so the socket itself has the data wait for its place
            self._sock.sendall(data)
        else:
            gate.write(self._sock, data)

    def _shut_gate(self) -> None:
        gate = self.gate
        if gate is not None:
            gate.shut()

    @property
    def is_in_use(self) -> bool:
        """Whether a write is under way that has found no gate."""
        return self._is_writing or self in _beside

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        descriptor: int = self._sock.fileno()
        return descriptor
