"""The file that a Unix socket leaves in the file system, and when its server may remove it.

A server removes only its own file, known by device and inode: another server may have taken the path since.
(While our socket is open nobody takes the path over, so the inode cannot have been given away.)
"""

import os
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
