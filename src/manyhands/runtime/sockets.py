"""The socket of a connection or a listener, be it gevent's or none at all: questions, and another class.

With another class the socket does other things from then on. Its descriptor, the object's identity and its
layout stay. So the program, its hooks and the kernel go on with the same connection, and no wrapper stands
between them and it.
"""

import _socket
import functools
import select
import socket
import sys
from socket import IPPROTO_TCP, SOCK_NONBLOCK, TCP_NODELAY
from typing import Any

from manyhands.runtime.unpatched import original

_family, _type, _proto = _socket.socket.family, _socket.socket.type, _socket.socket.proto


def named_family(number: int) -> socket.AddressFamily:
    """Return an address family as the standard library has it: a number with a name, if it has one."""
    family: socket.AddressFamily = _named(socket.AddressFamily, number)
    return family


def named_kind(number: int) -> socket.SocketKind:
    """Return a socket's type as the standard library has it, without the flag that it does not block."""
    kind: socket.SocketKind = _named(socket.SocketKind, number & ~SOCK_NONBLOCK)
    return kind


def _named(names: Any, number: int) -> Any:
    try:
        return names(number)
    except ValueError:
        return number


def descriptor_of(request: Any) -> int:
    """Return the descriptor; -1 when it is closed or detached, or there is no socket at all. Thread-safe."""
    try:
        return int(request.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


def is_ready(descriptor: int, events: int, seconds: float | None = 0.0) -> bool:
    """Tell whether one of `events` of poll(2) has come on a descriptor; wait for that, None without end.

    POLLHUP and POLLERR count in any case. The calling thread waits, and with it all its fibers: the poll is
    the system's.
    """
    poll = _poll_for(descriptor, events)
    return bool(poll.poll(None if seconds is None else 1000 * max(0.0, seconds)))


def _poll_for(descriptor: int, events: int) -> "select.poll":
    poll: select.poll = original(select, "poll")()
    poll.register(descriptor, events)
    return poll


def has_hung_up(descriptor: int) -> bool:
    """Tell whether both directions have ended: of a connection reset, given up, or shut down (poll(2))."""
    return is_ready(descriptor, 0)


AT_ONCE = select.PIPE_BUF
"""Bytes that a pipe which takes some takes without blocking (pipe(7))."""


def takes_more(descriptor: int, seconds: float | None = 0.0) -> bool:
    """Tell whether `AT_ONCE` bytes can be written without blocking; wait for that, None without end.

    A pipe may be full, a terminal stopped (Ctrl-S). A descriptor that is closed, or whose reader has gone,
    takes nothing but does not block either.
    """
    return is_ready(descriptor, select.POLLOUT, seconds)


def is_closed(request: Any) -> bool:
    """Tell whether a request's socket is closed or detached; what has none counts as closed."""
    return descriptor_of(request) < 0


def identity(listener: Any) -> tuple[int, int, int]:
    """Return the family, the type and the protocol of a listening socket."""
    inner = system_socket(listener)
    # Not the properties of `socket.socket`: these make members of enumerations, for each connection.
    return _family.__get__(inner), _type.__get__(inner) & ~SOCK_NONBLOCK, _proto.__get__(inner)


def accept_at_once(listener: Any) -> tuple[int, Any]:
    """Accept a connection without waiting for it; return its descriptor and its client's address.

    Where several processes share a listener, `poll` tells all of them of a client that one of them takes. An
    accept loop that then waits for the next client, as `socket.accept` does within the listener's timeout,
    does nothing else meanwhile; and where all handlers share its thread, they wait too.

    Raises
    ------
    BlockingIOError
        When there is none; but a listener that is set to block, timeout or no timeout, waits for one.
    OSError
        See accept(2).
    """
    inner = system_socket(listener)
    if not _socket.socket.gettimeout(inner):
        accepted: tuple[int, Any] = inner._accept()
        return accepted
    # The timeout belongs to the object: a second one on the same descriptor leaves the program's as it is.
    borrowed: Any = _socket.socket(*identity(inner), inner.fileno())
    try:
        borrowed.settimeout(0)
        accepted = borrowed._accept()
    finally:
        borrowed.detach()
    return accepted


_PLAIN: Any = socket.socket
_PLAIN_ACCEPT: Any = _PLAIN.accept if issubclass(_PLAIN, _socket.socket) else None
"""None where the program was patched before it loaded this."""


def accept(listener: socket.socket) -> tuple[socket.socket, Any]:
    """Accept a connection, as `socket.accept` does, which makes members of enumerations for each one."""
    kind: Any = socket.socket
    if kind is not _PLAIN or type(listener) is not kind or kind.accept is not _PLAIN_ACCEPT:
        return listener.accept()  # the program, or gevent, has a way of its own
    inner: Any = listener
    descriptor, address = inner._accept()
    connection: socket.socket = _PLAIN(
        _family.__get__(inner), _type.__get__(inner), _proto.__get__(inner), descriptor
    )
    # What was accepted is set to block, or not, by the default alone (socket.accept).
    if listener.gettimeout() and socket.getdefaulttimeout() is None:
        connection.setblocking(True)
    return connection, address


def system_socket(request: Any) -> Any:
    """Return the system's socket of one that is gevent's; any other object as it is."""
    # gevent's is no subclass of the standard library's, and keeps one inside.
    return request if isinstance(request, _socket.socket) else getattr(request, "_sock", request)


def unix_socket(kind: socket.SocketKind, descriptor: int | None = None) -> socket.socket:
    """Return a Unix socket of the system's class, whatever gevent has put in its place."""
    made: socket.socket = original(socket, "socket")(socket.AF_UNIX, kind, 0, descriptor)
    return made


def unix_pair(kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Return two such sockets that are connected with each other."""
    here, there = _socket.socketpair(_socket.AF_UNIX, kind)
    return unix_socket(kind, here.detach()), unix_socket(kind, there.detach())


def peer_user(connection: _socket.socket) -> int | None:
    """Return the number of the user at the other end of a Unix socket; None where the system does not tell.

    That is the user that called `connect`, or `listen` for the end that connected (unix(7), SO_PEERCRED).
    """
    return _of_peer(connection, 4)


def peer_process(connection: _socket.socket) -> int | None:
    """Return the id of the process that is meant by `peer_user`; None where the system does not tell."""
    return _of_peer(connection, 0)


def _of_peer(connection: _socket.socket, offset: int) -> int | None:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    # struct ucred has the process, the user and the group, each an int of C.
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, 12)
    return int.from_bytes(credentials[offset : offset + 4], sys.byteorder)


def send_at_once(connection: Any) -> None:
    """Have small writes sent at once (TCP_NODELAY, tcp(7)); what a TCP listener accepts inherits it.

    Otherwise Nagle's algorithm holds a small write back while an earlier one is not acknowledged, and the
    peer's kernel delays that acknowledgement by 40 ms, since it expects an answer to send it with (RFC 9293,
    section 3.7.4; RFC 1122, section 4.2.3.2).
    """
    try:  # noqa: SIM105 - cheaper than `suppress`, which each connection would pay for
        connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    except OSError:
        pass  # not TCP, which alone has this delay, or closed meanwhile


def has_client_waiting(listener: Any) -> bool:
    """Tell whether a client waits on `listener`, which has a `fileno`, to be accepted or received."""
    return is_ready(listener.fileno(), select.POLLIN)


def poll_to_read(descriptor: int) -> "select.poll":
    """Return a poll that tells whether a descriptor can be read, for looks that do not wait.

    It is the system's. gevent's own looks with a timeout, which a signal that comes meanwhile may leave
    behind, to be raised in whatever waits next.
    """
    return _poll_for(descriptor, select.POLLIN)


def mix_into(connection: Any, behaviour: type) -> None:
    """Put the methods of `behaviour` before those that the object's class has.

    Raises
    ------
    TypeError
        When the object is none of Python's, or its class has another layout.
    """
    base: Any = type(connection)
    connection.__class__ = class_with(behaviour, base)


@functools.cache
def class_with(behaviour: Any, base: Any) -> Any:
    """Make the class of objects of class `base` that `behaviour` comes before.

    It carries the name that people know; only `type()` tells the two apart. Without slots of its own it has
    the layout of `base`, which is what assigning to ``__class__`` asks for.
    """
    body: dict[str, Any] = {"__slots__": (), "__module__": base.__module__, "__doc__": base.__doc__}
    extra = getattr(behaviour, "methods_for", None)
    if extra is not None:
        body |= extra(base)
    return type(base.__name__, (behaviour, base), body)
