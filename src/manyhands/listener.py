"""The listeners of `manyhands.Server`: the drop-in's servers, made from an endpoint and options."""

import socket
from collections.abc import Callable, Mapping
from typing import Any

from .binding.endpoints import Endpoint
from .rules.address import Address
from .servers import TCPServer, UDPServer
from .servers.engine_room import EngineRoom


class _OnEndpoint:
    """Makes a server of its endpoint's family, for both IP versions where the endpoint says so."""

    endpoint: Endpoint

    # The drain waits for conversations, and has a deadline; nobody else must wait, and without one.
    block_on_close = False
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind the socket to the endpoint."""
        if self.endpoint.is_dual_stack:
            self.socket: socket.socket
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()  # type: ignore[misc]  # the server class that this stands before


class StreamListener(_OnEndpoint, TCPServer):
    """Serves the stream connections of one endpoint."""


class DatagramListener(_OnEndpoint, UDPServer):
    """Serves the datagrams of one endpoint."""


Listener = StreamListener | DatagramListener


def listen(
    endpoint: Endpoint,
    handler: Callable[[Any, Any, Any], Any],
    room: EngineRoom,
    options: Mapping[str, object],
) -> Listener:
    """Bind and listen; connections go to the engines of `room`, which listeners can share.

    `options` are class attributes of the listener, such as `max_threads`.

    Raises
    ------
    OSError
        When the endpoint cannot be had; the text says what holds it.
    """
    base = StreamListener if endpoint.kind == socket.SOCK_STREAM else DatagramListener
    own = {"endpoint": endpoint, "address_family": endpoint.family, **options}
    kind = type(base.__name__, (base,), own)
    listener: Listener = kind(endpoint.address, handler, bind_and_activate=False)
    vars(listener)["_engine_room"] = room
    try:
        listener.server_bind()
        listener.server_activate()
    except BaseException:
        listener.server_close()
        raise
    return listener


def bound_address(listener: Listener) -> Address:
    """Return where `listener` listens, with the port that it got."""
    is_stream = listener.socket_type == socket.SOCK_STREAM
    name = listener.server_address
    if isinstance(name, tuple):
        return Address("tcp" if is_stream else "udp", host=name[0], port=name[1])
    path = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
    return Address("unix" if is_stream else "unix-datagram", path=path.replace("\0", "@", 1))
