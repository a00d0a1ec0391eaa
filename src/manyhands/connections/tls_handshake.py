"""The TLS handshake of an accepted connection: begun by nobody, finished by whoever needs it first.

The usual recipe wraps the *listening* socket (``server.socket = context.wrap_socket(server.socket, ...)``);
`SSLSocket.accept` then does the handshake inside the accept loop, where one silent client stops everyone.
Here accepting and the handshake are two steps, and the connection's own worker does the second.

A program may want it sooner: `verify_request` looks at the client's certificate, or a `process_request` of
the program's own has a thread of its own read. So the connection is of a class whose methods finish the
handshake first. Once it is done the connection is a plain one again, and nothing of this costs or shows.
"""

import errno
import functools
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from manyhands.connections.socket_classes import Unopened
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import hub
from manyhands.runtime.locks import ReentrantLock
from manyhands.runtime.sockets import accept_at_once, identity

if TYPE_CHECKING:
    import ssl

_NEEDS_HANDSHAKE = (
    "cipher",
    "compression",
    "do_handshake",
    "get_channel_binding",
    "get_unverified_chain",
    "get_verified_chain",
    "getpeercert",
    "pending",
    "read",
    "recv",
    "recv_into",
    "selected_alpn_protocol",
    "send",
    "sendall",
    "sendfile",
    "shared_ciphers",
    "unwrap",
    "verify_client_post_handshake",
    "version",
    "write",
)
"""The methods of `SSLSocket` that fail, or tell nothing, before the handshake; not all versions have all."""

_TELLS_OF_HANDSHAKE = ("session", "session_reused")
"""The attributes of `SSLSocket` that are None before the handshake."""

_OPENING = "_manyhands_opening"


class Unshaken(Unopened):
    """A connection whose handshake was asked for and is not done: mixed into its class until it is."""

    __slots__ = ()

    def shutdown(self, how: int) -> None:
        """Shut the connection down as ever; it then speaks no TLS, so nothing may be read from it."""
        opening: _Opening | None = vars(self).get(_OPENING)
        if opening is not None:
            opening.failure = "the connection was shut down before its handshake was done"
        super().shutdown(how)  # type: ignore[misc]  # the class that this is mixed into


class _Opening:
    """The handshake that a connection is to have: its deadline, and what became of it."""

    __slots__ = (
        "_client_address",
        "_is_begun",
        "_lock",
        "_timeout",
        "failure",
        "is_moved",
        "plain_class",
        "was_too_slow",
    )

    plain_class: "type[ssl.SSLSocket]"
    """What the connection is when it is open."""

    def __init__(self, client_address: object, timeout: float | None) -> None:
        self._client_address = client_address
        self._timeout = timeout
        # Reentrant: a callback of the context may look at the connection during its handshake. And not of the
        # thread, all of whose fibers could enter, or be held up by one that waits for it.
        self._lock = ReentrantLock()
        self._is_begun = False
        self.is_moved = False
        """Whether the connection is one that its worker needs already: somebody may have got hold of it."""

        self.failure: str | None = None
        """Why there can be no handshake any more."""

        self.was_too_slow = False

    def finish(self, connection: "ssl.SSLSocket") -> None:
        with self._lock:
            if self._is_begun and self.failure is None:
                return
            try:
                self._begin(connection)
            except OSError as error:
                vars(error)[_OPENING] = connection
                raise

    def _begin(self, connection: "ssl.SSLSocket") -> None:
        was_begun, self._is_begun = self._is_begun, True
        try:
            self._shake(connection)
        except BaseException as error:
            self.failure = self.failure or str(error) or type(error).__name__
            self.was_too_slow = isinstance(error, TimeoutError)
            # Once for each connection, however often it is tried.
            if isinstance(error, OSError) and not was_begun and hub.has_subscribers:
                hub.emit(events.HandshakeFailed(self._client_address, self.failure))
            raise

    def _shake(self, connection: "ssl.SSLSocket") -> None:
        self._raise_failure()
        usual_timeout = connection.gettimeout()
        connection.settimeout(self._timeout)
        try:
            self.plain_class.do_handshake(connection)
        except AttributeError:
            # A shutdown in another thread takes the TLS object away at any moment.
            self._raise_failure()
            raise
        connection.settimeout(usual_timeout)
        connection.__class__ = self.plain_class
        del vars(connection)[_OPENING]

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise ConnectionAbortedError(errno.ECONNABORTED, self.failure)


def is_tls(candidate: object) -> "TypeGuard[ssl.SSLSocket]":
    """Tell whether `candidate` is a TLS socket, without importing `ssl` for a program that does not."""
    ssl_module = sys.modules.get("ssl")
    return ssl_module is not None and isinstance(candidate, ssl_module.SSLSocket)


class Manner(NamedTuple):
    """How a listener has its connections speak TLS."""

    context: "ssl.SSLContext"
    suppress_ragged_eofs: bool = True
    do_handshake_on_connect: bool = True
    """Whether to do the handshake; else the program does it."""


def manner_of(listener: Any, context: "ssl.SSLContext | None" = None) -> Manner:
    """Return how connections of a listener speak TLS: with a context, or as a TLS listener says itself."""
    if context is not None:
        return Manner(context)
    said = vars(listener)
    return Manner(
        listener.context,
        said.get("suppress_ragged_eofs", True),
        said.get("do_handshake_on_connect", True),
    )


def accept_plainly(listener: socket.socket) -> tuple[socket.socket, object]:
    """Accept one connection as a socket without TLS, of a TLS listener too.

    Raises
    ------
    OSError
        When there is none, or it is gone again.
    """
    descriptor, client_address = accept_at_once(listener)
    plain = socket.socket(*identity(listener), descriptor)
    if listener.gettimeout() and socket.getdefaulttimeout() is None:
        plain.setblocking(True)  # some systems have it inherit what the timeout did to the listener
    return plain, client_address


def accept_before_handshake(
    listener: socket.socket, timeout: float | None, context: "ssl.SSLContext | None" = None
) -> tuple["ssl.SSLSocket", object]:
    """Accept one connection of a TLS listener and wrap it, its handshake still to be done.

    A listener with ``do_handshake_on_connect=False`` makes connections whose handshake the program does.

    Parameters
    ----------
    listener
        A listening socket: a TLS one, unless there is a `context`.
    timeout
        Seconds that the handshake may take once it is begun; None: without end.
    context
        What to wrap the connection with; None: with the listener's own.

    Raises
    ------
    OSError
        When there is none, or it is gone again.
    """
    plain, client_address = accept_plainly(listener)
    manner = manner_of(listener, context)
    try:
        connection = wrapped(plain, manner)
    except BaseException:
        plain.close()
        raise
    if manner.do_handshake_on_connect:
        begin(connection, client_address, timeout)
    return connection, client_address


def wrapped(plain: Any, manner: Manner, wrap: Callable[..., Any] | None = None) -> "ssl.SSLSocket":
    """Make a TLS connection of a plain one, whose descriptor it takes; the handshake is still to be done.

    `wrap`, if any, is called like `ssl.SSLContext.wrap_socket`, with the context first.
    """
    make = manner.context.wrap_socket if wrap is None else functools.partial(wrap, manner.context)
    connection: ssl.SSLSocket = make(
        plain,
        server_side=True,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=manner.suppress_ragged_eofs,
    )
    vars(connection)["do_handshake_on_connect"] = manner.do_handshake_on_connect
    return connection


def _open(connection: Any, opening: "_Opening") -> None:
    """Have the first use of `connection` finish its handshake."""
    plain_class: Any = type(connection)
    opening.plain_class = plain_class
    vars(connection)[_OPENING] = opening
    connection.__class__ = _unshaken(plain_class)


def begin(
    connection: "ssl.SSLSocket",
    client_address: object,
    timeout: float | None,
    refusal: str | None = None,
    *,
    is_moved: bool = False,
) -> None:
    """Have the first use of `connection`, which was wrapped without its handshake, do it.

    Parameters
    ----------
    connection
        The connection.
    client_address
        Whose it is, for the event that tells of a failure.
    timeout
        Seconds that the handshake may take; None: without end.
    refusal
        Why it is to fail; None: it is to be done.
    is_moved
        Whether the connection is one that its worker needs already.
    """
    opening = _Opening(client_address, timeout)
    opening.failure = refusal
    opening.is_moved = is_moved
    _open(connection, opening)


def moved(request: Any, wrap: Callable[..., Any] | None) -> Any:
    """Return a connection whose handshake is still due, made anew by `wrap`; any other request as it is.

    `wrap`, if any, is called like `ssl.SSLContext.wrap_socket`, with the context first.
    """
    opening: _Opening | None = (
        vars(request).get(_OPENING) if wrap and isinstance(request, Unshaken) else None
    )
    if wrap is None or opening is None or opening.is_moved or request.fileno() < 0:
        return request
    timeout, manner = request.gettimeout(), manner_of(request)
    plain = socket.socket(request.family, request.type, request.proto, request.detach())
    plain.settimeout(timeout)
    connection = wrapped(plain, manner, wrap)
    opening.is_moved = True
    _open(connection, opening)
    return connection


def finish(connection: "ssl.SSLSocket") -> None:
    """Do the handshake of `connection`, if one is due. Thread-safe.

    Raises
    ------
    OSError
        `ssl.SSLError` when the client does not speak TLS as we do, `TimeoutError` when it took too long
        (`ssl` measures the whole handshake against the socket's timeout, so a client that drips one byte
        at a time gains nothing), or the connection's own failure. The first time it is told as an event.
    """
    opening: _Opening | None = vars(connection).get(_OPENING)
    # Of a closed connection each method says so by itself.
    if opening is not None and connection.fileno() >= 0:
        opening.finish(connection)


def complete(request: object) -> bool:
    """Do the handshake of `request`, if one is due; return False when it failed: nobody may serve it."""
    if not isinstance(request, Unshaken):
        return True
    try:
        finish(request)  # type: ignore[arg-type]  # it is mixed into nothing else
    except OSError:
        return False
    return True


def was_too_slow(request: object) -> bool:
    """Tell whether the handshake of `request` failed because its time was over."""
    opening: _Opening | None = vars(request).get(_OPENING)
    return opening is not None and opening.was_too_slow


def failed_connection(error: BaseException) -> Any:
    """Return the connection whose handshake failed with just this `error`, or None."""
    return vars(error).get(_OPENING)


@functools.cache
def _unshaken(base: Any) -> Any:
    """Make the class of connections that will be of class `base` when their handshake is done.

    It adds nothing to the layout of `base`, so that a connection can change from one to the other.
    """
    body: dict[str, Any] = {"__slots__": (), "__module__": base.__module__, "__doc__": base.__doc__}
    for name in _NEEDS_HANDSHAKE:
        if hasattr(base, name):
            body[name] = _after_handshake(getattr(base, name))
    for name in _TELLS_OF_HANDSHAKE:
        inherited = getattr(base, name)
        body[name] = property(_after_handshake(inherited.fget), inherited.fset)
    # The name that people know; only `type()` could tell the two apart.
    return type(base.__name__, (Unshaken, base), body)


def _after_handshake(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def finish_first(connection: "ssl.SSLSocket", *arguments: Any, **keywords: Any) -> Any:
        finish(connection)
        return method(connection, *arguments, **keywords)

    return finish_first
