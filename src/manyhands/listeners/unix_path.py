"""The file that a Unix socket leaves in the file system: whose it is, and when it may be removed.

Two rules. A path is taken over only from a server that is gone: it is a socket, and nobody answers on it.
And a server removes only its own file, known by device and inode: another server may have taken the path
since.
"""

import errno
import os
import socket
import stat
from dataclasses import dataclass

Path = str | bytes


def is_path(address: object) -> bool:
    """Tell whether a Unix socket address is a path; Linux's abstract names (they begin with NUL) are not."""
    if isinstance(address, str):
        return bool(address) and not address.startswith("\0")
    if isinstance(address, bytes):
        return bool(address) and not address.startswith(b"\0")
    return False


@dataclass(frozen=True, slots=True)
class BoundPath:
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
            path = os.path.abspath(path)  # noqa: PTH100 - pathlib takes no bytes
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
                os.unlink(self.path)  # noqa: PTH108 - pathlib takes no bytes
        except OSError:
            return  # gone already, or the folder is no longer ours to change


def remove_if_stale(path: Path, kind: int) -> bool:
    """Remove the socket file at `path` if the server that made it is gone; return whether it was.

    `kind` is the socket type about to be bound. A file that is no socket is never touched.
    """
    try:
        found = os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode) or _answers(path, kind):
            return False
        again = os.lstat(path)
        if (found.st_dev, found.st_ino) != (again.st_dev, again.st_ino):
            return False  # another server took it over while we looked
        os.unlink(path)  # noqa: PTH108 - pathlib takes no bytes
    except OSError:
        return False
    return True


def _answers(path: Path, kind: int) -> bool:
    """Tell whether a live socket is behind `path`: anything but a refusal counts as life."""
    if _is_bound_here(path):
        # A server between its bind and its listen refuses, and is alive.
        return True
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) != errno.ECONNREFUSED


def _is_bound_here(path: Path) -> bool:
    """Tell whether the kernel knows a socket of that path (proc(5)); no where it does not say."""
    wanted = {os.fsdecode(path), os.path.abspath(os.fsdecode(path))}  # noqa: PTH100 - paths are strings here
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:  # noqa: PTH123
            next(table)  # the heads: Num RefCount Protocol Flags Type St Inode Path
            rows = (line.rstrip("\n").split(maxsplit=7) for line in table)
            return any(len(row) == 8 and row[7] in wanted for row in rows)
    except OSError:
        return False
