"""Sockets that are given to this process, bound already: by systemd, or by the program that started it.

The descriptor stays its giver's: a server listens on a duplicate, and closes that. So a program that hands in
the descriptor of a socket of its own still has that socket, a server can be started again, and a client that
calls between two runs of a service waits in the backlog, which systemd holds. What concerns the socket
itself, and so the other processes that have it, is left alone: its options, its backlog, and its file.
"""

import fcntl
import os
import socket
from typing import Any, NamedTuple

from manyhands.model.addresses import Address
from manyhands.model.usage_errors import Mistake
from manyhands.protocol import systemd
from manyhands.protocol.systemd import GivenDescriptor
from manyhands.runtime.unpatched import brief_lock

FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})
"""The address families that can be served; there are also VSOCK, netlink and others."""


class GivenSocket(NamedTuple):
    """A socket that was given.

    Attributes
    ----------
    descriptor : int
        Its descriptor, which stays its giver's.
    family, kind : int
        As `socket.socket` has them.
    address : object
        What it is bound to.
    """

    descriptor: int
    family: int
    kind: int
    address: Any


def given_sockets(address: Address) -> list[GivenSocket]:
    """Return the sockets that a given address stands for: one for `fd`, one or several for `systemd`.

    Raises
    ------
    Mistake
        When there is none, or one is no socket, or cannot be served; the sentence names the address.
    """
    return [_looked_at(given, address) for given in _descriptors(address)]


def duplicate(descriptor: int) -> socket.socket:
    """Return a socket of our own on what `descriptor` is open for; programs that we start do not inherit it.

    Raises
    ------
    OSError
        When it cannot be had.
    """
    # In one step (fcntl(2)): a process that another thread forks in between would inherit a plain copy.
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
    try:
        ours = socket.socket(fileno=copy)
    except BaseException:
        os.close(copy)
        raise
    # Another process may listen on the same socket, and be quicker: then accept must not wait for the next
    # client. A datagram socket has to wait when it sends, for handlers answer on it.
    ours.setblocking(ours.type != socket.SOCK_STREAM)
    return ours


def _descriptors(address: Address) -> list[GivenDescriptor]:
    if address.descriptor >= 0:
        return [GivenDescriptor(address.descriptor, "")]
    try:
        return list(systemd.named(_from_systemd(), address.name))
    except Mistake as mistake:
        raise Mistake(f"cannot listen on {address}: {mistake}") from None


def left_to_next_program() -> tuple[list[int], dict[str, str]]:
    """Return what a program finds again that takes this process over: descriptors, and variables."""
    with _lock:
        given, served = _read, sorted(_served)
    return [each for each in served if _is_open(each)], systemd.variables_of(given, os.getpid())


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


_lock = brief_lock()
_read: tuple[GivenDescriptor, ...] = ()
_served: set[int] = set()
"""The descriptors that were given and can be served: programs that we start do not inherit them."""


def _from_systemd() -> tuple[GivenDescriptor, ...]:
    """Read what systemd has given, once: then the variables go, so that no child believes it is meant."""
    global _read  # noqa: PLW0603 - a fact about the process
    with _lock:
        if not _read or "LISTEN_FDS" in os.environ:
            _read = systemd.read(os.environ, os.getpid())
            for name in systemd.VARIABLES:
                os.environ.pop(name, None)
        return _read


def _looked_at(given: GivenDescriptor, address: Address) -> GivenSocket:
    named = f" ({given.name})" if given.name else ""
    where = f"cannot listen on {address}: descriptor {given.number}{named}"
    try:
        copy = os.dup(given.number)
    except OSError as error:
        raise Mistake(f"{where} is not open ({error.strerror})") from None
    try:
        looked_at = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise Mistake(f"{where} is no socket") from None
    with looked_at:
        reason = _unfit(looked_at)
        if reason is not None:
            raise Mistake(f"{where} {reason}")
        # It had to be inherited to come here; programs that we start are not meant.
        os.set_inheritable(given.number, False)
        with _lock:
            _served.add(given.number)
        return GivenSocket(given.number, looked_at.family, looked_at.type, looked_at.getsockname())


def _unfit(looked_at: socket.socket) -> str | None:
    """Say what keeps a socket from being served, if anything does."""
    if looked_at.family not in FAMILIES:
        return "is a socket of neither IP nor Unix"
    if looked_at.type == socket.SOCK_STREAM:
        return _not_listening(looked_at)
    if looked_at.type != socket.SOCK_DGRAM:
        return "is a socket neither for streams nor for datagrams"
    return None if _is_bound(looked_at) else "is a datagram socket that is not bound to an address"


def _not_listening(looked_at: socket.socket) -> str | None:
    if looked_at.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    try:
        looked_at.getpeername()
    except OSError:
        return "is a socket that does not listen"
    return "is a connection, not a listening socket (systemd's Accept= must be no)"


def _is_bound(looked_at: socket.socket) -> bool:
    name = looked_at.getsockname()
    return bool(name[1] if isinstance(name, tuple) else name)
