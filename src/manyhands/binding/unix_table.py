"""What the kernel knows of Unix sockets: ``/proc/net/unix`` (proc(5)), so on Linux only.

A server that listens answers whoever connects; this table is asked only for one between its `bind` and its
`listen`, which refuses as a dead one does.
"""

import os
from collections.abc import Iterator

from .port_holder import PROC, pids_holding

TABLE = PROC / "net" / "unix"

LISTENING = 0x10000  # __SO_ACCEPTCON, include/linux/net.h
UNCONNECTED = 1  # SS_UNCONNECTED, include/uapi/linux/net.h; a connection is SS_CONNECTED
DATAGRAM = 2  # SOCK_DGRAM, which answers as soon as it is bound


def is_starting(path: str | bytes, found: os.stat_result) -> bool:
    """Tell whether a socket is bound to the file `path` and does not listen yet; no where it is unknown.

    `found` is the file's own status, not that of what it links to.
    """
    try:
        table = TABLE.read_bytes()
    except OSError:
        return False
    name = os.path.basename(os.fsencode(path))  # noqa: PTH119 - pathlib takes no bytes
    return any(
        os.path.basename(bound) == name  # noqa: PTH119 - see above
        and any(_is(found, candidate) for candidate in _resolved(bound, inode))
        for inode, bound in starting(table)
    )


def starting(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield inode and path of each socket in `table` that is bound, is no connection and listens not yet.

    The columns are ``Num RefCount Protocol Flags Type St Inode Path``. An accepted connection has the path
    of its listener.
    """
    for line in table.split(b"\n")[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) < 8:
            continue  # a socket without a name
        flags, kind, state = (int(field, 16) for field in fields[3:6])
        if not flags & LISTENING and kind != DATAGRAM and state == UNCONNECTED:
            yield fields[6].decode("ascii"), fields[7]


def _resolved(bound: bytes, inode: str) -> Iterator[bytes]:
    """Yield where `bound` may be: a relative path is as good as the folder of whoever holds the socket."""
    if bound.startswith(b"/"):
        yield bound
        return
    for pid in pids_holding({inode}):
        yield os.fsencode(PROC / str(pid) / "cwd") + b"/" + bound


def _is(found: os.stat_result, path: bytes) -> bool:
    try:
        other = os.lstat(path)
    except OSError:
        return False  # not to be seen from here, so not what was found here
    return os.path.samestat(found, other)
