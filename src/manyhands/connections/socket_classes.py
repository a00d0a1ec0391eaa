"""What a connection is until its worker has opened it."""

import functools
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from manyhands.connections.tls_handshake import Manner
    from manyhands.protocol.proxy_header import ProxyHeader


class Unopened:
    """A connection that its handler may not have yet: mixed into its class until it may."""

    __slots__ = ()


# A connection that is to begin with a PROXY header: marked by its class until the header is read.
#
# Nothing else marks it, so a server that asks for no headers pays nothing for them.


class Unannounced(Unopened):
    """A connection whose PROXY header was not read yet: mixed into its class until it was."""

    __slots__ = ()


class _Due(NamedTuple):
    """What is due on a connection, and what it is afterwards."""

    plain_class: Any
    manner: "Manner | None"


_dues: "weakref.WeakKeyDictionary[Any, _Due]" = weakref.WeakKeyDictionary()
"""What is due on each marked connection; sockets have no room for it."""

_headers: "weakref.WeakKeyDictionary[Any, ProxyHeader]" = weakref.WeakKeyDictionary()
"""What was announced of each connection."""


def mark(connection: Any, manner: "Manner | None") -> None:
    """Mark a plain connection, just accepted, as one that is to begin with a PROXY header.

    `manner` says how it is to speak TLS afterwards; None: not at all.
    """
    # Here, and not when a worker needs it: a forked one would do it for itself alone, each time.
    from manyhands.connections import proxy_reader  # noqa: F401, PLC0415 - only servers behind a balancer need it

    plain_class: Any = type(connection)
    _dues[connection] = _Due(plain_class, manner)
    connection.__class__ = _unannounced(plain_class)


def is_marked(request: Any) -> bool:
    """Tell whether a request is a connection whose PROXY header is still to be read."""
    return isinstance(request, Unannounced)


def manner_due(request: Any) -> "Manner | None":
    """Return how a marked connection is to speak TLS once its header was read; None of any other request."""
    return _dues[request].manner if is_marked(request) else None


def take_off(connection: Any) -> "Manner | None":
    """Make a marked connection the plain one that it was; return how it is to speak TLS, if it is."""
    due = _dues.pop(connection)
    connection.__class__ = due.plain_class
    return due.manner


def keep(connection: Any, header: "ProxyHeader") -> None:
    """Remember what was announced of a connection, as long as it is."""
    _headers[connection] = header


def pass_on(plain: Any, connection: Any) -> None:
    """Have `connection`, which took the descriptor of `plain`, know what was announced of that."""
    header = _headers.get(plain)
    if header is not None:
        _headers[connection] = header


def header_of(request: Any) -> "ProxyHeader | None":
    """Return what was announced of a request; None where no header was read, and of a datagram."""
    return _headers.get(request) if _headers and not isinstance(request, tuple) else None


@functools.cache
def _unannounced(base: Any) -> Any:
    """Make the class of marked connections of class `base`; it has the same layout."""
    return type(
        base.__name__, (Unannounced, base), {"__slots__": (), "__module__": base.__module__}
    )


# A plain socket that stands for the TLS connection which has taken its descriptor.
#
# Whoever began with the plain one still holds it when a handler has gone over to TLS: the server's hooks
# close
# it, a drain shuts it down, the books ask it for its descriptor. All that concerns the connection, so from
# then
# on the plain socket answers as the TLS connection, whatever it is asked.

_connections: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()
"""The TLS connection of each plain socket that stands for one; plain sockets have no room for it."""

_OF_FILES = frozenset({"_decref_socketios"})
"""What a file of a socket calls when it is closed: those of the plain socket are none of the connection's."""


class StandIn:
    """Mixed into the class of a plain socket when it comes to stand for a TLS connection."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        return _do_nothing if name in _OF_FILES else getattr(_connections[self], name)


def _do_nothing() -> None:
    """Do nothing."""


def stand_in(plain: Any, connection: Any) -> None:
    """Have `plain`, which has given its descriptor up, answer as `connection` from now on."""
    _connections[plain] = connection
    base: Any = type(plain)
    plain.__class__ = _standing_in(base)


def behind(request: Any) -> Any:
    """Return the connection that `request` stands for; `request` itself, if it stands for none."""
    return _connections[request] if issubclass(type(request), StandIn) else request


@functools.cache
def _standing_in(base: Any) -> Any:
    """Make the class of a plain socket of class `base` that stands for another; it has the same layout."""
    return type(base.__name__, (StandIn, base), {"__slots__": (), "__module__": base.__module__})
