"""The descriptor of whatever stands for a connection or a listener, asked so that nothing is raised."""

import _socket
import select
from socket import SOCK_NONBLOCK
from typing import Any

from manyhands.runtime.unpatched import original


def descriptor_of(request: Any) -> int:
    """Return the descriptor; -1 when it is closed or detached, or there is no socket at all. Thread-safe."""
    try:
        return int(request.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


def is_closed(request: Any) -> bool:
    """Tell whether a request's socket is closed or detached; what has none counts as closed."""
    return descriptor_of(request) < 0


# Accepting a connection that a listener is said to have, without waiting for another where it has gone.
#
# Whoever shares a listener with other processes is told of clients that another one then takes. An accept
# loop
# that waits there for the next client, as `socket.accept` does within the listener's timeout, waits for
# nothing
# else meanwhile, and where all conversations share its thread they wait too.

_family, _type, _proto = _socket.socket.family, _socket.socket.type, _socket.socket.proto


def identity(listener: Any) -> tuple[int, int, int]:
    """Return the family, the type and the protocol of a listening socket."""
    inner = _inside(listener)
    # Not the properties of `socket.socket`, which make enumerations of them.
    return _family.__get__(inner), _type.__get__(inner) & ~SOCK_NONBLOCK, _proto.__get__(inner)


def accept_at_once(listener: Any) -> tuple[int, Any]:
    """Accept a connection; return its descriptor and its client's address.

    Raises
    ------
    BlockingIOError
        When there is none; but a listener that is set to block, timeout or no timeout, waits for one.
    OSError
        See accept(2).
    """
    inner = _inside(listener)
    if not _socket.socket.gettimeout(inner):
        accepted: tuple[int, Any] = inner._accept()
        return accepted
    borrowed: Any = _socket.socket(*identity(inner), inner.fileno())
    try:
        borrowed.settimeout(0)
        accepted = borrowed._accept()
    finally:
        borrowed.detach()
    return accepted


def _inside(listener: Any) -> Any:
    # gevent keeps the socket itself inside of its own.
    return listener if isinstance(listener, _socket.socket) else listener._sock


# A look into the backlog of a listener.


def somebody_waits(listener: Any) -> bool:
    """Tell whether a client waits on `listener`, which has a `fileno`, to be accepted or received."""
    return bool(look_at(listener.fileno()).poll(0))


def look_at(descriptor: int) -> "select.poll":
    """Return what tells whether a descriptor can be read, for looks that do not wait.

    gevent's own does so with a timeout, which a signal that comes meanwhile may leave behind, to be raised in
    whatever waits next.
    """
    poll: select.poll = original(select, "poll")()
    poll.register(descriptor, select.POLLIN)
    return poll
