"""The listeners of `manyhands.Server`: the drop-in's servers, made from an endpoint and options."""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from manyhands.connections.connection import reason_of_failure
from manyhands.connections.peer_errors import reason_of
from manyhands.dropin.handlers import DatagramRequestHandler
from manyhands.dropin.tcp import (
    TCPServer,
    UDPServer,
    accept_before_handshake,
    begin_to_listen,
    cut_to_size,
)
from manyhands.listening import called_address, multicast
from manyhands.listening.called_address import AnsweringSocket
from manyhands.listening.endpoints import Endpoint
from manyhands.listening.inherited_sockets import duplicate
from manyhands.listening.unix_access import giving
from manyhands.model import lazy_events as events
from manyhands.model.addresses import Address
from manyhands.model.connection_states import Reason
from manyhands.model.event_hub import event_hub
from manyhands.model.socket_addresses import format_address
from manyhands.runtime.sockets import send_at_once
from manyhands.server.option_attributes import OptionValues, has_owners_options
from manyhands.server.other_names import refuses_slips
from manyhands.serving.core import ServerCore, core_of, share_core
from manyhands.serving.worker_shortage import is_told

if TYPE_CHECKING:
    import ssl

    from manyhands.serving.drain import CutOff

Handler = Callable[[Any, Any, Any], Any]


class CurrentRun(Protocol):
    """What a listener needs of the run that it listens in."""

    is_stopping: bool
    is_draining: bool

    def stop(self) -> None:
        """Ask for the end of the run."""


class Owner(Protocol):
    """What a listener needs of what serves it together with others."""

    options: OptionValues
    """The server's options."""

    @property
    def current_run(self) -> CurrentRun:
        """The run that is under way, or the next one."""

    @property
    def tls_context(self) -> "ssl.SSLContext | None":
        """What TLS connections are made with now."""

    def drain(self, timeout: float | None = None) -> "list[CutOff]":
        """Stop, and wait for the connections."""

    def notice(self) -> None:
        """Have the accept loop look at its listeners again."""


@refuses_slips
@has_owners_options
class _OnEndpoint:
    """Makes a server of its endpoint's family, for both IP versions where the endpoint says so.

    To handlers it is their `server`, and what they may ask of that as `socketserver` has it concerns the
    whole `manyhands.Server`.
    """

    endpoint: Endpoint
    owner: Owner
    socket: socket.socket
    server_address: Any
    run: CurrentRun
    """The run that it listens in: a handler that is left behind has nothing to say in the next."""

    # The drain waits for connections, and has a deadline; nothing else must wait, and without one.
    block_on_close = False
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind the socket to the endpoint."""
        endpoint = self.endpoint
        if endpoint.is_dual_stack:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        with giving(endpoint.access, self.socket, endpoint.address):
            super().server_bind()  # type: ignore[misc]  # the server class that this stands before

    @property
    def tls_context(self) -> "ssl.SSLContext | None":
        """What TLS connections are made with now; None of a server without certificates. Thread-safe."""
        return self.owner.tls_context

    def shutdown(self) -> None:
        """Stop the whole server, and return at once: its end waits for the handler that calls this."""
        self.run.stop()

    @property
    def draining(self) -> bool:
        """Whether the server drains: its handlers had better come to an end. Forked ones see it too."""
        return self.run.is_draining or core_of(self).is_draining

    def drain(self, timeout: float | None = None) -> "list[CutOff]":
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report the exception that is being handled, unless an event tells of it. A hook.

        A client that resets, or that the server has cut off, is no failure of the program.
        """
        error = sys.exception()
        if error is not None and is_told(error):
            return
        if (
            not isinstance(error, Exception)
            or request is None
            or not self.is_clients_end(request, error)
        ):
            super().handle_error(request, client_address)  # type: ignore[misc]  # as above
        elif event_hub.has_subscribers:
            reason = reason_of_failure(error) or Reason.PEER_RESET
            where = format_address(self.server_address)
            event_hub.emit(
                events.ConnectionLost(where, client_address, reason.value, type(error).__name__)
            )

    def is_clients_end(self, request: Any, error: Exception) -> bool:
        """Tell whether an exception is the end of the client's connection, and no failure of the program."""
        return reason_of(error, request) is not Reason.HANDLER_FAILED

    def stop_receiving(self) -> None:
        """Have senders told that no datagram is read any more, where the system can; answers still go out."""
        # What comes to a socket that is given may be for another process that has it.
        if self.endpoint.family == socket.AF_UNIX and self.endpoint.descriptor < 0:
            # Else senders wait for room in the queue (unix(7), `max_dgram_qlen`); so they get EPIPE.
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)

    @property
    def is_stream(self) -> bool:
        """Whether it serves connections, and not datagrams."""
        return self.endpoint.kind == socket.SOCK_STREAM

    @property
    def bound_address(self) -> Address:
        """Where it listens, with the port that it got."""
        name = self.server_address
        if isinstance(name, tuple):
            streams = "tls" if self.endpoint.is_tls else "tcp"
            return Address(streams if self.is_stream else "udp", host=name[0], port=name[1])
        path = name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)
        scheme = "unix" if self.is_stream else "unix-datagram"
        return Address(scheme, path=path.replace("\0", "@", 1))


# `draining` is for reading in both: a program may put its own in the place of the drop-in's, but not here.
class StreamListener(_OnEndpoint, TCPServer):  # type: ignore[override]
    """Serves the stream connections of one endpoint."""


class TLSListener(StreamListener):
    """Serves the TLS connections of one endpoint, each with the certificates that are current then."""

    def get_request(self) -> tuple[Any, Any]:
        """Accept one connection; its worker does the handshake. A hook."""
        return accept_before_handshake(self, self.tls_context)


class DatagramListener(_OnEndpoint, UDPServer):  # type: ignore[override]  # as above
    """Serves the datagrams of one endpoint, or those of a group."""

    asks_where = False
    """Whether the kernel is to tell where each datagram was sent."""

    def server_bind(self) -> None:
        """Bind the socket to the endpoint, and join its group where it is one."""
        family, address = self.endpoint.family, self.endpoint.address
        is_of_group = family in multicast.FAMILIES and multicast.is_group(family, address[0])
        if is_of_group:
            multicast.prepare(self.socket)
        super().server_bind()
        if is_of_group:
            multicast.join(self.socket, address, self.endpoint.interface)

    def is_clients_end(self, request: Any, error: Exception) -> bool:
        """Tell whether the reply, which `finish` sends, found its client gone (unix(7), udp(7))."""
        del request
        if not isinstance(error, ConnectionError | FileNotFoundError):
            return False
        return DatagramRequestHandler.finish.__code__ in _codes(error.__traceback__)


class EveryAddressListener(DatagramListener):
    """Serves the datagrams to all addresses of this host: each answer comes from the one that was called."""

    asks_where = True

    def server_bind(self) -> None:
        """Bind the socket, and have the kernel tell where each datagram was sent."""
        super().server_bind()
        called_address.ask_for_it(self.socket)

    def get_request(self) -> tuple[Any, Any]:
        """Receive one datagram. A hook."""
        longest = self.max_packet_size
        data, told, _, client_address = self.socket.recvmsg(longest + 1, called_address.ROOM)
        if len(data) > longest:
            data = cut_to_size(self, data, client_address)
        control = called_address.control_of_answer(told)
        return (data, AnsweringSocket(self.socket, client_address, control)), client_address


def _codes(traceback: TracebackType | None) -> Iterator[CodeType]:
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next


class _OnGivenSocket:
    """Makes a server of a socket that is given: a mix-in before the class of a listener."""

    endpoint: Endpoint
    socket: socket.socket
    no_delay: bool

    def server_bind(self) -> None:
        """Take a duplicate of the socket, which is bound."""
        self.socket.close()
        self.socket = duplicate(self.endpoint.descriptor)
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """Do nothing: the socket listens, with its giver's backlog."""

    def get_request(self) -> tuple[Any, Any]:
        """Accept one connection, or receive one datagram. A hook."""
        request, client_address = super().get_request()  # type: ignore[misc]  # the class that this stands before
        # The listening socket would hand it on, but its options are its giver's.
        if self.no_delay and self.socket.type == socket.SOCK_STREAM:
            send_at_once(request)
        return request, client_address


Listener = StreamListener | DatagramListener


def _listener_class(endpoint: Endpoint, *, is_given: bool) -> type[Listener]:
    if endpoint.kind == socket.SOCK_STREAM:
        return TLSListener if endpoint.is_tls else StreamListener
    is_for_all = endpoint.address[:1] in {("::",), ("0.0.0.0",)}  # noqa: S104 - recognised
    # The options of a socket that is given are its giver's.
    if is_for_all and not is_given and called_address.IS_TOLD:
        return EveryAddressListener
    return DatagramListener


class Making(NamedTuple):
    """How listeners are made that stand in a process among others.

    Attributes
    ----------
    mix_in : type or None
        What comes before the class of the listener, if anything does.
    own : dict
        Class attributes of it.
    engine : str or None
        The engine in the place of the options'.
    forced : dict
        Options in the place of what the server says.
    is_given : bool or None
        Whether the socket is somebody else's; None: as its endpoint says.
    """

    mix_in: type | None
    own: dict[str, object]
    engine: str | None = None
    forced: dict[str, object] = {}  # noqa: RUF012 - never changed
    is_given: bool | None = None


def open_listener(  # noqa: PLR0913, PLR0917 - all that it is made of
    endpoint: Endpoint,
    handler: Handler,
    core: ServerCore,
    options: OptionValues,
    owner: Owner,
    making: Making | None = None,
) -> Listener:
    """Bind and listen.

    Parameters
    ----------
    endpoint
        Where.
    handler
        What serves each connection.
    core
        What the listener shares with others.
    options
        Class attributes of the listener, such as `max_threads`.
    owner
        The server that runs it.
    making
        What differs in a supervisor, and in a worker.

    Raises
    ------
    OSError
        When the endpoint cannot be had; the text says what holds it.
    """
    is_given = endpoint.descriptor >= 0
    if making is not None and making.is_given is not None:
        is_given = making.is_given
    base = _listener_class(endpoint, is_given=is_given)
    bases: tuple[type, ...] = (_OnGivenSocket, base) if is_given else (base,)
    own = {"endpoint": endpoint, "owner": owner, "run": owner.current_run}
    own |= {"address_family": endpoint.family, "engine": options["engine"]}
    if making is not None:
        bases = bases if making.mix_in is None else (making.mix_in, *bases)
        own |= making.own
        own["engine"] = making.engine or own["engine"]
    kind: Any = type(base.__name__, bases, own)
    listener: Listener = kind(endpoint.address, handler, bind_and_activate=False)
    vars(listener).update(options.settled())
    if making is not None:
        vars(listener).update(making.forced)
    share_core(listener, core)
    begin_to_listen(listener)
    return listener
