"""Accepting a connection that a listener is said to have, without waiting for another where it has gone.

Whoever shares a listener with other processes is told of clients that another one then takes. An accept loop
that waits there for the next client, as `socket.accept` does within the listener's timeout, waits for nothing
else meanwhile, and where all conversations share its thread they wait too.
"""

import _socket
from socket import SOCK_NONBLOCK
from typing import Any

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
