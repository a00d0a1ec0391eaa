"""The listeners of `manyhands.Server`: the drop-in's servers, made from an endpoint and options."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from manyhands.dropin import TCPServer, UDPServer
from manyhands.listening.endpoints import Endpoint, endpoints
from manyhands.listening.inherited_sockets import duplicate
from manyhands.model.addresses import Address
from manyhands.server.handler_check import check_kind
from manyhands.server.hang_up import HangUp
from manyhands.server.option_attributes import OptionValues
from manyhands.server.run import Run
from manyhands.server.systemd import Service
from manyhands.server.tls import ServerTLS
from manyhands.serving.core import EngineRoom, is_draining
from manyhands.serving.drain import CutOff

if TYPE_CHECKING:
    import ssl


class Owner(Protocol):
    """What a listener needs of the server that runs it with others."""

    @property
    def current_run(self) -> Run:
        """The run that is under way, or the next one."""

    @property
    def tls(self) -> ServerTLS | None:
        """What its TLS connections are made with; None of a server without certificates."""

    @property
    def service(self) -> Service | None:
        """What tells systemd of the server; None when nobody wants to hear."""

    @property
    def hang_up(self) -> HangUp | None:
        """What SIGHUP does; None where it is not handled."""

    def drain(self, timeout: float | None = None) -> list[CutOff]:
        """Stop, and wait for the conversations."""

    def notice(self) -> None:
        """Have the server look at its listeners again."""


class _OnEndpoint:
    """Makes a server of its endpoint's family, for both IP versions where the endpoint says so.

    To handlers it is their `server`, and what they may ask of that as `socketserver` has it concerns the
    whole `manyhands.Server`.
    """

    endpoint: Endpoint
    owner: Owner
    run: Run
    """The one that it listens in: a handler that is left behind has nothing to say in the next."""

    # The drain waits for conversations, and has a deadline; nobody else must wait, and without one.
    block_on_close = False
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind the socket to the endpoint, or take one that is bound there."""
        if self.endpoint.descriptor >= 0:
            self._take_given()
            return
        if self.endpoint.is_dual_stack:
            self.socket: socket.socket
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()  # type: ignore[misc]  # the server class that this stands before

    def _take_given(self) -> None:
        self.socket.close()
        self.socket = duplicate(self.endpoint.descriptor)
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """Listen, unless the socket is given: then it listens, with its giver's backlog."""
        if self.endpoint.descriptor < 0:
            super().server_activate()  # type: ignore[misc]  # the server class that this stands before

    @property
    def tls_context(self) -> "ssl.SSLContext | None":
        """What TLS connections are made with now; None of a server without certificates. Thread-safe."""
        return None if self.owner.tls is None else self.owner.tls.context

    def service_actions(self) -> None:
        """Look after the certificates, systemd and SIGHUP, where there are any. A hook."""
        super().service_actions()  # type: ignore[misc]  # the server class that this stands before
        if self.owner.tls is not None:
            self.owner.tls.look()
        if self.owner.service is not None:
            self.owner.service.look()
        if self.owner.hang_up is not None and self.owner.hang_up.was_in_vain:
            self.owner.hang_up.look()

    def shutdown(self) -> None:
        """Stop the whole server, and return at once; a handler is one of those whom it waits for."""
        self.run.stop()

    @property
    def draining(self) -> bool:
        """Whether the server drains: its handlers had better come to an end. Forked ones see it too."""
        return self.run.is_draining or is_draining(self)

    def drain(self, timeout: float | None = None) -> list[CutOff]:
        """Drain the whole server: see `Server.drain`."""
        return self.owner.drain(timeout)

    def _wake_loops(self) -> None:
        self.owner.notice()

    # What programs read, and write in the place of `shutdown()`, where that could deadlock.
    @property
    def _BaseServer__shutdown_request(self) -> bool:  # noqa: N802 - its mangled name
        return self.run.is_stopping

    @_BaseServer__shutdown_request.setter
    def _BaseServer__shutdown_request(self, stop: bool) -> None:  # noqa: N802
        if stop:
            self.run.stop()

    def stop_receiving(self) -> None:
        """Have senders told that nobody reads any more, where the system can; answers still go out."""
        # What comes to a socket that is given may be for whoever else has it.
        if self.endpoint.family == socket.AF_UNIX and self.endpoint.descriptor < 0:
            # Else senders wait for room in the queue (unix(7), `max_dgram_qlen`); so they get EPIPE.
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)


class StreamListener(_OnEndpoint, TCPServer):
    """Serves the stream connections of one endpoint."""


class TLSListener(StreamListener):
    """Serves the TLS connections of one endpoint, each with the certificates that are current then."""

    def get_request(self) -> tuple[Any, Any]:
        """Accept one connection; its worker does the handshake. A hook."""
        return self._accept_before_handshake(self.tls_context)


class DatagramListener(_OnEndpoint, UDPServer):
    """Serves the datagrams of one endpoint."""


Listener = StreamListener | DatagramListener


def listen(
    endpoint: Endpoint,
    handler: Callable[[Any, Any, Any], Any],
    room: EngineRoom,
    options: OptionValues,
    owner: Owner,
) -> Listener:
    """Bind and listen; connections go to the engines of `room`, which listeners can share.

    `options` are class attributes of the listener, such as `max_threads`; `owner` is the server that runs it.

    Raises
    ------
    OSError
        When the endpoint cannot be had; the text says what holds it.
    """
    streams = TLSListener if endpoint.is_tls else StreamListener
    base = streams if endpoint.kind == socket.SOCK_STREAM else DatagramListener
    own = {"endpoint": endpoint, "owner": owner, "run": owner.current_run}
    own |= {"address_family": endpoint.family, "engine": options["engine"]}
    own |= options.of_listener()
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


def listen_on(
    addresses: Sequence[Address],
    handler: Callable[[Any, Any, Any], Any],
    room: EngineRoom,
    options: OptionValues,
    owner: Owner,
) -> Iterator[Listener]:
    """Bind every address, one after the other; yield each listener as soon as there is one.

    Raises
    ------
    Mistake
        When a host has no address, or a given socket is none that can be served, or not by the handler.
    OSError
        As of `listen`.
    """
    for address in addresses:
        for endpoint in endpoints(address):
            check_kind(handler, address, is_stream=endpoint.kind == socket.SOCK_STREAM)
            yield listen(endpoint, handler, room, options, owner)


def is_open(listener: Listener) -> bool:
    """Tell whether `listener` has not been closed."""
    return listener.fileno() >= 0


def bound_address(listener: Listener) -> Address:
    """Return where `listener` listens, with the port that it got."""
    is_stream = listener.socket_type == socket.SOCK_STREAM
    name = listener.server_address
    if isinstance(name, tuple):
        streams = "tls" if listener.endpoint.is_tls else "tcp"
        return Address(streams if is_stream else "udp", host=name[0], port=name[1])
    path = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
    return Address("unix" if is_stream else "unix-datagram", path=path.replace("\0", "@", 1))
