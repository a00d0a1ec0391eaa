"""Bind and listen: stale socket files out of the way, and errors that say what is in the way."""

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, cast

from manyhands.model.socket_addresses import format_address
from manyhands.runtime.sockets import class_with

if TYPE_CHECKING:
    from manyhands.listening.unix_paths import BoundPath


def bind(listener: socket.socket, address: Any) -> "BoundPath | None":
    """Bind `listener` to `address`; return the socket file that this made, if any.

    Raises
    ------
    OSError
        Of the same class, errno and `strerror` as the system's; its text goes on with the address and what
        is in the way.
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
    return explained(error, f"cannot listen on {format_address(address)}{why}")


class _Explained:
    """Gives an error of the system a text that says more: a mix-in before its class.

    `errno`, `strerror` and `args` are the system's, which programs compare and show.
    """

    sentence: str
    strerror: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{super().__str__()}: {self.sentence}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.args, self.sentence)


def explained(error: OSError, sentence: str) -> OSError:
    """Return an error of the same class, errno and `strerror`, whose text goes on with `sentence`."""
    kind: Any = type(error)
    number: Any = error.errno
    made: Any = class_with(_Explained, kind)(number, error.strerror or os.strerror(number))
    made.sentence = sentence
    return cast("OSError", made.with_traceback(error.__traceback__))


def _again(args: tuple[Any, ...], sentence: str) -> OSError:
    """Make such an error again, of what another process sent."""
    return explained(OSError(*args), sentence)


def sentence_of(error: Exception) -> str:
    """Return what an error says, without the number of the system's: for commands, which print it."""
    said = getattr(error, "strerror", None) or str(error)
    sentence: str | None = getattr(error, "sentence", None)
    return said if sentence is None else f"{said}: {sentence}"


def _reason(error: OSError, listener: socket.socket, address: Any) -> str:
    number = error.errno
    if number == errno.EADDRINUSE:
        from manyhands.listening.port_in_use import what_holds  # noqa: PLC0415 - only where a port is taken

        return f" ({what_holds(listener, address)})"
    if number == errno.EACCES and _is_privileged(address):
        return " (ports below 1024 need CAP_NET_BIND_SERVICE)"
    if number == errno.EADDRNOTAVAIL:
        return " (no interface of this machine has that address)"
    if number == errno.ENOENT and _is_path(address):
        # /proc, for one, is there, and says the same.
        is_there = os.path.isdir(os.path.dirname(address) or os.curdir)
        return f" (its folder {'takes no sockets' if is_there else 'does not exist'})"
    return ""


def _is_privileged(address: Any) -> bool:
    return isinstance(address, tuple) and isinstance(address[1], int) and 0 < address[1] < 1024
