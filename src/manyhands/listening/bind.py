"""Bind and listen: stale socket files out of the way, and errors that say what is in the way."""

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from manyhands.model.socket_addresses import format_address

if TYPE_CHECKING:
    from manyhands.listening.unix_paths import BoundPath


def bind(listener: socket.socket, address: Any) -> "BoundPath | None":
    """Bind `listener` to `address`; return the socket file that this made, if any.

    Raises
    ------
    OSError
        Of the same class and errno as the system's, its text completed by the address and by what is in
        the way.
    """
    if listener.family == getattr(socket, "AF_UNIX", None) and _is_path(address):
        return _bind_to_path(listener, address)
    try:
        listener.bind(address)
    except OSError as error:
        raise _explained(error, _reason(error, listener, address), address) from None
    return None


def _bind_to_path(listener: socket.socket, path: Any) -> "BoundPath | None":
    # Imported here, and before the file is made: a server on TCP never needs it.
    from manyhands.listening.unix_paths import BoundPath, bind_over_stale  # noqa: PLC0415

    try:
        listener.bind(path)
    except OSError as refusal:
        if refusal.errno != errno.EADDRINUSE:
            raise _explained(refusal, _reason(refusal, listener, path), path) from None
        try:
            in_the_way = bind_over_stale(listener, path)
        except OSError as error:
            raise _explained(error, _reason(error, listener, path), path) from None
        if in_the_way is not None:
            raise _explained(refusal, f" ({in_the_way})", path) from None
    return BoundPath.of(path)


def listen(listener: socket.socket, address: Any, backlog: int) -> None:
    """Have `listener`, which is bound to `address`, take up to `backlog` connections until they are accepted.

    Raises
    ------
    OSError
        As of `bind`. Two sockets that let their address be reused can be bound to one port, and only one
        of them can listen on it.
    """
    try:
        listener.listen(backlog)
    except OSError as error:
        raise _explained(error, _reason(error, listener, address), address) from None


def _is_path(address: object) -> bool:
    """Tell whether an address of a Unix socket is a path; Linux's abstract names begin with NUL (unix(7))."""
    if isinstance(address, str):
        return bool(address) and not address.startswith("\0")
    return isinstance(address, bytes) and bool(address) and not address.startswith(b"\0")


def _explained(error: OSError, why: str, address: Any) -> OSError:
    # The numbers of `gaierror` are not errnos, and its text names the host.
    if error.errno is None or isinstance(error, socket.gaierror):
        return error
    said = error.strerror or os.strerror(error.errno)
    # The system's words come first: programs look for them.
    explained = OSError(error.errno, f"{said}: cannot listen on {format_address(address)}{why}")
    return explained.with_traceback(error.__traceback__)


def _reason(error: OSError, listener: socket.socket, address: Any) -> str:
    number = error.errno
    if number == errno.EADDRINUSE:
        return _holder(listener, address)
    if number == errno.EACCES and _is_privileged(address):
        return " (ports below 1024 need CAP_NET_BIND_SERVICE)"
    if number == errno.EADDRNOTAVAIL:
        return " (no interface of this machine has that address)"
    if number == errno.ENOENT and _is_path(address):
        return " (its folder does not exist)"
    return ""


def _holder(listener: socket.socket, address: Any) -> str:
    from manyhands.listening.proc_net import holder_of  # noqa: PLC0415 - only where a port is taken

    port = address[1] if isinstance(address, tuple) else 0
    holder = holder_of(listener.family, listener.type, port)
    if holder is None:
        return (
            " (kept for connections of a server that has ended; allow_reuse_address takes it back)"
        )
    return f" (held by {holder})"


def _is_privileged(address: Any) -> bool:
    return isinstance(address, tuple) and isinstance(address[1], int) and 0 < address[1] < 1024
