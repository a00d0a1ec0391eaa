"""What a supervisor and its workers tell each other: bytes and values.

On a *deal channel* (SOCK_SEQPACKET, one for each listener of a worker) a message is one connection: its place
(8 bytes, network's order), its marks (1 byte), and its client's address by `marshal`; its descriptor travels
with it (SCM_RIGHTS, unix(7)), and with one that is resumed a second one: of what is kept of it.

On the *hand-over channel* (SOCK_SEQPACKET, one for each worker) a message is one connection that a worker
hands back, for another one to resume it: its place, the position of its listener (4 bytes), and its client's
address as JSON. Two descriptors travel with it: its own, and that of a file in memory with what is kept
(`connections.hand_over.Kept`), which the supervisor passes on unread.

On the *link* (SOCK_STREAM) there are records, with a head of kind (1 byte), reason (1), two bytes that are
zero, length of the body (4) and place (8).

=========== ============ ===================================================================================
kind        place        meaning
=========== ============ ===================================================================================
of a worker
READY       0            it serves; body: what it is, as JSON
ENDED       of the conn. the connection has ended, and the ring has no room for that; reason: its position in
                         the reasons that READY has listed
RETURNED    of the conn. the worker had no descriptor for it, and has not begun it
IDENTIFY    of the conn. a PROXY header has told the client's address; body: that, as JSON
ROOM        0            it has taken from a deal channel, which the supervisor waits for
LEFT        of the conn. a drain has cut it off; body: what it was doing, as JSON
FAILED      0            it cannot serve; body: the sentence why
GONE        0            it has come to its end as it should
STOP        0            its program wants the whole server to stop
CLOSED      a position   its program has closed the listener there, which is to be closed everywhere
LEAVES      0            it drains, for it got a signal, or cannot go on: another one is to take its place
ENDS        0            there are ends in its ring (`ended_ring`), which the supervisor waits for
of the supervisor
IDENTIFIED  of the conn. body: the reason for which it is refused, or nothing
DRAIN       0            stop, and drain; body: the seconds for that, as text
HURRY       0            cut the drain short
STACKS      0            tell, in events, where each handler stands
HAND_OVER   0            hand back those connections that others can resume
KEEP        0            hand back none any more: nobody can resume them
LANES       a position   of datagrams: which sockets to read there; body: a `Lane`, as text
=========== ============ ===================================================================================

The reasons are listed by each worker, for one that a supervisor of another version has left behind may know
others.
"""

import enum
import json
import marshal
import struct
from typing import Any, NamedTuple

from manyhands.model.socket_addresses import address_of_plain, plain_address

VERSION = 4
"""Of all this, and of what an upgrade writes down: a template of another version is not worked with, and a
program of another one does not take over."""

_HEAD = struct.Struct("!BBHIQ")

_DEALT = struct.Struct("!QB")

_HANDED = struct.Struct("!QI")

MOST_DEALT = 512
"""Bytes of a message on a deal channel at the most: the longest address is that of a Unix socket (108)."""

MOST_HANDED = 2048
"""Bytes of a message on a hand-over channel at the most, where an address takes more room."""

LONGEST = 64 * 1024
"""Bytes of a record's body at the most."""

BEYOND_THE_CAP = 1
"""The mark of a connection beyond `max_connections`, which is for the overflow handler."""

RESUMED = 2
"""The mark of a connection that another worker has handed back: it is resumed."""


class Kind(enum.IntEnum):
    """What a record says: see above."""

    READY = 1
    ENDED = 2
    RETURNED = 3
    IDENTIFY = 4
    ROOM = 5
    LEFT = 6
    FAILED = 7
    GONE = 8
    STOP = 9
    CLOSED = 10
    LEAVES = 11
    ENDS = 12

    IDENTIFIED = 20
    DRAIN = 21
    HURRY = 22
    STACKS = 23
    HAND_OVER = 24
    LANES = 25
    KEEP = 26


class Lane(enum.IntFlag):
    """The sockets for datagrams that a worker has."""

    OWN = 1
    NEIGHBOURS = 2
    CLOSED = 4
    """The address was closed in some worker: all have it closed."""


class Record(NamedTuple):
    """A record that has come."""

    kind: int
    reason: int
    place: int
    body: bytes


def pack(kind: int, place: int = 0, body: bytes = b"", reason: int = 0) -> bytes:
    """Return a record as bytes."""
    return _HEAD.pack(kind, reason, 0, len(body), place) + body


class RecordReader:
    """Finds the records in the bytes of a link, as these come."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def has_rest(self) -> bool:
        """Whether a part of a record has come, and the rest not yet."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Record]:
        """Take bytes that have come, and return the records that are whole by now.

        Raises
        ------
        ValueError
            When a record is longer than any that is sent.
        """
        if self._rest:
            data = self._rest + data
        found, start, end = [], 0, len(data)
        while end - start >= _HEAD.size:
            kind, reason, _, length, place = _HEAD.unpack_from(data, start)
            if length > LONGEST:
                raise ValueError(f"a record of {length} bytes has come, and {LONGEST} are the most")
            following = start + _HEAD.size + length
            if following > end:
                break
            found.append(Record(kind, reason, place, data[following - length : following]))
            start = following
        self._rest = data[start:]
        return found


def pack_dealt(place: int, address: Any, marks: int = 0) -> bytes:
    """Return the message of a connection on a deal channel, without its descriptor."""
    return _DEALT.pack(place, marks) + marshal.dumps(address)


def read_dealt(message: bytes) -> tuple[int, int, Any]:
    """Return the place, the marks and the client's address of such a message."""
    place, marks = _DEALT.unpack_from(message)
    return place, marks, marshal.loads(message[_DEALT.size :])  # noqa: S302 - of our own supervisor


class Handed(NamedTuple):
    """A connection that a worker hands back, but for its descriptors."""

    place: int
    listener: int
    address: Any


def pack_handed(handed: Handed) -> bytes:
    """Return the message of a connection on a hand-over channel, without its descriptors."""
    address = json.dumps(plain_address(handed.address)).encode()
    return _HANDED.pack(handed.place, handed.listener) + address


def read_handed(message: bytes, listeners: int) -> Handed:
    """Return what such a message says, of a worker with so many listeners.

    Not by `marshal`, which trusts what it reads: a program may have spoilt its worker's memory.

    Raises
    ------
    ValueError
        When it is none.
    """
    if len(message) <= _HANDED.size:
        raise ValueError(f"a message of {len(message)} bytes hands no connection over")
    place, listener = _HANDED.unpack_from(message)
    if listener >= listeners:
        raise ValueError(f"there is no listener {listener}")
    return Handed(place, listener, address_of_plain(json.loads(message[_HANDED.size :])))
