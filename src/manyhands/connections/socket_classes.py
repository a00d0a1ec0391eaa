"""Classes that a connection's socket has for a while: before it is open, and after an upgrade to TLS.

A program's hooks hold the socket object itself, and it takes no attributes, so its class is the mark. A
server without `proxy_protocol` pays nothing: no class is changed, nothing is looked up.
"""

import weakref
from typing import TYPE_CHECKING, Any

from manyhands.runtime.sockets import mix_into

if TYPE_CHECKING:
    import ssl

    from manyhands.protocol.proxy_header import ProxyHeader


class Unopened:
    """A connection that must be opened before its handler gets it: mixed into its class until then."""

    __slots__ = ()


class AwaitingHeader(Unopened):
    """A connection whose PROXY header has not been read yet."""

    __slots__ = ()


class ActsAsTLS:
    """A socket that is to be taken for one of TLS: it has what `TLSTerms` have as attributes."""

    __slots__ = ()


class TLSTerms:
    """How the connections of a listener speak TLS. Never changed.

    Attributes
    ----------
    context : ssl.SSLContext
    suppress_ragged_eofs : bool
        As `ssl.SSLContext.wrap_socket` has it.
    do_handshake_on_connect : bool
        Whether the server does the handshake; else the program does.
    """

    # No named tuple: `typing` would compile the name of the context's type, the first thing in the program
    # that needs the whole compiler, which takes a millisecond.
    __slots__ = ("context", "do_handshake_on_connect", "suppress_ragged_eofs")

    def __init__(
        self,
        context: "ssl.SSLContext",
        suppress_ragged_eofs: bool = True,
        do_handshake_on_connect: bool = True,
    ) -> None:
        self.context = context
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self.do_handshake_on_connect = do_handshake_on_connect


_awaiting: "weakref.WeakKeyDictionary[Any, tuple[type[Any], TLSTerms | None]]"
_awaiting = weakref.WeakKeyDictionary()
"""For each connection whose header has not been read: its plain class, and how it is to speak TLS later."""

_headers: "weakref.WeakKeyDictionary[Any, ProxyHeader]" = weakref.WeakKeyDictionary()
"""The header of each connection that began with one."""


def await_header(connection: Any, tls: TLSTerms | None) -> None:
    """Mark a plain connection, just accepted, as one that begins with a PROXY header.

    `tls` says how it is to speak TLS afterwards; None: not at all.
    """
    # Imported here, in the accept loop: a forked worker would import it for itself alone, each time.
    from manyhands.connections import proxy_reader  # noqa: F401, PLC0415

    _awaiting[connection] = type(connection), tls
    mix_into(connection, AwaitingHeader)


def tls_due(request: Any) -> TLSTerms | None:
    """Return how a marked connection is to speak TLS once its header is read; None for any other request."""
    return _awaiting[request][1] if isinstance(request, AwaitingHeader) else None


def stop_awaiting(connection: Any) -> TLSTerms | None:
    """Give a marked connection its plain class back; return how it is to speak TLS, if it is."""
    connection.__class__, tls = _awaiting.pop(connection)
    return tls


def keep_header(connection: Any, header: "ProxyHeader") -> None:
    """Remember the header of a connection for as long as the socket object lives."""
    _headers[connection] = header


def pass_header_on(plain: Any, connection: Any) -> None:
    """Give `connection`, which took the descriptor of `plain`, the header of that."""
    header = _headers.get(plain)
    if header is not None:
        _headers[connection] = header


def header_of(request: Any) -> "ProxyHeader | None":
    """Return the header of a request; None where none was read, and for a datagram."""
    return _headers.get(request) if _headers and not isinstance(request, tuple) else None


_upgraded: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()
"""The TLS connection that each upgraded socket stands for."""


class UpgradedSocket:
    """A plain socket whose descriptor a TLS connection has taken: it answers as that connection.

    After STARTTLS, or a PROXY header before TLS, the program's hooks and the drain still hold the plain
    socket. They close it, shut it down and ask for its descriptor, and mean the connection.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        # A file of the plain socket (`makefile`) calls this when it is closed. Passed on, it would count down
        # the files of the TLS socket, and close that too early.
        if name == "_decref_socketios":
            return _do_nothing
        return getattr(_upgraded[self], name)


def _do_nothing() -> None:
    """Do nothing."""


def upgrade(plain: Any, connection: Any) -> None:
    """Have `plain`, whose descriptor `connection` has taken, answer as `connection` from now on."""
    _upgraded[plain] = connection
    mix_into(plain, UpgradedSocket)


def connection_behind(request: Any) -> Any:
    """Return the connection that `request` stands for; `request` itself, if it stands for none."""
    # By `type`: `isinstance` also asks the object for `__class__`, and the connection would answer.
    return _upgraded[request] if issubclass(type(request), UpgradedSocket) else request
