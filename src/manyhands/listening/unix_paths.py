"""The file that a Unix socket leaves in the file system: when a server may remove its own, or a stale one.

At its end a server removes only its own file, known by device and inode: another server may have taken the
path since. (While our socket is open no other server takes the path over, so the kernel cannot have given
the inode to another file.)

At its start a server takes over the path of one that is gone, and of no other: it removes a file only when
that is a socket and no server is behind it. Between that look and the removal another starter could do the
same, and then the one would remove the other's new file, which no client could call any more. Comparing
inodes does not tell, for a new file often gets the number of the one just removed. So only the starter that
has the folder locked (flock(2)) looks, removes and binds. Programs that remove such files without the lock
are as dangerous to each other as ever.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from manyhands.listening import proc_net
from manyhands.runtime.locks import is_file_lock_taken

Path = str | bytes

LOCK_TIMEOUT = 2.0
"""Seconds to wait for the folder's lock. Ours is held for a millisecond; any program that can read the folder
could hold it for ever."""

REMOVAL_TIMEOUT = 0.1
"""The same for the removal of what is stale: another server, or the next one, will do it."""

LOCK_RETRY_INTERVAL = 0.01
"""Seconds between two tries to get the lock."""

_LEFT_BEHIND = "a server that is gone left its socket there"


class BoundPath(NamedTuple):
    """A socket file that we made, in this process."""

    path: Path
    device: int
    inode: int
    pid: int

    @classmethod
    def of(cls, path: Path) -> "BoundPath | None":
        """Note the socket file at `path`, just bound; None when it cannot be seen."""
        try:
            # Absolute: the program may change its folder before the end.
            path = os.path.abspath(path)
            found = os.lstat(path)
        except OSError:
            return None
        return cls(path, found.st_dev, found.st_ino, os.getpid())

    def unlink(self) -> None:
        """Remove the file if it is still ours, and this is the process that made it (not a forked child)."""
        if os.getpid() != self.pid:
            return
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)
        except OSError:
            return  # gone already, or the folder is no longer ours to change


def bind_over_stale(listener: socket.socket, path: Path) -> str | None:
    """Bind `listener` to `path`, which was found in use, if the server that made it is gone.

    Returns
    -------
    str or None
        What is in the way, as a sentence without its capital; None when the listener is bound.

    Raises
    ------
    OSError
        When it could not be bound to a path that no server holds.
    """
    in_the_way = what_is_at(path, listener.type)
    if in_the_way is not None:
        return in_the_way
    try:
        descriptor = _locked(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        return what_is_at(path, listener.type) or (
            f"{_LEFT_BEHIND}, and its folder cannot be locked for taking it over: {_said(error)}; "
            "remove it by hand"
        )
    try:
        return _bind_over(listener, path)
    finally:
        _unlock(descriptor)


def _bind_over(listener: socket.socket, path: Path) -> str | None:
    if _binds(listener, path):
        return None  # the server that was there has ended, and has cleaned up
    in_the_way = what_is_at(path, listener.type)
    if in_the_way is not None:
        return in_the_way
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        return f"{_LEFT_BEHIND}, and it cannot be removed: {_said(error)}"
    if _binds(listener, path):
        return None
    return what_is_at(path, listener.type) or "another server has just been there"


def _binds(listener: socket.socket, path: Path) -> bool:
    try:
        listener.bind(path)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    return True


def remove_stale(folder: Path, names: Iterable[Path], kind: int) -> None:
    """Remove those sockets of a folder whose servers are gone, if they can be removed just now.

    Parameters
    ----------
    folder
        The folder, which is locked once for all of them.
    names
        The names of the files there.
    kind
        The type of the sockets, as ``SOCK_STREAM``.
    """
    try:
        descriptor = _locked(folder, REMOVAL_TIMEOUT)
    except OSError:
        return
    try:
        for name in names:
            path = os.path.join(folder, name)  # type: ignore[arg-type]  # both are text, or both bytes
            # An error: gone already, or the folder is not ours to change.
            with contextlib.suppress(OSError):
                if what_is_at(path, kind) is None:
                    os.unlink(path)
    finally:
        _unlock(descriptor)


def what_is_at(path: Path, kind: int) -> str | None:
    """Say what at `path` is not ours to remove; None: nothing, or the socket of a server that is gone.

    `kind` is the type of the socket that is to be bound there.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return "a symbolic link is there"
    if stat.S_ISDIR(found.st_mode):
        return "a folder is there"
    if not stat.S_ISSOCK(found.st_mode):
        return "a file that is no socket is there"
    # In this order: a server that was about to listen at the first look may do so at the second, never the
    # reverse.
    if proc_net.is_starting(path, found):
        return "a live server is there, about to listen"
    return _server_behind(path, kind)


def _server_behind(path: Path, kind: int) -> str | None:
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        number = probe.connect_ex(path)
    if number in {errno.ECONNREFUSED, errno.ENOENT}:
        return None
    if number in {0, errno.EAGAIN}:  # a full backlog: connect(2)
        return "a live server answers there"
    if number == errno.EPROTOTYPE:
        return "a live server answers there, on another type of socket"
    return f"a socket is there whose server may be alive: {os.strerror(number)}"


def _locked(folder: Path, timeout: float = LOCK_TIMEOUT) -> int:
    """Lock `folder` and return the descriptor that holds the lock.

    Raises
    ------
    OSError
        When it may not be read, its file system has no locks, or another program keeps it locked.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait_for_lock(descriptor, timeout)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(descriptor: int) -> None:
    # Closing alone would leave the lock to a child that another thread forks just now.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _wait_for_lock(descriptor: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    take = partial(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    while not is_file_lock_taken(take):
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, "another program keeps it locked")
        time.sleep(LOCK_RETRY_INTERVAL)


def _said(error: OSError) -> str:
    return error.strerror or str(error)
