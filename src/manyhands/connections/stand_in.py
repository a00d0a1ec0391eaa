"""A plain socket that stands for the TLS connection which has taken its descriptor.

Whoever began with the plain one still holds it when a handler has gone over to TLS: the server's hooks close
it, a drain shuts it down, the books ask it for its descriptor. All that concerns the connection, so from then
on the plain socket answers as the TLS connection, whatever it is asked.
"""

import functools
import weakref
from typing import Any

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
