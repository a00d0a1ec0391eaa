"""The handler classes: one instance for each connection, its conversation in straight lines."""

import contextlib
import io
import socket
from typing import TYPE_CHECKING, Any, Self, overload

from manyhands.config.class_attributes import has_options
from manyhands.connections.conversation import Conversation, current
from manyhands.connections.socket_classes import header_of
from manyhands.runtime.caller import task_in_hand

if TYPE_CHECKING:
    import ssl

    from manyhands.config.keywords import DatagramRequestHandlerOptions
    from manyhands.connections.timeouts import OwnDeadlines
    from manyhands.dropin.base import BaseServer, Request
    from manyhands.protocol.proxy_header import ProxyHeader

    # A class below has an attribute of the module's name.
    _Socket = socket.socket
else:
    # What editors and type checkers know of the options, which the decorator sets.
    DatagramRequestHandlerOptions = object


class _Announced:
    """The attribute `proxy_header`; a program may have one of that name itself, which then counts."""

    def __get__(self, handler: Any, kind: type) -> "ProxyHeader | None":
        return None if handler is None else header_of(handler.request)


class _Deadlines:
    """The attribute `deadlines` of a handler. One of the program's own, of that name, counts instead."""

    @overload
    def __get__(self, handler: None, kind: type) -> Self: ...
    @overload
    def __get__(self, handler: object, kind: type) -> "OwnDeadlines": ...
    def __get__(self, handler: Any, kind: type) -> "Self | OwnDeadlines":
        if handler is None:
            return self
        conversation = _conversation_of(handler)
        if conversation is None:
            raise AttributeError(
                f"this {kind.__name__} has no deadlines: it serves no connection of a server"
            )
        return conversation.deadlines


def _conversation_of(handler: Any) -> Conversation | None:
    """Return the conversation that a handler holds, whichever thread asks; None where it holds none."""
    served = current()
    if served is not None:
        return served if served.is_in_books else None
    room = getattr(handler.server, "_engine_room", None)
    others = [] if room is None else room.books.snapshot()
    return next((each for each in others if each.serves(handler.request)), None)


class BaseRequestHandler:
    """Serves one request, in its constructor: `setup`, `handle`, and, whatever came of that, `finish`.

    Parameters
    ----------
    request
        The connection's socket; of a datagram, the pair of its data and the server's socket.
    client_address
        The client's address, as `accept`, `recvfrom` or a PROXY header gave it.
    server
        The server.
    **state
        Whatever else the program wants the handler to know, as attributes. Give the server
        ``functools.partial(Handler, database=...)`` in the place of the class.

    Notes
    -----
    A handler may have a method ``goodbye``, without arguments: it is called once when the server begins to
    drain, beside `handle`, in a thread (on fibers, a fiber) of its own. See ``docs/server.md``.
    """

    proxy_header = _Announced()
    """What the PROXY header of the connection says: TLVs, for one; None where none was asked for."""
    deadlines = _Deadlines()
    """The deadlines of the connection: `idle_timeout`, `write_timeout` and `max_age`, in seconds, or None.
    They are the server's until the handler sets its own. Thread-safe. A datagram has none: AttributeError."""

    request: Any
    client_address: Any
    server: "BaseServer"

    def __init__(
        self, request: "Request", client_address: Any, server: "BaseServer", **state: Any
    ) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        vars(self).update(state)
        self.setup()
        try:
            if hasattr(self, "goodbye"):
                _handle_until_goodbye(self)
            else:
                self.handle()
        finally:
            self.finish()

    def setup(self) -> None:
        """Prepare the conversation. A hook; when it raises, neither `handle` nor `finish` runs."""

    def handle(self) -> None:
        """Hold the conversation. A hook."""

    def finish(self) -> None:
        """Clean up after the conversation. A hook."""


def _handle_until_goodbye(handler: Any) -> None:
    """Call `handle` of a handler that wants to be told when its server drains."""
    conversation = task_in_hand()
    if conversation is None:
        handler.handle()  # in no engine of ours
    else:
        conversation.handle(handler)


class StreamRequestHandler(BaseRequestHandler):
    """Gives the conversation two files: `rfile` to read from the client, `wfile` to write to it."""

    rbufsize: int = -1
    """Bytes that `rfile` buffers; negative: the default of `io`."""

    wbufsize: int = 0
    """Bytes that `wfile` buffers; 0: each `write` is sent at once, and whole."""

    timeout: float | None = None
    """Seconds that one receive or send on the connection may take; None: for ever."""

    disable_nagle_algorithm: bool = False
    """Whether to send small packets at once (TCP_NODELAY, tcp(7)); sensible where `wfile` is buffered."""

    connection: Any
    rfile: io.BufferedIOBase
    wfile: io.BufferedIOBase

    def setup(self) -> None:
        """Open `rfile` and `wfile`."""
        self.connection = self.request
        if self.timeout is not None:
            self.connection.settimeout(self.timeout)
        if self.disable_nagle_algorithm:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        open_files(self)

    def upgrade_to_tls(self, context: "ssl.SSLContext | None" = None) -> None:
        """Go over to TLS, after the client has asked for it and has been told to go ahead (STARTTLS).

        `request`, `connection`, `rfile` and `wfile` speak TLS afterwards. See `manyhands.upgrade_to_tls`.

        Parameters
        ----------
        context
            What to do it with; None: with the certificates of the `manyhands.Server` that serves it.

        Raises
        ------
        OSError
            When the handshake fails or takes too long, or the client has sent more in clear.
        Mistake
            When there is no certificate.
        """
        from manyhands.dropin.starttls import upgrade_to_tls  # noqa: PLC0415 - it stands on the servers, which import this

        upgrade_to_tls(self, context)

    def _open_rfile(self) -> Any:
        """Return the file to read from the connection as it is now."""
        return self.connection.makefile("rb", self.rbufsize)

    def finish(self) -> None:
        """Send what `wfile` still buffers, and close both files."""
        if not self.wfile.closed:
            # The client may be gone; there is nobody to tell.
            with contextlib.suppress(OSError):
                self.wfile.flush()
        self.wfile.close()
        self.rfile.close()


def open_files(handler: Any) -> None:
    """Open `rfile` and `wfile` of a stream's handler on its connection, buffered as the handler says."""
    connection = handler.connection
    own = getattr(handler, "_open_rfile", None)  # the standard library's handlers have none
    handler.rfile = own() if own is not None else connection.makefile("rb", handler.rbufsize)
    handler.wfile = (
        SocketWriter(connection)
        if handler.wbufsize == 0
        else connection.makefile("wb", handler.wbufsize)
    )


class SocketWriter(io.BufferedIOBase):
    """A `wfile` without a buffer: what is written is sent, all of it, before `write` returns."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._sendall = sock.sendall

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Send `data`, a bytes-like object; return how many bytes it had.

        Raises
        ------
        OSError
            When the client is gone, or the connection's timeout has passed.
        """
        self._sendall(data)
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        descriptor: int = self._sock.fileno()
        return descriptor


@has_options
class DatagramRequestHandler(BaseRequestHandler, DatagramRequestHandlerOptions):
    """Gives the handler of a datagram two files: `rfile` holds it, `wfile` becomes the reply."""

    packet: bytes
    socket: "_Socket"
    rfile: io.BytesIO
    wfile: io.BytesIO

    def setup(self) -> None:
        """Open `rfile` and `wfile`."""
        self.packet, self.socket = self.request
        self.rfile = io.BytesIO(self.packet)
        self.wfile = io.BytesIO()

    def finish(self) -> None:
        """Send the reply."""
        if self.automatic_reply:
            self.socket.sendto(self.wfile.getvalue(), self.client_address)
