"""The frames in which a parent and the processes of its handlers tell each other things: bytes and values.

Each has a head of fixed size. `number` is the number of the connection that it is about, so a process may
serve many; `request` is what the answer to it bears as well, 0 where none is wanted.
"""

import enum
import struct
from typing import NamedTuple

_HEAD = struct.Struct("!BIQI")

_LENGTH = struct.Struct("!H")

HEADS = 4096
"""Bytes by which a frame is longer than the piece in it, at most: the head, and two names."""


class Kind(enum.IntEnum):
    """What a frame says."""

    # Of a handler's process.
    JOIN = enum.auto()
    """The connection joins a room under a name: two texts."""

    LEAVE = enum.auto()
    """The connection leaves a room: a text."""

    TELL = enum.auto()
    """All members of a room are to be told, but for the connection: a text, and the piece."""

    MEMBERS = enum.auto()
    """Who is in a room? A text."""

    SEND = enum.auto()
    """A piece for a connection."""

    SEND_ALL = enum.auto()
    """A piece for all connections, but for one."""

    FIND = enum.auto()
    """Is there such a connection?"""

    MISSED = enum.auto()
    """Pieces that the connection has missed by now: their number, as a text."""

    OVER = enum.auto()
    """The connection takes nothing any more: its client has fallen behind."""

    SUBSCRIBE = enum.auto()
    """Messages of a subject are to come under this number: a text."""

    UNSUBSCRIBE = enum.auto()
    """No messages are to come under this number any more."""

    PUBLISH = enum.auto()
    """A message: the subject, a text, and what it says."""

    REQUEST = enum.auto()
    """A message that wants an answer: as the one before."""

    REPLY = enum.auto()
    """The answer to the request of this number."""

    # Of the parent.
    DELIVER = enum.auto()
    """A piece for the connection."""

    ANSWER = enum.auto()
    """The answer to a request: in `number` how many were told, and the rest as it has to be."""

    REFUSE = enum.auto()
    """The request was a mistake: a sentence."""

    MESSAGE = enum.auto()
    """A message of the subscription of this number: the number of its request, or 0, and what it says."""

    CLOSED = enum.auto()
    """No more messages come under this number: the server drains."""


class Frame(NamedTuple):
    """A frame that has come."""

    kind: int
    request: int
    number: int
    body: bytes


def pack(kind: Kind, number: int, body: bytes = b"", request: int = 0) -> bytes:
    """Return a frame as bytes."""
    return _HEAD.pack(kind, request, number, len(body)) + body


def texts(*several: str) -> bytes:
    """Return texts as bytes, each of which says how long it is."""
    # A name may have bytes in it that were no text (PEP 383).
    each = [text.encode("utf-8", "surrogatepass") for text in several]
    return b"".join(_LENGTH.pack(len(data)) + data for data in each)


def take_texts(body: bytes, count: int) -> tuple[list[str], bytes]:
    """Return so many texts that are in front of a body, and the rest.

    Raises
    ------
    ValueError
        When they are not there.
    """
    found, start = [], 0
    for _ in range(count):
        if len(body) < start + _LENGTH.size:
            raise ValueError("a frame ends within the length of a text")
        (length,) = _LENGTH.unpack_from(body, start)
        start += _LENGTH.size
        data = body[start : start + length]
        if len(data) < length:
            raise ValueError("a frame ends within a text")
        found.append(data.decode("utf-8", "surrogatepass"))
        start += length
    return found, body[start:]


class FrameReader:
    """Finds the frames in the bytes of a channel, as these come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes, longest: int) -> list[Frame]:
        """Take bytes that have come, and return the frames that are whole by now.

        Raises
        ------
        ValueError
            When a frame is longer than `longest` bytes.
        """
        buffer = self._buffer
        buffer += data
        found, start = [], 0
        while len(buffer) - start >= _HEAD.size:
            kind, request, number, length = _HEAD.unpack_from(buffer, start)
            if length > longest:
                raise ValueError(f"a frame of {length} bytes has come, more than {longest}")
            end = start + _HEAD.size + length
            if len(buffer) < end:
                break
            found.append(Frame(kind, request, number, bytes(buffer[start + _HEAD.size : end])))
            start = end
        del buffer[:start]
        return found
