"""The TLS handshake of an accepted connection: done lazily, by the first use that needs it.

The usual recipe wraps the *listening* socket (``server.socket = context.wrap_socket(server.socket, ...)``);
`SSLSocket.accept` then does the handshake inside the accept loop, where one silent client stops the service
for all clients. Here accepting and the handshake are two steps, and the connection's own worker does the
second.

A hook of the program may need the handshake earlier: a `verify_request` that reads the client's certificate,
or a `process_request` that has a thread of its own read. So until the handshake is done the connection has a
class whose methods finish it first. Afterwards it is a plain `SSLSocket` again, at no cost.
"""

import errno
import functools
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

from manyhands.connections.socket_classes import (
    ActsAsTLS,
    TLSTerms,
    Unopened,
    connection_behind,
)
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.locks import ReentrantLock
from manyhands.runtime.sockets import accept_at_once, identity, mix_into, send_at_once

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
"""The methods of `SSLSocket` that fail or return nothing before the handshake; some are new in Python
3.13."""

_FILLED_BY_HANDSHAKE = ("session", "session_reused")
"""The attributes of `SSLSocket` that are None before the handshake."""

_HANDSHAKE = "_manyhands_handshake"
"""The attribute in which a connection keeps its handshake while that is due, and in which an error keeps the
connection whose handshake failed with it."""


class AwaitingHandshake(Unopened):
    """A TLS connection whose handshake is due: mixed into its class until the handshake is done."""

    __slots__ = ()

    def shutdown(self, how: int) -> None:
        """Shut the connection down. It never gets a handshake then, and each read fails."""
        due: _Handshake | None = vars(self).get(_HANDSHAKE)
        if due is not None:
            due.failure = "the connection was shut down before its handshake was done"
        super().shutdown(how)  # type: ignore[misc]  # the class that this is mixed into

    @staticmethod
    def methods_for(base: Any) -> dict[str, Any]:
        """Return the methods of `base` that need the handshake, each made to finish it first."""
        methods: dict[str, Any] = {
            name: _after_handshake(getattr(base, name))
            for name in _NEEDS_HANDSHAKE
            if hasattr(base, name)
        }
        for name in _FILLED_BY_HANDSHAKE:
            inherited = getattr(base, name)
            methods[name] = property(_after_handshake(inherited.fget), inherited.fset)
        return methods


class _Handshake:
    """The handshake that a connection is still to do: its timeout, and its failure."""

    __slots__ = (
        "_lock",
        "_timeout",
        "_was_tried",
        "client_address",
        "failure",
        "is_for_worker",
        "plain_class",
        "was_too_slow",
    )

    plain_class: "type[ssl.SSLSocket]"
    """The class that the connection has again once the handshake is done."""

    def __init__(self, client_address: object, timeout: float | None) -> None:
        self.client_address = client_address
        self._timeout = timeout
        # Reentrant: a callback of the context (SNI) may use the connection during its handshake. By thread or
        # fiber: all fibers of a thread could enter an RLock at once, and one that waits would stop them all.
        self._lock = ReentrantLock()
        self._was_tried = False
        self.is_for_worker = False
        """Whether the connection was made by the worker's own engine already: see `for_worker`."""

        self.failure: str | None = None
        """Why there can be no handshake any more; None while there can."""

        self.was_too_slow = False

    def finish(self, connection: "ssl.SSLSocket") -> None:
        with self._lock:
            was_tried, self._was_tried = self._was_tried, True
            if was_tried and self.failure is None:
                return  # another thread has done it while this one waited for the lock
            try:
                self._try(connection)
            except OSError as error:
                vars(error)[_HANDSHAKE] = connection
                failed = error
            else:
                return
        # Without the lock: a subscriber may wait for a thread that uses the connection. One event for each
        # connection, however many methods of it are called after the failure.
        if not was_tried and event_hub.has_subscribers:
            event_hub.emit(events.HandshakeFailed(self.client_address, str(self.failure)))
        try:
            raise failed
        finally:
            del failed  # which has this frame in its traceback

    def _try(self, connection: "ssl.SSLSocket") -> None:
        try:
            self._do(connection)
        except BaseException as error:
            self.failure = self.failure or str(error) or type(error).__name__
            self.was_too_slow = isinstance(error, TimeoutError)
            raise

    def _do(self, connection: "ssl.SSLSocket") -> None:
        self._raise_failure()
        usual_timeout = connection.gettimeout()
        connection.settimeout(self._timeout)
        try:
            self.plain_class.do_handshake(connection)
        except AttributeError:
            # `SSLSocket.shutdown` in another thread sets `_sslobj` to None in the middle of the handshake.
            self._raise_failure()
            raise
        connection.settimeout(usual_timeout)
        connection.__class__ = self.plain_class
        del vars(connection)[_HANDSHAKE]

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise ConnectionAbortedError(errno.ECONNABORTED, self.failure)


def is_tls(candidate: object) -> "TypeGuard[ssl.SSLSocket]":
    """Tell whether `candidate` is a TLS socket, without importing `ssl` for a program that does not."""
    ssl_module = sys.modules.get("ssl")
    # By its type: a mock says by `__class__` that it is one, and `isinstance` believes it. So does a plain
    # socket that stands for a TLS connection, and that is one.
    return ssl_module is not None and issubclass(
        type(connection_behind(candidate)), (ssl_module.SSLSocket, ActsAsTLS)
    )


NEVER_TLS = (socket.socket, tuple)
"""The types of most requests: connections in clear, and datagrams."""


def send_secrets_at_once(request: object, server: Any) -> None:
    """Set TCP_NODELAY on a request that is a TLS connection, unless its server's `no_delay` says no.

    The server's session tickets (RFC 8446, section 4.6.1) are a first write that no client answers, so the
    first answer would wait for their acknowledgement.
    """
    if is_tls(request) and getattr(server, "no_delay", None) is not False:
        send_at_once(request)


def tls_terms_of(listener: Any, context: "ssl.SSLContext | None" = None) -> TLSTerms:
    """Return how a listener's connections speak TLS: with `context`, or as the TLS listener itself says."""
    if context is not None:
        return TLSTerms(context)
    said = vars(listener)
    return TLSTerms(
        listener.context,
        said.get("suppress_ragged_eofs", True),
        said.get("do_handshake_on_connect", True),
    )


def accept_plain(listener: socket.socket) -> tuple[socket.socket, object]:
    """Accept one connection as a socket without TLS, of a TLS listener too.

    Raises
    ------
    OSError
        EAGAIN when no client waits any more, ECONNABORTED when it has gone again (accept(2)).
    """
    descriptor, client_address = accept_at_once(listener)
    plain = socket.socket(*identity(listener), descriptor)
    if listener.gettimeout() and socket.getdefaulttimeout() is None:
        # A timeout makes the listener non-blocking, and BSD and macOS hand that on to what it accepts.
        plain.setblocking(True)
    return plain, client_address


def wrap_before_handshake(
    plain: Any, client_address: object, timeout: float | None, terms: TLSTerms
) -> "ssl.SSLSocket":
    """Wrap a connection that was just accepted; its first use does the handshake.

    Unless the terms have ``do_handshake_on_connect=False``: then the program does it.

    Parameters
    ----------
    plain
        The connection, which gives its descriptor up.
    client_address
        The client's address, for the event that reports a failure.
    timeout
        Seconds that the handshake may take from its begin; None: without end.
    terms
        How it speaks TLS.

    Raises
    ------
    OSError
        When there can be no handshake: a client that resets at once is gone by now (ENOTCONN, EINVAL,
        ECONNRESET). An event has told, and the error is that of a failed handshake.
    """
    try:
        connection = wrap(plain, terms)
    except OSError as error:
        note_failed_wrap(error, plain, client_address)
        raise
    except BaseException:
        plain.close()
        raise
    if terms.do_handshake_on_connect:
        defer(connection, client_address, timeout)
    return connection


def note_failed_wrap(error: OSError, connection: Any, client_address: object) -> None:
    """Make `error` that of a failed handshake of `connection`, and tell of it."""
    vars(error)[_HANDSHAKE] = connection
    if event_hub.has_subscribers:
        event_hub.emit(events.HandshakeFailed(client_address, str(error)))


def wrap(plain: Any, terms: TLSTerms, wrapper: Callable[..., Any] | None = None) -> "ssl.SSLSocket":
    """Make a TLS connection of a plain one, and take its descriptor; the handshake is not done here.

    `wrapper`, if given, is called in the place of `ssl.SSLContext.wrap_socket`, with the context first.
    """
    make = (
        terms.context.wrap_socket if wrapper is None else functools.partial(wrapper, terms.context)
    )
    connection: ssl.SSLSocket = make(
        plain,
        server_side=True,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=terms.suppress_ragged_eofs,
    )
    vars(connection)["do_handshake_on_connect"] = terms.do_handshake_on_connect
    return connection


def defer(
    connection: "ssl.SSLSocket",
    client_address: object,
    timeout: float | None,
    *,
    refusal: str | None = None,
    is_for_worker: bool = False,
) -> None:
    """Have the first use of `connection`, which was wrapped without its handshake, do the handshake.

    Parameters
    ----------
    connection
        The connection.
    client_address
        The client's address, for the event that reports a failure.
    timeout
        Seconds that the handshake may take; None: without end.
    refusal
        Why the handshake must fail; None: it is to be done.
    is_for_worker
        Whether the worker's engine has made the connection already: see `for_worker`.
    """
    due = _Handshake(client_address, timeout)
    due.failure = refusal
    due.is_for_worker = is_for_worker
    _mark(connection, due)


def _mark(connection: Any, due: _Handshake) -> None:
    due.plain_class = type(connection)
    vars(connection)[_HANDSHAKE] = due
    mix_into(connection, AwaitingHandshake)


def for_worker(request: Any, wrapper: Callable[..., Any] | None) -> Any:
    """Make a connection whose handshake is still due anew, with the `wrapper` of its engine.

    Fibers need a TLS socket of their own kind, which `wrapper` makes; it is called like
    `ssl.SSLContext.wrap_socket`, with the context first. Any other request is returned as it is.

    Raises
    ------
    OSError
        As of `wrap_before_handshake`.
    """
    due: _Handshake | None = (
        vars(request).get(_HANDSHAKE)
        if wrapper and isinstance(request, AwaitingHandshake)
        else None
    )
    if wrapper is None or due is None or due.is_for_worker or request.fileno() < 0:
        return request
    timeout, terms = request.gettimeout(), tls_terms_of(request)
    plain = socket.socket(request.family, request.type, request.proto, request.detach())
    plain.settimeout(timeout)
    try:
        connection = wrap(plain, terms, wrapper)
    except OSError as error:
        plain.close()
        note_failed_wrap(error, request, due.client_address)
        raise
    due.is_for_worker = True
    _mark(connection, due)
    return connection


def finish(connection: "ssl.SSLSocket") -> None:
    """Do the handshake of `connection`, if one is due. Thread-safe.

    Raises
    ------
    OSError
        `ssl.SSLError` when the client and the server have no TLS in common, `TimeoutError` when the
        handshake took too long (`ssl` measures the whole of it against the socket's timeout, so a client
        that drips one byte at a time gains nothing), or the connection's own failure. The first failure of
        a connection is an event.
    """
    due: _Handshake | None = vars(connection).get(_HANDSHAKE)
    # On a closed connection each method raises EBADF by itself.
    if due is not None and connection.fileno() >= 0:
        due.finish(connection)


def is_finished(request: object) -> bool:
    """Do the handshake of `request`, if one is due; return False when it failed."""
    if not isinstance(request, AwaitingHandshake):
        return True
    try:
        finish(request)  # type: ignore[arg-type]  # it is mixed into nothing else
    except OSError:
        return False
    return True


def was_too_slow(request: object) -> bool:
    """Return whether the handshake of `request` failed by its timeout."""
    # A plain socket, one that could not be wrapped, has none; and of gevent's each raises when it is closed.
    try:
        due: _Handshake | None = getattr(request, _HANDSHAKE, None)
    except OSError:
        return False
    return due is not None and due.was_too_slow


def failed_connection(error: BaseException) -> Any:
    """Return the connection whose handshake failed with just this `error`, or None."""
    return vars(error).get(_HANDSHAKE)


def _after_handshake(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def finish_first(connection: "ssl.SSLSocket", *arguments: Any, **keywords: Any) -> Any:
        finish(connection)
        return method(connection, *arguments, **keywords)

    return finish_first
