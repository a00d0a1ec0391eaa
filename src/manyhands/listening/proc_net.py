"""Which process holds a port, and which Unix sockets are bound: read from ``/proc``, so on Linux only.

``/proc/net/tcp`` and its siblings name the inode of each bound socket (proc(5)); the process that has a
descriptor on that inode holds it. Processes of other users do not show their descriptors; then the answer
is that another program holds it, without a name.

``/proc/net/unix`` is read only for a server between its `bind` and its `listen`, which refuses clients as a
dead one does; one that listens answers.
"""

# Without `pathlib`: programs change their user or root before they bind, and then it may be out of reach.
import os
import socket
from collections.abc import Iterator

UNKNOWN = "another program"

# Columns of the tables of TCP.
LISTENING = "0A"  # TCP_LISTEN, include/net/tcp_states.h
LINGERING = "06"  # TCP_TIME_WAIT

# Columns of the table of Unix sockets.
LISTENING_FLAG = 0x10000  # __SO_ACCEPTCON, include/linux/net.h
UNCONNECTED = 1  # SS_UNCONNECTED, include/uapi/linux/net.h; a connection is SS_CONNECTED
DATAGRAM = 2  # SOCK_DGRAM, which answers as soon as it is bound


def holder_of(family: int, kind: int, port: int) -> str | None:
    """Say which process has `port` bound: ``process 123 (python3 server.py)``, or ``another program``.

    None means that no process does: the port is only still kept from programs that do not set
    `SO_REUSEADDR`, for connections of a server that has ended (TIME_WAIT, a minute: tcp(7)).
    """
    if family not in {socket.AF_INET, socket.AF_INET6} or not os.path.exists("/proc/net"):
        return UNKNOWN
    protocol = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    on_port = [
        entry
        for table in (protocol, protocol + "6")
        for entry in sockets_on(port, _read(f"/proc/net/{table}"))
    ]
    holders = {inode for state, inode in on_port if protocol == "udp" or state == LISTENING}
    if not holders and any(state == LINGERING for state, _ in on_port):
        return None
    # A TCP socket that is bound and does not listen yet stands in no table.
    return next(map(_describe, pids_holding(holders)), UNKNOWN)


def sockets_on(port: int, table: str) -> Iterator[tuple[str, str]]:
    """Yield state and inode of each socket on local `port` in `table`, a text as of ``/proc/net/tcp``."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            yield fields[3], fields[9]


def pids_holding(inodes: set[str]) -> Iterator[int]:
    """Yield the processes that have a descriptor on a socket of one of `inodes`, as far as we may see."""
    yield from (pid for pid in _pids() if _has_one_of(pid, inodes))


def _pids() -> Iterator[int]:
    yield from (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _has_one_of(pid: int, inodes: set[str]) -> bool:
    sockets = {f"socket:[{inode}]" for inode in inodes}
    try:
        folder = f"/proc/{pid}/fd"
        return any(os.readlink(f"{folder}/{name}") in sockets for name in os.listdir(folder))
    except OSError:
        return False  # ended meanwhile, or not ours to see


def _describe(pid: int) -> str:
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    itself = ", this one" if pid == os.getpid() else ""
    return f"process {pid}{itself} ({command[:120]})" if command else f"process {pid}{itself}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def is_starting(path: str | bytes, found: os.stat_result) -> bool:
    """Tell whether a socket is bound to the file `path` and does not listen yet; no where it is unknown.

    `found` is the file's own status, not that of what it links to.
    """
    try:
        with open("/proc/net/unix", "rb") as file:
            table = file.read()
    except OSError:
        return False
    name = os.path.basename(os.fsencode(path))
    return any(
        os.path.basename(bound) == name
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
        if not flags & LISTENING_FLAG and kind != DATAGRAM and state == UNCONNECTED:
            yield fields[6].decode("ascii"), fields[7]


def _resolved(bound: bytes, inode: str) -> Iterator[bytes]:
    """Yield where `bound` may be: a relative path is in the folder of the process that holds the socket."""
    if bound.startswith(b"/"):
        yield bound
        return
    for pid in pids_holding({inode}):
        yield b"/proc/%d/cwd/" % pid + bound


def _is(found: os.stat_result, path: bytes) -> bool:
    try:
        other = os.lstat(path)
    except OSError:
        return False  # not to be seen from here, so not what was found here
    return os.path.samestat(found, other)
