"""The handler classes: one instance for each connection, which it serves in straight, blocking code."""

import contextlib
import io
import socket
from typing import TYPE_CHECKING, Any, Self, overload

from manyhands.config.options import has_options
from manyhands.connections.socket_classes import header_of
from manyhands.connections.tls_handshake import NEVER_TLS, send_secrets_at_once
from manyhands.dropin.own_names import yields_to_others
from manyhands.dropin.stream_files import open_files
from manyhands.runtime.caller import current_task
from manyhands.serving.served_connection import connection_of, connection_to_tell

if TYPE_CHECKING:
    from ssl import SSLContext

    from manyhands.config.keywords import DatagramRequestHandlerOptions
    from manyhands.connections.timeouts import ConnectionTimeouts
    from manyhands.dropin.base import BaseServer as _Server
    from manyhands.dropin.base import Request
    from manyhands.protocol.proxy_header import ProxyHeader

    # `DatagramRequestHandler.socket`, below, hides the module within its class.
    _Socket = socket.socket
else:
    # What editors and type checkers know of the options, which the decorator sets.
    DatagramRequestHandlerOptions = object
    # As in `dropin.base`.
    SSLContext = ConnectionTimeouts = _Server = Request = ProxyHeader = _Socket = Any


class _ProxyHeaderAttribute:
    """The attribute `proxy_header`. No data descriptor, so an attribute of the program's own goes first."""

    def __get__(self, handler: Any, kind: type) -> "ProxyHeader | None":
        return None if handler is None else header_of(handler.request)


class _DeadlinesAttribute:
    """The attribute `deadlines`. No data descriptor, so an attribute of the program's own goes first."""

    @overload
    def __get__(self, handler: None, kind: type) -> Self: ...
    @overload
    def __get__(self, handler: object, kind: type) -> "ConnectionTimeouts": ...
    def __get__(self, handler: Any, kind: type) -> "Self | ConnectionTimeouts":
        if handler is None:
            return self
        connection = connection_of(handler)
        if connection is None:
            raise AttributeError(
                f"this {kind.__name__} has no deadlines: it serves no connection of a server"
            )
        return connection.deadlines


class BaseRequestHandler:
    """Serves one request in its constructor: `setup`, `handle`, and `finish` even when `handle` raises.

    Parameters
    ----------
    request
        The connection's socket; for a datagram, the pair of its data and the server's socket.
    client_address
        The client's address, as `accept`, `recvfrom` or a PROXY header gave it.
    server
        The server.
    **state
        More attributes of the handler, by their names. Give the server
        ``functools.partial(Handler, database=...)`` in the place of the class.

    Notes
    -----
    A handler may have a method ``goodbye``, without arguments: it is called once when the server begins to
    drain, beside `handle`, in a thread (on fibers, a fiber) of its own. See ``docs/server.md``.
    """

    proxy_header = _ProxyHeaderAttribute()
    """The PROXY header of the connection, with its addresses and TLVs; None where none was asked for."""

    deadlines = _DeadlinesAttribute()
    """The deadlines of the connection: `idle_timeout`, `write_timeout` and `max_age`, in seconds, or None.
    They are the server's until the handler sets its own. Thread-safe. A datagram has none: AttributeError."""

    request: Any
    client_address: Any
    server: _Server

    def __init__(
        self, request: "Request", client_address: Any, server: "_Server", **state: Any
    ) -> None:
        self.request = request
        self.client_address = client_address
        self.server = server
        # Before `setup`, which may use it.
        if state:
            vars(self).update(state)
        self.setup()
        if self.request is not request:
            send_secrets_at_once(self.request, server)  # `setup` may have wrapped it for TLS
        try:
            # Not by `hasattr(self)`: a handler's own `__getattr__` may answer to any name.
            if hasattr(type(self), "goodbye") or "goodbye" in self.__dict__:
                _handle_until_goodbye(self)
            else:
                self.handle()
        finally:
            self.finish()

    def setup(self) -> None:
        """Prepare what `handle` needs. A hook; when it raises, neither `handle` nor `finish` runs."""

    def handle(self) -> None:
        """Serve the client until the connection may be closed. A hook."""

    def finish(self) -> None:
        """Clean up after `handle`, whether it returned or raised. A hook."""

    # Beyond the standard library

    @yields_to_others
    def send(self, data: Any) -> bool:
        """Send a piece of data to this handler's client, whole. Never waits.

        From any thread or fiber: other handlers may call it too. What the client does not read waits in the
        connection's outbox, and what `wfile` writes waits for its turn there, so no two pieces ever mix. Not
        for signal handlers.

        Parameters
        ----------
        data : bytes-like

        Returns
        -------
        bool
            Whether the piece is sent, or waits. False when the connection is over, or its client has fallen
            behind: see the option `when_behind`.

        Raises
        ------
        Mistake
            When it is text, or longer than the option `outbox` allows.
        RuntimeError
            When the handler serves a datagram.
        """
        connection = connection_to_tell(self)
        return connection is not None and connection.send(data)

    @yields_to_others
    def join(self, room: str, name: str | None = None) -> bool:
        """Have this handler's client told what is said in a room from now on: see `tell` of the server.

        Thread-safe. The client leaves all rooms when its connection ends.

        Parameters
        ----------
        room
            The name of the room, which is there while it has members.
        name
            What the client is called among the members; None: by its address.

        Returns
        -------
        bool
            False when the connection is over; and on the engine `processes` when the handler's process cannot
            hear: it has no descriptor or thread for that, or the server's process does not answer.

        Raises
        ------
        Mistake
            When a name is no text of 1 to 255 characters.
        RuntimeError
            When the handler serves a datagram.
        """
        connection = connection_to_tell(self)
        return connection is not None and connection.core.rooms.join(connection, room, name)

    @yields_to_others
    def leave(self, room: str) -> None:
        """Have this handler's client told nothing more of a room. It need not be a member. Thread-safe."""
        connection = connection_of(self)
        if connection is not None:
            connection.core.rooms.leave(connection, room)


def _handle_until_goodbye(handler: Any) -> None:
    """Call `handle` of a handler that has a `goodbye`, which the drain calls meanwhile."""
    connection = current_task()
    if connection is None:
        handler.handle()  # in no worker of ours, so no drain knows of it
    else:
        connection.handle(handler)


class StreamRequestHandler(BaseRequestHandler):
    """Serves a connection by two files: `rfile` to read from the client, `wfile` to write to it."""

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
        elif type(self.connection) not in NEVER_TLS:
            send_secrets_at_once(
                self.connection, self.server
            )  # the handler may have wrapped it itself
        open_files(self)

    def upgrade_to_tls(self, context: "SSLContext | None" = None) -> None:
        """Go over to TLS, after the client has asked for it and has got the go-ahead (STARTTLS, RFC 3207).

        `request`, `connection`, `rfile` and `wfile` speak TLS afterwards. For the thread or fiber that runs
        `handle`. See `manyhands.upgrade_to_tls`.

        Parameters
        ----------
        context
            The TLS context; None: the current one of the `manyhands.Server` that serves the connection.

        Raises
        ------
        OSError
            When the handshake fails or takes too long, or the client has sent more in clear.
        Mistake
            When there is no certificate.
        RuntimeError
            When the connection speaks TLS already.
        """
        from manyhands.dropin.starttls import upgrade_to_tls  # noqa: PLC0415 - few handlers do

        upgrade_to_tls(self, context)

    def _open_rfile(self) -> Any:
        """Return the file to read from the connection as it is now."""
        return self.connection.makefile("rb", self.rbufsize)

    def finish(self) -> None:
        """Send what `wfile` still buffers, and close both files."""
        if not self.wfile.closed:
            # The client may be gone; as in `socketserver`, that is no failure of the handler.
            with contextlib.suppress(OSError):
                self.wfile.flush()
        self.wfile.close()
        self.rfile.close()


@has_options
class DatagramRequestHandler(BaseRequestHandler, DatagramRequestHandlerOptions):
    """Gives the handler of a datagram two files: `rfile` holds it, `wfile` becomes the reply."""

    packet: bytes
    socket: _Socket
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
