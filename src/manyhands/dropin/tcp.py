"""Stream servers: TCP and Unix."""

import os
import socket
from collections.abc import Callable
from typing import Any

from manyhands.config.class_attributes import setting
from manyhands.connections import closing, socket_classes, tls_handshake
from manyhands.connections.conversation import current
from manyhands.dropin.base import BaseServer
from manyhands.listening.bind import bind, listen
from manyhands.listening.unix_paths import BoundPath
from manyhands.model import events


class TCPServer(BaseServer):
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

    request_queue_size: int = 1024
    """Connections that the kernel holds until they are accepted (`listen(2)`; it has a bound of its own,
    ``net.core.somaxconn``). The standard library's 5 resets clients that come in a burst."""

    allow_reuse_address: bool = os.name == "posix"
    """Whether a restarted server gets its port back at once (SO_REUSEADDR, socket(7)). Elsewhere than on
    POSIX the option means that two servers can share a port, so there it is off."""

    allow_reuse_port: bool = False
    """Whether several processes may listen on the port, each getting a share (SO_REUSEPORT, socket(7))."""

    unlink_on_close: bool = True
    """Whether `server_close` removes the file that a Unix socket made, if it is still that socket's."""

    __bound_path: BoundPath | None = None

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Callable[[Any, Any, Any], Any],
        bind_and_activate: bool = True,
    ) -> None:
        BaseServer.__init__(self, server_address, RequestHandlerClass)
        self.socket = socket.socket(self.address_family, self.socket_type)
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:
                self.server_close()
                raise

    def server_bind(self) -> None:
        """Bind the socket to `server_address`, and put there what it became. A hook."""
        if self._wants_its_address_back() and hasattr(socket, "SO_REUSEADDR"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._shares_its_port() and hasattr(socket, "SO_REUSEPORT"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.__bound_path = bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()

    def _wants_its_address_back(self) -> bool:
        """Tell whether to set SO_REUSEADDR; our default is for streams, where it steals from nobody."""
        if self.socket_type == socket.SOCK_STREAM:
            return self.allow_reuse_address
        said_by = next(o for o in (self, *type(self).__mro__) if "allow_reuse_address" in vars(o))
        return self.allow_reuse_address and said_by is not TCPServer

    def _shares_its_port(self) -> bool:
        # Unix sockets have no ports, and Linux 6.12 and later refuse the option on them.
        return self.allow_reuse_port and self.address_family in {socket.AF_INET, socket.AF_INET6}

    def server_activate(self) -> None:
        """Listen. A hook."""
        listen(self.socket, self.server_address, self.request_queue_size)

    def server_close(self) -> None:
        """Stop listening, and remove our Unix socket's file. A hook."""
        path, self.__bound_path = self.__bound_path, None
        if path is not None and self.unlink_on_close:
            path.unlink()
        self.socket.close()
        BaseServer.server_close(self)

    def get_request(self) -> tuple[Any, Any]:
        """Accept one connection. A hook.

        The handshake of a TLS listener is not waited for: the connection's own worker does it, or
        whatever asks the connection sooner for what only the handshake tells. Where `proxy_protocol` is on,
        the connection is a plain one, its header still to be read, and the address is the balancer's.
        """
        if tls_handshake.is_tls(self.socket):
            return self._accept_before_handshake()
        engine = self._engine_room.latest
        accepted: tuple[Any, Any] = (
            self.socket.accept()
            if engine is None or not engine.wraps_sockets
            else engine.accept(self.socket)
        )
        if self.proxy_protocol is True:
            socket_classes.mark(accepted[0], None)
        return accepted

    def _accept_before_handshake(self, context: Any = None) -> tuple[Any, Any]:
        """Accept one connection for TLS, with a context, or with that of the listening socket."""
        if self.proxy_protocol is True:
            plain: Any
            plain, peer = tls_handshake.accept_plainly(self.socket)
            engine = self._engine_of_next_request()
            if engine.tls_wrapper() is not None:
                # In its home: what the hooks are given is then what the worker will have.
                plain = engine.adopt(plain)
            socket_classes.mark(plain, tls_handshake.manner_of(self.socket, context))
            return plain, peer
        timeout = setting("handshake_timeout", self)
        unshaken, client_address = tls_handshake.accept_before_handshake(
            self.socket, timeout, context
        )
        wrapper = self._engine_of_next_request().tls_wrapper()
        return tls_handshake.moved(unshaken, wrapper), client_address

    def shutdown_request(self, request: Any) -> None:
        """Tell the client that nothing more will come, in TLS as well, then close. A hook."""
        if self._engine_room.books.are_detailed:
            conversation = current()
            if conversation is not None:
                conversation.look_at_its_end()
        closing.say_goodbye(request)
        # A copy (in a child, or a dup) may hold the connection open; the client must not wait for that.
        # It may be gone already, too. (`suppress` would cost more than the rest of it.)
        try:  # noqa: SIM105
            request.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Close the connection. A hook."""
        request.close()


# Datagram servers: UDP and Unix.


class UDPServer(TCPServer):
    """Serves datagrams; a request is the pair of the datagram and the socket to answer on."""

    socket_type: int = socket.SOCK_DGRAM

    # On a datagram socket it would let a second server take the port over.
    allow_reuse_address: bool = False
    allow_reuse_port: bool = False

    max_packet_size: int = 8192
    """Bytes that a handler gets of a datagram; what was longer is cut, counted, and told as an event."""

    truncated_datagrams: int = 0
    """How many datagrams were cut to `max_packet_size`."""

    def get_request(self) -> tuple[Any, Any]:
        """Receive one datagram. A hook."""
        # One byte more than is wanted tells whether there was more.
        data, client_address = self.socket.recvfrom(self.max_packet_size + 1)
        if len(data) > self.max_packet_size:
            data = data[: self.max_packet_size]
            self.truncated_datagrams += 1
            events.hub.emit(
                events.DatagramTruncated(
                    self._describe_listener(), client_address, self.max_packet_size
                )
            )
        return (data, self.socket), client_address

    def server_activate(self) -> None:
        """Do nothing: a datagram socket receives as soon as it is bound."""

    def shutdown_request(self, request: Any) -> None:
        """Do nothing but `close_request`: the socket is the server's own."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Do nothing: the socket is the server's own."""
