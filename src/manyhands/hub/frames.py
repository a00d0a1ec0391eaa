"""What workers and the hub between them say: bytes and values. The frames are those of `dealing.frames`.

A *topic* is what is told together: a room, a subject, or all connections. A *message* is what one worker says
to others; the hub hands it on as it stands. Of a worker:

========= =================== =========================== ================================================
kind      number              body                        answer
========= =================== =========================== ================================================
FOLLOW    1: yes; 0: no more  text topic                  1: what is told of it comes from now on
TO_TOPIC  flags               text topic, message         the sum, from those that follow the topic
TO_ALL    flags               text topic, message         the sum, from all other workers
TO_ONE    of the worker       text topic, message         what that one answers
ANSWER    a count             any                         none
MISSED    messages so far     text topic, text time       none: they were dropped on their way to the hub
========= =================== =========================== ================================================

Of the hub:

========= =================== ============================================================================
kind      number              body
========= =================== ============================================================================
WELCOME   the worker's own    text: its bit in the page of topics, whose descriptor comes along (SCM_RIGHTS)
TOLD      of the sender       text topic, message
ANSWER    the sum             the bodies, each behind the number of its worker and its length
MISSED    messages so far     text topic, text time: they were dropped, for the worker did not take them
========= =================== ============================================================================

*time* is by `time.monotonic`. The hub numbers the workers as they come: one that comes again has another
number.
"""

import enum
import struct
from collections.abc import Iterable, Iterator

ROOM = "R"
"""What the topic of a room begins with; its name follows."""

SUBJECT = "S"
"""What the topic of a subject begins with."""

CONNECTIONS = "C"
"""The topic of all connections."""

EVERYTHING = "*"
"""Every topic that there is."""

LONGEST = 32 * 1024 * 1024
"""Bytes of the longest frame: a piece that is longer goes to no other worker, and counts as missed there."""

_PART = struct.Struct("!QI")


class Kind(enum.IntEnum):
    """What a frame says: see above."""

    FOLLOW = 1
    TO_TOPIC = 2
    TO_ALL = 3
    TO_ONE = 4
    ANSWER = 5
    MISSED = 6

    WELCOME = 10
    TOLD = 11


KINDS = frozenset(map(int, Kind))


class Flags(enum.IntFlag):
    """How a message is handed on."""

    NONE = 0
    FIRST = 1
    """The first answer that is not 0 is the answer."""

    COUNTS = 2
    """A message that is dropped is told of as missed."""


def joined(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """Return answers of workers, by their numbers, as one body."""
    return b"".join(_PART.pack(worker, len(body)) + body for worker, body in parts)


def parted(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the answers that `joined` has put together."""
    start = 0
    while start < len(body):
        worker, length = _PART.unpack_from(body, start)
        start += _PART.size
        yield worker, body[start : start + length]
        start += length
