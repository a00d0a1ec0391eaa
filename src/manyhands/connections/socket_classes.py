"""Classes of a connection's socket: what stands for it before it is open, and after an upgrade to TLS.

A socket has no room for marks, so the class is the mark. A server that asks for no PROXY headers pays nothing
for them: nothing is looked up, and no class is changed.
"""

import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.runtime.socket_classes import mix_into

if TYPE_CHECKING:
    import ssl

    from manyhands.protocol.proxy_header import ProxyHeader


class Unopened:
    """A connection that its handler may not have yet: mixed into its class until its worker has opened it."""

    __slots__ = ()


class AwaitingHeader(Unopened):
    """A connection whose PROXY header was not read yet."""

    __slots__ = ()


class TLSTerms(NamedTuple):
    """How a listener has its connections speak TLS."""

    context: "ssl.SSLContext"
    suppress_ragged_eofs: bool = True
    do_handshake_on_connect: bool = True
    """Whether to do the handshake; else the program does it."""


_awaiting: "weakref.WeakKeyDictionary[Any, tuple[type[Any], TLSTerms | None]]"
_awaiting = weakref.WeakKeyDictionary()
"""Of each connection whose header was not read yet: its plain class, and how it is to speak TLS later."""

_headers: "weakref.WeakKeyDictionary[Any, ProxyHeader]" = weakref.WeakKeyDictionary()
"""What was announced of each connection that began with a header."""


def await_header(connection: Any, tls: TLSTerms | None) -> None:
    """Mark a plain connection, just accepted, as one that begins with a PROXY header.

    `tls` says how it is to speak TLS afterwards; None: not at all.
    """
    # Imported here and not when the worker needs it: a forked worker would do it for itself alone, each time.
    from manyhands.connections import proxy_reader  # noqa: F401, PLC0415

    _awaiting[connection] = type(connection), tls
    mix_into(connection, AwaitingHeader)


def tls_due(request: Any) -> TLSTerms | None:
    """Return how a marked connection is to speak TLS once its header was read; None of any other request."""
    return _awaiting[request][1] if isinstance(request, AwaitingHeader) else None


def stop_awaiting(connection: Any) -> TLSTerms | None:
    """Make a marked connection the plain one that it was; return how it is to speak TLS, if it is."""
    connection.__class__, tls = _awaiting.pop(connection)
    return tls


def keep_header(connection: Any, header: "ProxyHeader") -> None:
    """Remember what was announced of a connection, as long as its object lives."""
    _headers[connection] = header


def pass_header_on(plain: Any, connection: Any) -> None:
    """Have `connection`, which took the descriptor of `plain`, know what was announced of that."""
    header = _headers.get(plain)
    if header is not None:
        _headers[connection] = header


def header_of(request: Any) -> "ProxyHeader | None":
    """Return what was announced of a request; None where no header was read, and of a datagram."""
    return _headers.get(request) if _headers and not isinstance(request, tuple) else None


_upgraded: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()
"""The TLS connection that each upgraded socket stands for."""


class UpgradedSocket:
    """A plain socket whose descriptor a TLS connection has taken: it answers as that connection.

    After STARTTLS, or a PROXY header before TLS, the server's hooks, the drain and the registry still hold
    the plain socket. They close it, shut it down and ask it for its descriptor; all of that concerns the
    connection.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        # Files of the plain socket call this when they are closed; the connection has none of them.
        if name == "_decref_socketios":
            return _do_nothing
        return getattr(_upgraded[self], name)


def _do_nothing() -> None:
    """Do nothing."""


def upgrade(plain: Any, connection: Any) -> None:
    """Have `plain`, which has given its descriptor up, answer as `connection` from now on."""
    _upgraded[plain] = connection
    mix_into(plain, UpgradedSocket)


def connection_behind(request: Any) -> Any:
    """Return the connection that `request` stands for; `request` itself, if it stands for none."""
    # By its type: `isinstance` would ask the object itself for its class, and the connection would answer.
    return _upgraded[request] if issubclass(type(request), UpgradedSocket) else request
