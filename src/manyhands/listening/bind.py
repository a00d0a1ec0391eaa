"""Binding and listening: stale socket files out of the way, and errors that say what is in the way."""

import errno
import os
import socket
from typing import Any

from manyhands.listening import proc_net, unix_paths
from manyhands.model.addresses import describe

__all__ = ["bind", "describe", "listen"]


def bind(listener: socket.socket, address: Any) -> unix_paths.BoundPath | None:
    """Bind `listener` to `address`; return the socket file that this made, if any.

    Raises
    ------
    OSError
        Of the same class and errno as the system's, its text completed by the address and by what is in
        the way.
    """
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _is_unix_path(listener, address):
            raise _explained(error, _reason(error, listener, address), address) from None
        _take_over(error, listener, address)
    return unix_paths.BoundPath.of(address) if _is_unix_path(listener, address) else None


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


def _is_unix_path(listener: socket.socket, address: Any) -> bool:
    return listener.family == getattr(socket, "AF_UNIX", None) and unix_paths.is_path(address)


def _take_over(refusal: OSError, listener: socket.socket, path: Any) -> None:
    try:
        in_the_way = unix_paths.take_over(listener, path)
    except OSError as error:
        raise _explained(error, _reason(error, listener, path), path) from None
    if in_the_way is not None:
        raise _explained(refusal, f" ({in_the_way})", path) from None


def _explained(error: OSError, why: str, address: Any) -> OSError:
    if error.errno is None or isinstance(error, socket.gaierror):
        return error
    said = error.strerror or os.strerror(error.errno)
    # The system's words come first: programs look for them.
    explained = OSError(error.errno, f"{said}: cannot listen on {describe(address)}{why}")
    return explained.with_traceback(error.__traceback__)


def _reason(error: OSError, listener: socket.socket, address: Any) -> str:
    number = error.errno
    if number == errno.EADDRINUSE:
        return _who_is_there(listener, address)
    if number == errno.EACCES and _is_privileged(address):
        return " (ports below 1024 need CAP_NET_BIND_SERVICE)"
    if number == errno.EADDRNOTAVAIL:
        return " (no interface of this machine has that address)"
    if number == errno.ENOENT and unix_paths.is_path(address):
        return " (its folder does not exist)"
    return ""


def _who_is_there(listener: socket.socket, address: Any) -> str:
    port = address[1] if isinstance(address, tuple) else 0
    holder = proc_net.holder_of(listener.family, listener.type, port)
    if holder is None:
        return (
            " (kept for connections of a server that has ended; allow_reuse_address takes it back)"
        )
    return f" (held by {holder})"


def _is_privileged(address: Any) -> bool:
    return isinstance(address, tuple) and isinstance(address[1], int) and 0 < address[1] < 1024
