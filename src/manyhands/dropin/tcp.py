"""Servers of streams and of datagrams, over TCP, UDP and Unix sockets."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from manyhands.config.options import has_options, setting
from manyhands.connections import tls_handshake
from manyhands.connections.closing import send_close_notify
from manyhands.connections.connection import current_connection
from manyhands.connections.gated_sockets import finish_sending
from manyhands.connections.socket_classes import await_header
from manyhands.dropin.base import BaseServer, load_for_serving
from manyhands.listening.bind import bind, listen
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.sockets import accept, send_at_once
from manyhands.serving.core import core_of

if TYPE_CHECKING:
    from manyhands.config.keywords import TCPServerOptions, UDPServerOptions
    from manyhands.dropin.base import Request
    from manyhands.listening.unix_paths import BoundPath

    # The classes below have an attribute of the module's name.
    _Socket = socket.socket
    _InetAddress = (
        tuple[str | bytes | bytearray, int] | tuple[str | bytes | bytearray, int, int, int]
    )
else:
    # What editors and type checkers know of the options, which the decorator sets.
    TCPServerOptions = UDPServerOptions = object
    # As in `dropin.base`.
    Request = BoundPath = _InetAddress = _Socket = Any

_INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})


@has_options
class TCPServer(BaseServer, TCPServerOptions):
    """Serves TCP connections, one after the other; with a mix-in, many at the same time.

    Parameters
    ----------
    server_address
        ``(host, port)``; port 0 lets the system choose, and `server_address` then tells.
    RequestHandlerClass
        See `BaseServer`.
    bind_and_activate
        Whether to bind and listen now.

    Raises
    ------
    OSError
        When the address cannot be had; the text says what holds it.
    """

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM

    server_address: _InetAddress
    socket: _Socket

    __bound_path: BoundPath | None = None

    def __init__(
        self,
        server_address: "_InetAddress",
        RequestHandlerClass: Callable[[Any, Any, Self], Any],
        bind_and_activate: bool = True,
    ) -> None:
        BaseServer.__init__(self, server_address, RequestHandlerClass)
        self.socket = socket.socket(self.address_family, self.socket_type)
        if bind_and_activate:
            begin_to_listen(self)

    def server_bind(self) -> None:
        """Bind the socket to `server_address`, and put there what it became. A hook."""
        # Again, for what was set since the server was made.
        load_for_serving(self)
        if self._wants_its_address_back() and hasattr(socket, "SO_REUSEADDR"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._shares_its_port() and hasattr(socket, "SO_REUSEPORT"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.__bound_path = bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()

    def keep_path(self) -> None:
        """Take the file of the Unix socket for this server's own, as far as there is one."""
        path: Any = self.server_address
        if isinstance(path, str | bytes) and path and path[:1] not in {"\0", b"\0"}:
            from manyhands.listening.unix_paths import BoundPath  # noqa: PLC0415 - of few servers

            self.__bound_path = BoundPath.of(path)

    def _wants_its_address_back(self) -> bool:
        """Tell whether to set SO_REUSEADDR; by default only for streams, where that takes no port away."""
        if self.socket_type == socket.SOCK_STREAM:
            return self.allow_reuse_address
        said_by = next(o for o in (self, *type(self).__mro__) if "allow_reuse_address" in vars(o))
        return self.allow_reuse_address and said_by is not TCPServer

    def _shares_its_port(self) -> bool:
        # Unix sockets have no ports, and Linux 6.12 and later refuse the option on them.
        return self.allow_reuse_port and self.address_family in _INTERNET

    def server_activate(self) -> None:
        """Listen. A hook."""
        if self.no_delay is True and self.address_family in _INTERNET:
            send_at_once(self.socket)
        listen(self.socket, self.server_address, self.request_queue_size)

    def server_close(self) -> None:
        """Stop listening, and remove our Unix socket's file where `unlink_on_close` says so. A hook."""
        path, self.__bound_path = self.__bound_path, None
        if path is not None and self.unlink_on_close:
            path.unlink()
        self.socket.close()
        BaseServer.server_close(self)

    def get_request(self) -> tuple["_Socket", Any]:
        """Accept one connection. A hook.

        The handshake of a TLS listener is not waited for: the connection's own worker does it, or
        whatever asks the connection sooner for what only the handshake tells. Where `proxy_protocol` is on,
        the connection is a plain one, its header still to be read, and the address is the balancer's.
        """
        if type(self.socket) is not socket.socket and tls_handshake.is_tls(self.socket):
            return accept_before_handshake(self)
        core = self._server_core
        engine = core.engines.latest
        accepted: tuple[Any, Any] = (
            accept(self.socket)
            if engine is None or not engine.wraps_sockets
            else engine.accept(self.socket)
        )
        core.accepted_from = accepted[1]
        if self.proxy_protocol is True and not getattr(self.socket, "has_resumed", False):
            await_header(accepted[0], None)
        return accepted

    def shutdown_request(self, request: "Request") -> None:
        """Tell the client that nothing more will come, in TLS as well, then close. A hook."""
        if self._server_core.registry.are_detailed:
            connection = current_connection()
            if connection is not None:
                connection.note_last_traffic()
        if type(request) is not socket.socket:
            # First what waits in its outbox: of TLS nothing can be sent after the end.
            finish_sending(request)
            if tls_handshake.is_tls(request):
                send_close_notify(request)
        # A copy (in a child, or a dup) may hold the connection open; the client must not wait for that.
        # It may be gone already, too. (`suppress` would cost more than the rest of it.)
        try:  # noqa: SIM105
            request.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]  # a socket here
        except OSError:
            pass
        self.close_request(request)

    def close_request(self, request: "Request") -> None:
        """Close the connection. A hook."""
        request.close()  # type: ignore[union-attr]  # a socket here


def begin_to_listen(server: TCPServer) -> None:
    """Bind and activate a server; close it where that fails."""
    try:
        server.server_bind()
        server.server_activate()
    except BaseException:
        server.server_close()
        raise


def adopt_bound(server: TCPServer, bound: "_Socket", *, is_given: bool) -> None:
    """Have a server serve a socket that was bound before, by another program in this process.

    Of one that is given, the file of a Unix socket stays its giver's.
    """
    server.socket = bound
    server.server_address = bound.getsockname()
    if not is_given:
        server.keep_path()


def accept_before_handshake(server: TCPServer, context: Any = None) -> tuple[Any, Any]:
    """Accept one connection for TLS, with a context, or with that of the listening socket."""
    core = core_of(server)
    engine = core.engines.of(server)
    terms = tls_handshake.tls_terms_of(server.socket, context)
    plain: Any
    plain, peer = tls_handshake.accept_plain(server.socket)
    core.accepted_from = peer
    if server.proxy_protocol is True:
        if engine.tls_wrapper() is not None:
            # In the thread of the fibers: what the hooks are given is then what the worker will have.
            plain = engine.adopt(plain)
        await_header(plain, terms)
        return plain, peer
    timeout = setting("handshake_timeout", server)
    unshaken = tls_handshake.wrap_before_handshake(plain, peer, timeout, terms)
    return tls_handshake.for_worker(unshaken, engine.tls_wrapper()), peer


@has_options
class UDPServer(TCPServer, UDPServerOptions):
    """Serves datagrams; a request is the pair of the datagram and the socket to answer on."""

    socket_type: int = socket.SOCK_DGRAM

    # On a datagram socket it would let a second server take the port over.
    allow_reuse_address: bool = False

    truncated_datagrams: int = 0
    """How many datagrams were cut to `max_packet_size`."""

    def get_request(self) -> tuple[tuple[bytes, "_Socket"], Any]:  # type: ignore[override]
        """Receive one datagram. A hook."""
        # One byte more than is wanted tells whether there was more.
        most = self.max_packet_size
        data, client_address = self.socket.recvfrom(most + 1)
        if len(data) > most:
            data = cut_to_size(self, data, client_address)
        return (data, self.socket), client_address

    def server_activate(self) -> None:
        """Do nothing: a datagram socket receives as soon as it is bound."""

    def shutdown_request(self, request: "Request") -> None:
        """Do nothing but `close_request`: the socket is the server's own."""
        self.close_request(request)

    def close_request(self, request: "Request") -> None:
        """Do nothing: the socket is the server's own."""


def cut_to_size(server: UDPServer, data: bytes, client_address: Any) -> bytes:
    """Return what a server takes of a datagram that is longer, and tell that the rest is lost."""
    server.truncated_datagrams += 1
    if event_hub.has_subscribers:
        event_hub.emit(
            events.DatagramTruncated(
                format_address(server.server_address), client_address, server.max_packet_size
            )
        )
    return data[: server.max_packet_size]
