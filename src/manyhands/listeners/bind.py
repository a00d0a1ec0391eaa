"""Binding a listener: stale socket files out of the way, and errors that say what is in the way."""

import errno
import os
import socket
from typing import Any

from . import port_holder, unix_path


def bind(listener: socket.socket, address: Any) -> unix_path.BoundPath | None:
    """Bind `listener` to `address`; return the socket file that this made, if any.

    Raises
    ------
    OSError
        Of the same class and errno as the system's, its text completed by the address and by what is in
        the way.
    """
    try:
        _bind_over_stale_path(listener, address)
    except OSError as error:
        raise _explained(error, listener, address) from None
    if listener.family == getattr(socket, "AF_UNIX", None) and unix_path.is_path(address):
        return unix_path.BoundPath.of(address)
    return None


def _bind_over_stale_path(listener: socket.socket, address: Any) -> None:
    try:
        listener.bind(address)
    except OSError as error:
        stale = (
            error.errno == errno.EADDRINUSE
            and listener.family == getattr(socket, "AF_UNIX", None)
            and unix_path.is_path(address)
            and unix_path.remove_if_stale(address, listener.type)
        )
        if not stale:
            raise
        listener.bind(address)


def _explained(error: OSError, listener: socket.socket, address: Any) -> OSError:
    if error.errno is None or isinstance(error, socket.gaierror):
        return error
    why = _reason(error.errno, listener, address)
    said = error.strerror or os.strerror(error.errno)
    # The system's words come first: programs look for them.
    explained = OSError(error.errno, f"{said}: cannot listen on {describe(address)}{why}")
    return explained.with_traceback(error.__traceback__)


def _reason(number: int, listener: socket.socket, address: Any) -> str:
    if number == errno.EADDRINUSE:
        return _who_is_there(listener, address)
    if number == errno.EACCES and _is_privileged(address):
        return " (ports below 1024 need CAP_NET_BIND_SERVICE)"
    if number == errno.EADDRNOTAVAIL:
        return " (no interface of this machine has that address)"
    if number == errno.ENOENT and unix_path.is_path(address):
        return " (its folder does not exist)"
    return ""


def _who_is_there(listener: socket.socket, address: Any) -> str:
    if unix_path.is_path(address):
        return _what_is_at(address)
    port = address[1] if isinstance(address, tuple) else 0
    holder = port_holder.holder_of(listener.family, listener.type, port)
    if holder is None:
        return (
            " (kept for connections of a server that has ended; allow_reuse_address takes it back)"
        )
    return f" (held by {holder})"


def _what_is_at(path: Any) -> str:
    if os.path.isdir(path):  # noqa: PTH112 - pathlib takes no bytes
        return " (a folder is there)"
    if os.path.isfile(path):  # noqa: PTH113 - pathlib takes no bytes
        return " (a file that is no socket is there)"
    return " (a live server answers there)"


def _is_privileged(address: Any) -> bool:
    return isinstance(address, tuple) and isinstance(address[1], int) and 0 < address[1] < 1024


def describe(address: Any) -> str:
    """Write a socket's address for a person: ``127.0.0.1:8008``, ``[::1]:8008``, ``/run/echo.sock``."""
    if isinstance(address, tuple) and len(address) >= 2:
        # A client of IPv4 on a socket for both versions: people know it by its IPv4 address.
        host = str(address[0]).removeprefix("::ffff:") or "*"
        return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
    if isinstance(address, bytes):
        address = os.fsdecode(address)
    if isinstance(address, str):
        return (
            "@" + address[1:] if address.startswith("\0") else address or "an unnamed Unix socket"
        )
    return str(address)
