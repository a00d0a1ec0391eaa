"""What a worker of a desk and the desk's process say to each other: bytes and values.

The frames are those of `dealing.frames`; `number` is that of the call's connection. A *value* is a value of
Python by `marshal`. Of the worker:

========= ==================== ======================================================================
kind      body                 what it says
========= ==================== ======================================================================
HELLO     value: its number    the first frame
TAKE      value: peer          a caller has called
HEAR      value: [(text, what  the caller has said these messages
          came in or None)]
FAST      nothing              the caller speaks too fast
LISTENS   nothing              the caller has stopped talking
TOO_LONG  value: the limit     the caller has said a line that is too long
LEAVES    text: the ending     the call has ended
PARK      nothing              the call leaves this worker: the desk keeps what it has to say
GO_ON     nothing              the call goes on in this worker; the answer is whether the desk knows it still
FORGET    nothing              the call is over, whatever has ended it
TELL      value: [sentence]    something for the operator alone; no call's
KNOWS     nothing              the worker knows that the desk is closing
ENDS      nothing              the worker ends in good order: the last frame, at which the desk ends the link
========= ==================== ======================================================================

All but HELLO, FORGET, TELL, KNOWS and ENDS are answered: a call has one question at a time. Of the desk:

========= ==================== ======================================================================
kind      body                 what it says
========= ==================== ======================================================================
DONE      value: the result    the answer
FAILED    nothing              there is no answer: the desk has a fault
SAY       text                 say this to the caller
SAY_ALL   value: ([number],    say this to these callers
          text)
HANG_UP   text: the ending     end the call
ENCODING  text: its name       read and write the caller's lines in this encoding
CLOSING   nothing              the desk says goodbye to all callers, and to those that call now; no call's
========= ==================== ======================================================================
"""

import enum
import marshal
from collections.abc import Sequence
from typing import Any

from manyhands.desk.messages import Message

VERSION = 2
"""Of these frames. After a reload the workers may be of another manyhands than the desk's process."""

_MARSHAL = 2
"""A version of `marshal` that every Python reads: after a reload theirs may be another one, too."""

CHUNK = 256 * 1024
"""Bytes that are read at once: what has come of many calls is kept together."""


class Kind(enum.IntEnum):
    """What a frame says: see above."""

    HELLO = 1
    TAKE = 2
    HEAR = 3
    FAST = 4
    LISTENS = 5
    TOO_LONG = 6
    LEAVES = 7
    FORGET = 8
    TELL = 9
    KNOWS = 10
    PARK = 11
    GO_ON = 12
    ENDS = 13

    DONE = 20
    FAILED = 21
    SAY = 22
    SAY_ALL = 23
    HANG_UP = 24
    ENCODING = 25
    CLOSING = 26


KINDS = frozenset(map(int, Kind))


def value(body: bytes) -> Any:
    """Return the value that is in a body.

    Raises
    ------
    ValueError
        When there is none.
    """
    try:
        return marshal.loads(body)  # noqa: S302 - of a process of ours, whose user was looked at
    except (EOFError, TypeError) as error:
        raise ValueError(f"a frame has no value: {error}") from error


def body_of(what: Any) -> bytes:
    """Return a value as the body of a frame."""
    return marshal.dumps(what, _MARSHAL)


def text_of(body: bytes) -> str:
    """Return the text that a body is."""
    return body.decode("utf-8", "surrogatepass")


def body_of_text(text: str) -> bytes:
    """Return a text as the body of a frame."""
    return text.encode("utf-8", "surrogatepass")


def plain(messages: Sequence[Message]) -> list[tuple[str, bytes | None]]:
    """Return messages as a value."""
    return [(each.text, each.original if each.is_repaired else None) for each in messages]


def messages_of(said: Sequence[tuple[str, bytes | None]]) -> list[Message]:
    """Return the messages of a value."""
    return [
        Message(text) if original is None else Message(text, is_repaired=True, original=original)
        for text, original in said
    ]
