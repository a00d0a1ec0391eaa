"""The frames in which a parent and the processes of its handlers tell each other things: bytes and values.

The head: kind (1 byte), request (4), number (8), length of the body (4), in the network's order. `request` is
what the answer bears as well; 0 where none is wanted. A *text* is its length (2 bytes), and UTF-8.

Of a handler's process:

=========== =================== ====================================== ====================================
kind        number              body                                   answer
=========== =================== ====================================== ====================================
JOIN        of the connection   text room, text name                   1: it is a member; 0: it is over
LEAVE       of the connection   text room                              0
TELL        of one to leave out text room, piece                       how many are told
MEMBERS     0                   text room                              body: marshal of [(number, name)]
SEND        of the connection   piece                                  1: it is sent or waits
SEND_ALL    of one to leave out piece                                  how many are told
FIND        of the connection   nothing                                1 and its address by marshal, or 0
MISSED      of the connection   text: pieces missed so far             none
BEHIND      of the connection   text: bytes waiting, text: 1, it ends  none
OVER        of the connection   nothing                                none
SUBSCRIBE   of the subscription text subject, text most, text when     1
UNSUBSCRIBE of the subscription nothing                                none
PUBLISH     0                   text subject, message                  1
REQUEST     0                   text subject, text until, message      1 and the reply; 0: no subscriber
REPLY       of the request      reply                                  1: it is waited for
=========== =================== ====================================== ====================================

*until* is by `time.monotonic`, *when* an option `when_behind`. Of the parent:

=========== =================== ===========================================================================
kind        number              body
=========== =================== ===========================================================================
DELIVER     of the connection   piece
ANSWER      as above            as above; a number that was asked for is in `number`
REFUSE      0                   the sentence of a `Mistake`
MESSAGE     of the subscription number of the request (8 bytes), or 0; message
LOST        of the subscription text: messages dropped on the way so far
CLOSED      of the subscription nothing
=========== =================== ===========================================================================
"""

import enum
import struct
from typing import NamedTuple

_HEAD = struct.Struct("!BIQI")

_LENGTH = struct.Struct("!H")

HEADS = 4096
"""Bytes by which a frame is longer than the piece in it, at most: the head, and two names."""


class Kind(enum.IntEnum):
    """What a frame says: see above."""

    JOIN = 1
    LEAVE = 2
    TELL = 3
    MEMBERS = 4
    SEND = 5
    SEND_ALL = 6
    FIND = 7
    MISSED = 8
    BEHIND = 9
    OVER = 10
    SUBSCRIBE = 11
    UNSUBSCRIBE = 12
    PUBLISH = 13
    REQUEST = 14
    REPLY = 15

    DELIVER = 20
    ANSWER = 21
    REFUSE = 22
    MESSAGE = 23
    LOST = 24
    CLOSED = 25


_KINDS = frozenset(map(int, Kind))


class Frame(NamedTuple):
    """A frame that has come."""

    kind: int
    request: int
    number: int
    body: bytes


def pack(kind: int, number: int, body: bytes = b"", request: int = 0) -> bytes:
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
    """Finds the frames in the bytes of a channel, as these come.

    Parameters
    ----------
    kinds
        The kinds of frames that there are.
    """

    def __init__(self, kinds: frozenset[int] = _KINDS) -> None:
        self._buffer = bytearray()
        self._kinds = kinds

    def feed(self, data: bytes, longest: int = 2**32) -> list[Frame]:
        """Take bytes that have come, and return the frames that are whole by now.

        Raises
        ------
        ValueError
            When a frame is longer than `longest` bytes, or of no kind that there is.
        """
        buffer = self._buffer
        buffer += data
        found, start = [], 0
        while len(buffer) - start >= _HEAD.size:
            kind, request, number, length = _HEAD.unpack_from(buffer, start)
            if kind not in self._kinds:
                raise ValueError(f"a frame of the unknown kind {kind} has come")
            if length > longest:
                raise ValueError(f"a frame of {length} bytes has come, more than {longest}")
            end = start + _HEAD.size + length
            if len(buffer) < end:
                break
            found.append(Frame(kind, request, number, bytes(buffer[start + _HEAD.size : end])))
            start = end
        del buffer[:start]
        return found
