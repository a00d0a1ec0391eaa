"""The files of a stream's handler: `rfile` to read from the client, `wfile` to write to it."""

import io
from typing import Any


def open_files(handler: Any) -> None:
    """Open `rfile` and `wfile` of a stream's handler on its connection, with the handler's buffer sizes."""
    connection = handler.connection
    # The standard library's handlers have none. Asked of the class: a handler, or a mock in its place, may
    # have an answer of its own to every name.
    own = getattr(type(handler), "_open_rfile", None)
    handler.rfile = own(handler) if own is not None else connection.makefile("rb", handler.rbufsize)
    handler.wfile = (
        SocketWriter(connection)
        if handler.wbufsize == 0
        else connection.makefile("wb", handler.wbufsize)
    )


class SocketWriter(io.BufferedIOBase):
    """A `wfile` without a buffer: `write` returns once the kernel has taken all of the data."""

    def __init__(self, sock: Any) -> None:
        # Nothing is asked of it before the first write: the stand-ins of unit tests may have no more than
        # the handler needs, and may get their `sendall` later.
        self._sock = sock

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
        self._sock.sendall(data)
        # `len` of another buffer counts items, which may be longer than a byte.
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        descriptor: int = self._sock.fileno()
        return descriptor
