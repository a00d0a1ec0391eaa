"""What editors and type checkers know of the options. Imported by them alone.

Written by `tools/write_options.py` from the table, `manyhands/config/options.py`.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from ssl import SSLContext
from typing import Any, Generic, Literal, Never, Self, TypedDict, TypeVar, overload

Handler = Callable[[Any, Any, Any], object]
"""Serves a connection, called with ``(request, client_address, server)``: a handler class, or a function."""

_Value_co = TypeVar("_Value_co", covariant=True)


class Settled(Generic[_Value_co]):
    """An attribute of `Server` that is settled when the server is made: it can only be read."""

    @overload
    def __get__(self, server: None, kind: type) -> Self: ...
    @overload
    def __get__(self, server: object, kind: type) -> _Value_co: ...
    def __get__(self, server: object, kind: type) -> Self | _Value_co:
        """Return the value."""
        raise NotImplementedError

    def __set__(self, server: object, value: Never) -> None:
        """Refuse: there is no value that may be set."""


class ServerOptions(TypedDict, total=False):
    """The keywords of `Server`."""

    engine: Literal["sequential", "threads", "processes", "fibers"]
    """Serve one client after the other, or each in a thread, a process or a fiber. Default threads."""
    max_threads: int | None
    """Clients served at once; above it the kernel's backlog holds them (on the engine threads).
    Threads, default none."""
    max_children: int
    """Clients served at once by processes (on the engine processes). Processes, default 40."""
    max_fibers: int | None
    """Clients served at once by fibers; above it the kernel's backlog holds them (on the engine
    fibers). Fibers, default none."""
    hub_block_time: float | None
    """Time that one fiber may hold up all others before an event names it (on the engine fibers).
    Seconds, default 0.1."""
    request_queue_size: int
    """The backlog: connections that the kernel holds until they are accepted. Connections, default
    1024."""
    allow_reuse_port: bool
    """Let several servers listen on one port, the kernel dealing out the connections. Default False."""
    no_delay: bool
    """Send small writes at once (TCP_NODELAY); a drop-in server that does not say does so on TLS
    connections. Default True."""
    max_packet_size: int
    """The longest datagram that is taken whole. Bytes, default 65535."""
    certfile: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    """The certificate for tls:// addresses, with its chain, in PEM form; of several, the first is for
    names that none of them has; read again when the files change. Default none."""
    keyfile: str | PathLike[str] | Sequence[str | PathLike[str]] | None
    """The key of the certificate, or of each in their order, where it is not in the same file. Default
    none."""
    client_ca: str | PathLike[str] | None
    """The authorities that vouch for clients' certificates, in PEM form. Default none."""
    client_certificates: Literal["none", "optional", "required"]
    """Whether clients show a certificate that client_ca vouches for. Default required."""
    alpn: str | Sequence[str] | None
    """A protocol that is spoken over TLS (ALPN), the one preferred first. Default none."""
    max_connections: int | None
    """Connections that are open at once, on all addresses of a server together. Connections, default
    10000."""
    max_datagrams: int | None
    """Datagrams that are served at once, on all addresses of a server together; above it the kernel's
    buffer holds them, and drops what it cannot hold. Datagrams, default 1000."""
    max_connections_per_ip: int | None
    """Connections of one address that are open at once. Connections, default none."""
    ipv6_prefix: int
    """The network of an IPv6 client that counts as one address (with max_connections_per_ip or
    max_rate_per_ip). Bits, default 64."""
    max_rate: float | None
    """New connections in a second. Per second, default none."""
    max_rate_per_ip: float | None
    """New connections of one address in a second. Per second, default none."""
    rate_burst: int | None
    """Connections that may come at once while max_rate holds on average; none: as many as in one second
    (with max_rate). Default none."""
    rate_burst_per_ip: int | None
    """Connections of one address that may come at once while max_rate_per_ip holds on average; none: as
    many as in one second (with max_rate_per_ip). Default none."""
    allow: str | Sequence[str] | None
    """A network that clients must come from, as 10.0.0.0/8 or 192.0.2.1. Default none."""
    deny: str | Sequence[str] | None
    """A network that clients must not come from. Default none."""
    when_full: Literal["wait", "refuse"] | Handler
    """What becomes of a client that calls when max_connections are open: it waits in the backlog, or is
    refused; in a program, a handler for those (with max_connections). Default wait."""
    refusal: str | bytes | None
    """What a refused client is told before its connection is closed, as it stands: no end of line is
    added, and no backslash means anything (with when_full or max_connections_per_ip or max_rate or
    max_rate_per_ip or allow or deny). Default none."""
    handshake_timeout: float | None
    """Time for a client's PROXY header and TLS handshake together. Seconds, default 10.0."""
    proxy_protocol: bool
    """Require a PROXY header of each stream connection: a balancer says with it who the client is.
    Default False."""
    proxy_trusted: str | Sequence[str]
    """Networks of the balancers whose PROXY headers count; a peer from elsewhere is refused (with
    proxy_protocol). Default 127.0.0.0/8, ::1."""
    idle_timeout: float | None
    """Time for which nothing is received until a connection is closed, whatever is sent on it. Seconds,
    default 300.0."""
    write_timeout: float | None
    """Time for which a client acknowledges nothing of what waits for it until it is reset. Seconds,
    default 60.0."""
    max_age: float | None
    """Time until a connection is closed, give or take a tenth. Seconds, default none."""
    outbox: int
    """What may wait for a client to read of what other handlers send to it, beside the kernel's buffer.
    Bytes, default 262144."""
    when_behind: Literal["close", "drop_oldest", "drop_new"]
    """What becomes of a client that does not read, when its outbox is full: its connection is closed,
    or what waits longest or comes last is dropped, and counted. Default close."""
    drain_timeout: float
    """Time that handlers get to finish when the server is told to stop. Seconds, default 30.0."""
    workers: int | Literal["auto"] | None
    """Processes that serve, dealt their connections by a supervisor, or auto for one on each processor;
    none or 0: the one process serves by itself; Linux only. Default none."""
    reload_drain: Literal["drain", "stay"]
    """What becomes of connections at a reload: they are drained, or stay with the workers that have
    them until they end (with workers). Default drain."""
    max_generations: int
    """Generations of workers that there are at once; a reload that makes one more drains the oldest
    (with workers). Generations, default 3."""
    start_timeout: float
    """Time for a program to be imported, and for its workers to come up (with workers). Seconds,
    default 60.0."""
    worker_timeout: float | None
    """Time for which a worker's accept loop may stand still until the worker is replaced (with
    workers). Seconds, default 30.0."""
    control: str | PathLike[str] | None
    """The control socket, on which operators ask what the server does, and have it do something: a
    path, @NAME, or auto for a place by itself, as the commands have it. Default none."""
    control_read: str | PathLike[str] | None
    """One more control socket, on which nothing can be changed. Default none."""
    unlink_on_close: bool
    """Remove the path of a Unix socket when its server closes. Default True."""


class ServerAttributes:
    """The options of a `Server` as its attributes."""

    ssl_context: Settled[SSLContext | None]
    max_threads: Settled[int | None]
    """Clients served at once; above it the kernel's backlog holds them (on the engine threads).
    Threads, default none."""
    max_children: Settled[int]
    """Clients served at once by processes (on the engine processes). Processes, default 40."""
    max_fibers: Settled[int | None]
    """Clients served at once by fibers; above it the kernel's backlog holds them (on the engine
    fibers). Fibers, default none."""
    hub_block_time: Settled[float | None]
    """Time that one fiber may hold up all others before an event names it (on the engine fibers).
    Seconds, default 0.1."""
    request_queue_size: Settled[int]
    """The backlog: connections that the kernel holds until they are accepted. Connections, default
    1024."""
    allow_reuse_port: Settled[bool]
    """Let several servers listen on one port, the kernel dealing out the connections. Default False."""
    no_delay: Settled[bool]
    """Send small writes at once (TCP_NODELAY); a drop-in server that does not say does so on TLS
    connections. Default True."""
    max_packet_size: Settled[int]
    """The longest datagram that is taken whole. Bytes, default 65535."""
    certfile: Settled[str | PathLike[str] | Sequence[str | PathLike[str]] | None]
    """The certificate for tls:// addresses, with its chain, in PEM form; of several, the first is for
    names that none of them has; read again when the files change. Default none."""
    keyfile: Settled[str | PathLike[str] | Sequence[str | PathLike[str]] | None]
    """The key of the certificate, or of each in their order, where it is not in the same file. Default
    none."""
    client_ca: Settled[str | PathLike[str] | None]
    """The authorities that vouch for clients' certificates, in PEM form. Default none."""
    client_certificates: Settled[Literal["none", "optional", "required"]]
    """Whether clients show a certificate that client_ca vouches for. Default required."""
    alpn: Settled[str | Sequence[str] | None]
    """A protocol that is spoken over TLS (ALPN), the one preferred first. Default none."""
    max_connections: int | None
    """Connections that are open at once, on all addresses of a server together. Connections, default
    10000."""
    max_datagrams: int | None
    """Datagrams that are served at once, on all addresses of a server together; above it the kernel's
    buffer holds them, and drops what it cannot hold. Datagrams, default 1000."""
    max_connections_per_ip: int | None
    """Connections of one address that are open at once. Connections, default none."""
    ipv6_prefix: int
    """The network of an IPv6 client that counts as one address (with max_connections_per_ip or
    max_rate_per_ip). Bits, default 64."""
    max_rate: float | None
    """New connections in a second. Per second, default none."""
    max_rate_per_ip: float | None
    """New connections of one address in a second. Per second, default none."""
    rate_burst: int | None
    """Connections that may come at once while max_rate holds on average; none: as many as in one second
    (with max_rate). Default none."""
    rate_burst_per_ip: int | None
    """Connections of one address that may come at once while max_rate_per_ip holds on average; none: as
    many as in one second (with max_rate_per_ip). Default none."""
    allow: str | Sequence[str] | None
    """A network that clients must come from, as 10.0.0.0/8 or 192.0.2.1. Default none."""
    deny: str | Sequence[str] | None
    """A network that clients must not come from. Default none."""
    when_full: Literal["wait", "refuse"] | Handler
    """What becomes of a client that calls when max_connections are open: it waits in the backlog, or is
    refused; in a program, a handler for those (with max_connections). Default wait."""
    refusal: str | bytes | None
    """What a refused client is told before its connection is closed, as it stands: no end of line is
    added, and no backslash means anything (with when_full or max_connections_per_ip or max_rate or
    max_rate_per_ip or allow or deny). Default none."""
    handshake_timeout: float | None
    """Time for a client's PROXY header and TLS handshake together. Seconds, default 10.0."""
    proxy_protocol: Settled[bool]
    """Require a PROXY header of each stream connection: a balancer says with it who the client is.
    Default False."""
    proxy_trusted: Settled[str | Sequence[str]]
    """Networks of the balancers whose PROXY headers count; a peer from elsewhere is refused (with
    proxy_protocol). Default 127.0.0.0/8, ::1."""
    idle_timeout: float | None
    """Time for which nothing is received until a connection is closed, whatever is sent on it. Seconds,
    default 300.0."""
    write_timeout: float | None
    """Time for which a client acknowledges nothing of what waits for it until it is reset. Seconds,
    default 60.0."""
    max_age: float | None
    """Time until a connection is closed, give or take a tenth. Seconds, default none."""
    outbox: int
    """What may wait for a client to read of what other handlers send to it, beside the kernel's buffer.
    Bytes, default 262144."""
    when_behind: Literal["close", "drop_oldest", "drop_new"]
    """What becomes of a client that does not read, when its outbox is full: its connection is closed,
    or what waits longest or comes last is dropped, and counted. Default close."""
    drain_timeout: float
    """Time that handlers get to finish when the server is told to stop. Seconds, default 30.0."""
    workers: Settled[int | Literal["auto"] | None]
    """Processes that serve, dealt their connections by a supervisor, or auto for one on each processor;
    none or 0: the one process serves by itself; Linux only. Default none."""
    reload_drain: Settled[Literal["drain", "stay"]]
    """What becomes of connections at a reload: they are drained, or stay with the workers that have
    them until they end (with workers). Default drain."""
    max_generations: Settled[int]
    """Generations of workers that there are at once; a reload that makes one more drains the oldest
    (with workers). Generations, default 3."""
    start_timeout: Settled[float]
    """Time for a program to be imported, and for its workers to come up (with workers). Seconds,
    default 60.0."""
    worker_timeout: Settled[float | None]
    """Time for which a worker's accept loop may stand still until the worker is replaced (with
    workers). Seconds, default 30.0."""
    control: Settled[str | PathLike[str] | None]
    """The control socket, on which operators ask what the server does, and have it do something: a
    path, @NAME, or auto for a place by itself, as the commands have it. Default none."""
    control_read: Settled[str | PathLike[str] | None]
    """One more control socket, on which nothing can be changed. Default none."""
    unlink_on_close: Settled[bool]
    """Remove the path of a Unix socket when its server closes. Default True."""


class BaseServerOptions:
    """The options of a `BaseServer`."""

    engine: Literal["sequential", "threads", "processes", "fibers"] | None
    """Serve one client after the other, or each in a thread, a process or a fiber. Default none."""
    max_connections: int | None
    """Connections that are open at once, on all addresses of a server together. Connections, default
    none."""
    max_datagrams: int | None
    """Datagrams that are served at once, on all addresses of a server together; above it the kernel's
    buffer holds them, and drops what it cannot hold. Datagrams, default none."""
    max_connections_per_ip: int | None
    """Connections of one address that are open at once. Connections, default none."""
    ipv6_prefix: int
    """The network of an IPv6 client that counts as one address (with max_connections_per_ip or
    max_rate_per_ip). Bits, default 64."""
    max_rate: float | None
    """New connections in a second. Per second, default none."""
    max_rate_per_ip: float | None
    """New connections of one address in a second. Per second, default none."""
    rate_burst: int | None
    """Connections that may come at once while max_rate holds on average; none: as many as in one second
    (with max_rate). Default none."""
    rate_burst_per_ip: int | None
    """Connections of one address that may come at once while max_rate_per_ip holds on average; none: as
    many as in one second (with max_rate_per_ip). Default none."""
    allow: str | Sequence[str] | None
    """A network that clients must come from, as 10.0.0.0/8 or 192.0.2.1. Default none."""
    deny: str | Sequence[str] | None
    """A network that clients must not come from. Default none."""
    when_full: Literal["wait", "refuse"] | Handler
    """What becomes of a client that calls when max_connections are open: it waits in the backlog, or is
    refused; in a program, a handler for those (with max_connections). Default wait."""
    refusal: str | bytes | None
    """What a refused client is told before its connection is closed, as it stands: no end of line is
    added, and no backslash means anything (with when_full or max_connections_per_ip or max_rate or
    max_rate_per_ip or allow or deny). Default none."""
    handshake_timeout: float | None
    """Time for a client's PROXY header and TLS handshake together. Seconds, default 10.0."""
    proxy_protocol: bool
    """Require a PROXY header of each stream connection: a balancer says with it who the client is.
    Default False."""
    proxy_trusted: str | Sequence[str]
    """Networks of the balancers whose PROXY headers count; a peer from elsewhere is refused (with
    proxy_protocol). Default 127.0.0.0/8, ::1."""
    idle_timeout: float | None
    """Time for which nothing is received until a connection is closed, whatever is sent on it. Seconds,
    default none."""
    write_timeout: float | None
    """Time for which a client acknowledges nothing of what waits for it until it is reset. Seconds,
    default none."""
    max_age: float | None
    """Time until a connection is closed, give or take a tenth. Seconds, default none."""
    outbox: int
    """What may wait for a client to read of what other handlers send to it, beside the kernel's buffer.
    Bytes, default 262144."""
    when_behind: Literal["close", "drop_oldest", "drop_new"]
    """What becomes of a client that does not read, when its outbox is full: its connection is closed,
    or what waits longest or comes last is dropped, and counted. Default close."""


class ThreadingMixInOptions:
    """The options of a `ThreadingMixIn`."""

    max_threads: int | None
    """Clients served at once; above it the kernel's backlog holds them (on the engine threads).
    Threads, default none."""
    daemon_threads: bool
    """Let the program end while threads still serve. Default False."""
    block_on_close: bool
    """Let server_close() wait for the handlers. Default True."""


class ForkingMixInOptions:
    """The options of a `ForkingMixIn`."""

    max_children: int
    """Clients served at once by processes (on the engine processes). Processes, default 40."""
    block_on_close: bool
    """Let server_close() wait for the handlers. Default True."""


class FiberMixInOptions:
    """The options of a `FiberMixIn`."""

    max_fibers: int | None
    """Clients served at once by fibers; above it the kernel's backlog holds them (on the engine
    fibers). Fibers, default none."""
    hub_block_time: float | None
    """Time that one fiber may hold up all others before an event names it (on the engine fibers).
    Seconds, default 0.1."""
    daemon_threads: bool
    """Let the program end while threads still serve. Default False."""
    block_on_close: bool
    """Let server_close() wait for the handlers. Default True."""


class TCPServerOptions:
    """The options of a `TCPServer`."""

    request_queue_size: int
    """The backlog: connections that the kernel holds until they are accepted. Connections, default
    1024."""
    allow_reuse_address: bool
    """Take a port again at once after a restart. Default True."""
    allow_reuse_port: bool
    """Let several servers listen on one port, the kernel dealing out the connections. Default False."""
    no_delay: bool | None
    """Send small writes at once (TCP_NODELAY); a drop-in server that does not say does so on TLS
    connections. Default none."""
    unlink_on_close: bool
    """Remove the path of a Unix socket when its server closes. Default False."""


class UDPServerOptions:
    """The options of a `UDPServer`."""

    allow_reuse_port: bool
    """Let several servers listen on one port, the kernel dealing out the connections. Default False."""
    max_packet_size: int
    """The longest datagram that is taken whole. Bytes, default 8192."""


class DatagramRequestHandlerOptions:
    """The options of a `DatagramRequestHandler`."""

    automatic_reply: bool
    """Answer each datagram with what its handler wrote, even when that is nothing. Default True."""
