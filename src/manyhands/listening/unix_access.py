"""Who may connect to a Unix socket: the mode, the owner and the group of its file (unix(7)).

The file never lets in more than it is to: the socket's own mode, which `bind` gives the file, has the owner's
bits alone until the file is given away, and the others follow then. (A stream socket lets in no client before
it listens, but datagrams arrive from `bind` on.)
"""

import contextlib
import errno

# Not where they are needed: a program may have given up its user by then, and find no module any more.
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from manyhands.listening.bind import explained
from manyhands.model.addresses import Address
from manyhands.model.socket_addresses import format_address
from manyhands.model.usage_errors import Mistake

OWNERS_BITS = 0o700

UNCHANGED = -1
"""As chown(2) has it."""

_HAS_O_PATH = hasattr(os, "O_PATH")  # on Linux

_BY_DESCRIPTOR = "/proc/self/fd/{}"

LARGEST_ID = 2**32 - 2
"""The numbers of users and groups are 32 bits wide, and the last means none."""


class Access(NamedTuple):
    """How a socket's file is to be.

    Attributes
    ----------
    mode : int or None
        Its permissions; None leaves them to the umask.
    user, group : int
        Their numbers; -1 leaves them as they are.
    """

    mode: int | None
    user: int
    group: int


def access_of(address: Address) -> Access | None:
    """Return what an address says of its file; None when it says nothing.

    Raises
    ------
    Mistake
        When there is no user, or no group, of that name.
    """
    if address.mode is None and not address.owner and not address.group:
        return None
    return Access(
        address.mode,
        _number(address, "user", address.owner, _user),
        _number(address, "group", address.group, _group),
    )


@contextlib.contextmanager
def giving(access: Access | None, listener: socket.socket, path: str) -> Iterator[None]:
    """Give the file that the body binds `listener` to its mode, owner and group.

    Raises
    ------
    OSError
        When this process may not give it away; its text names the user or the group.
    """
    if access is None:
        yield
        return
    if access.mode is not None:
        # Elsewhere than on Linux a socket has no mode of its own.
        with contextlib.suppress(OSError):
            os.fchmod(listener.fileno(), access.mode & OWNERS_BITS)
    yield
    try:
        _set(access, path)
    except OSError as error:
        why = f"cannot listen on {format_address(path)} ({_reason(error, access)})"
        raise explained(error, why) from None


def _set(access: Access, path: str) -> None:
    # By descriptor: in a folder that others may write to, another file could stand there by now.
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC) if _HAS_O_PATH else -1
    try:
        file: str = path
        if descriptor >= 0 and os.path.exists(_BY_DESCRIPTOR.format(descriptor)):
            file = _BY_DESCRIPTOR.format(descriptor)
        if not stat.S_ISSOCK(os.stat(file).st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        os.chown(file, access.user, access.group)
        if access.mode is not None:
            os.chmod(file, access.mode)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _reason(error: OSError, access: Access) -> str:
    if error.errno == errno.EPERM:
        to_whom = [f"user {access.user}"] if access.user != UNCHANGED else []
        to_whom += [f"group {access.group}"] if access.group != UNCHANGED else []
        return (
            f"its file cannot be given to {' and '.join(to_whom)}: for another user that takes root "
            "(CAP_CHOWN), for a group a member of it"
        )
    return "its mode, owner or group cannot be set"


def _number(address: Address, what: str, name: str, look_up: Callable[[str], int]) -> int:
    """Return the number of a user or a group by its name; a name of digits is the number."""
    if not name:
        return UNCHANGED
    try:
        return look_up(name)
    except KeyError:
        pass
    if name.isascii() and name.isdecimal() and len(name) < 12 and int(name) <= LARGEST_ID:
        return int(name)
    raise Mistake(f"cannot listen on {address}: there is no {what} {name!r} on this machine")


def _user(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _group(name: str) -> int:
    return grp.getgrnam(name).gr_gid
