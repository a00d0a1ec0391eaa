"""Which sockets are on a port, and which Unix sockets are bound: read from ``/proc``, so on Linux only.

``/proc/net/tcp`` and its siblings name the inode of each bound socket (proc(5)); the process that has a
descriptor on that inode holds it. Processes of other users do not show their descriptors; then the answer
is that another program holds it, without a name.

``/proc/net/unix`` is read for the names of control sockets, and for a server between its `bind` and its
`listen`, which refuses clients as a dead one does; one that listens answers.
"""

# Without `pathlib`: programs change their user or root before they bind, and then it may be out of reach.
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from manyhands.model.escaping import escape

UNKNOWN = "another program"

PROC = "/proc"

# Columns of the tables of TCP.
STATES = {
    "01": "ESTABLISHED",
    "02": "SYN_SENT",
    "03": "SYN_RECV",
    "04": "FIN_WAIT1",
    "05": "FIN_WAIT2",
    "06": "TIME_WAIT",
    "07": "CLOSE",
    "08": "CLOSE_WAIT",
    "09": "LAST_ACK",
    "0A": "LISTEN",
    "0B": "CLOSING",
}
"""include/net/tcp_states.h"""

LISTENING = "0A"
LINGERING = "06"
TIME_WAIT_TIMER = (
    "03"  # `get_timewait4_sock` in net/ipv4/tcp_ipv4.c; one in FIN_WAIT2 may have it, too
)

MAPPED = bytes(10) + b"\xff\xff"
"""What an IPv4 address begins with where IPv6 shows it: ::ffff:0:0/96."""

# Columns of the table of Unix sockets.
LISTENING_FLAG = 0x10000  # __SO_ACCEPTCON, include/linux/net.h
UNCONNECTED = 1  # SS_UNCONNECTED, include/uapi/linux/net.h; a connection is SS_CONNECTED
STREAM = 1  # SOCK_STREAM
DATAGRAM = 2  # SOCK_DGRAM, which answers as soon as it is bound


class Entry(NamedTuple):
    """A socket of TCP or UDP, as the kernel's table has it.

    Attributes
    ----------
    host : bytes
        The IP address that it has here, of 4 or 16 bytes; an IPv4 address that IPv6 maps is one of IPv4.
    peer : tuple
        The address and the port of its peer.
    state : str
        The number of its state, in hexadecimal.
    seconds : float or None
        Until the kernel removes it, of one that only waits for that.
    user : int
        The user that made it.
    inode : str
        ``"0"`` of one that no program has any more.
    """

    host: bytes
    peer: tuple[str, int]
    state: str
    seconds: float | None
    user: int
    inode: str

    @property
    def is_owned(self) -> bool:
        """Whether a program has a descriptor of it."""
        return self.inode != "0"

    @property
    def state_name(self) -> str:
        """Its state as people know it."""
        return STATES.get(self.state, self.state)


def entries_on(port: int, protocol: str) -> list[Entry] | None:
    """Return the sockets on local `port` of ``tcp`` or ``udp``, of both IPs; None where that is not told."""
    tables = [read(f"{PROC}/net/{name}") for name in (protocol, f"{protocol}6")]
    # Without IPv6 there is no second one.
    if not tables[0]:
        return None
    return [entry for table in tables for entry in entries_in(table, port)]


def entries_in(table: str, port: int) -> Iterator[Entry]:
    """Yield the sockets on local `port` in `table`, a text as of ``/proc/net/tcp``."""
    end = f":{port:04X}"
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(end):
            yield _entry(fields)


def _entry(fields: list[str]) -> Entry:
    timer, _, left = fields[5].partition(":")
    # In the clock ticks of times(2).
    seconds = int(left, 16) / os.sysconf("SC_CLK_TCK") if timer == TIME_WAIT_TIMER else None
    peer, _, peer_port = fields[2].rpartition(":")
    packed = _packed(peer)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return Entry(
        host=_packed(fields[1].rpartition(":")[0]),
        peer=(socket.inet_ntop(family, packed), int(peer_port, 16)),
        state=fields[3],
        seconds=seconds,
        user=int(fields[7]),
        inode=fields[9],
    )


def _packed(words: str) -> bytes:
    """Return an address of hexadecimal digits: words of 32 bits, each in the order of this machine."""
    octets = bytes.fromhex(words)
    if sys.byteorder == "little":
        octets = b"".join(octets[at : at + 4][::-1] for at in range(0, len(octets), 4))
    return unmapped(octets)


def unmapped(packed: bytes) -> bytes:
    """Return the IPv4 address that an address of IPv6 stands for (RFC 4291, 2.5.5.2); any other as it is."""
    return packed[12:] if len(packed) == 16 and packed.startswith(MAPPED) else packed


def owner_of(entries: Iterable[Entry]) -> str:
    """Say which process has sockets open: ``process 123 (python3 server.py)``, or ``another program``."""
    entries = list(entries)
    for pid in pids_holding({entry.inode for entry in entries}):
        return _describe(pid)
    return f"{UNKNOWN}, of user {_user_name(entries[0].user)}"


def _user_name(number: int) -> str:
    try:
        import pwd  # noqa: PLC0415 - only for a sentence

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError, OSError):
        return str(number)


def pids_holding(inodes: set[str]) -> Iterator[int]:
    """Yield the processes that have a descriptor on a socket of one of `inodes`, as far as we may see."""
    yield from (pid for pid in _pids() if _has_one_of(pid, inodes))


def _pids() -> Iterator[int]:
    yield from (int(name) for name in os.listdir(PROC) if name.isdecimal())


def _has_one_of(pid: int, inodes: set[str]) -> bool:
    sockets = {f"socket:[{inode}]" for inode in inodes}
    try:
        folder = f"{PROC}/{pid}/fd"
        return any(os.readlink(f"{folder}/{name}") in sockets for name in os.listdir(folder))
    except OSError:
        return False  # ended meanwhile, or not ours to see


def _describe(pid: int) -> str:
    # One line, whatever the arguments hold: programs that are given by `-c` have several.
    command = escape(" ".join(read(f"{PROC}/{pid}/cmdline").replace("\0", " ").split()))
    itself = ", this one" if pid == os.getpid() else ""
    return f"process {pid}{itself} ({command[:120]})" if command else f"process {pid}{itself}"


def read(path: str) -> str:
    """Return what a file of ``/proc`` says; ``""`` when it cannot be read."""
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
        with open(f"{PROC}/net/unix", "rb") as file:
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

    An accepted connection has the path of its listener.
    """
    for flags, kind, state, inode, name in _named(table):
        if not flags & LISTENING_FLAG and kind != DATAGRAM and state == UNCONNECTED:
            yield inode, name


def listening(table: bytes) -> Iterator[bytes]:
    """Yield path, or ``@name``, of each stream socket in `table` that listens."""
    for flags, kind, _, _, name in _named(table):
        if flags & LISTENING_FLAG and kind == STREAM:
            yield name


def _named(table: bytes) -> Iterator[tuple[int, int, int, str, bytes]]:
    """Yield flags, type, state, inode and name of each socket that has a name.

    The columns of the table are ``Num RefCount Protocol Flags Type St Inode Path``.
    """
    for line in table.split(b"\n")[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8:
            flags, kind, state = (int(field, 16) for field in fields[3:6])
            yield flags, kind, state, fields[6].decode("ascii"), fields[7]


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
