r"""From the bytes of a call to messages: lines of UTF-8, and what stays unfinished for a while.

It does no I/O: bytes and the time are arguments.

==================================  =========================================================
what comes in                       what comes out
==================================  =========================================================
``hello\n``, ``hello\r\n``          the message ``hello``
``hello``, then nothing for 0.2 s   the message ``hello``; a line's end that comes later ends it
a character in two packets          the character, whole, also when the 0.2 s fall in between
bytes that are no UTF-8             U+FFFD in their place, and `Message.is_repaired`
more than `limit` bytes, no end     `LineTooLong`, and no more than `limit` bytes were kept
empty lines in a row                empty messages; with `merges_empty_lines` one, or none after a text
==================================  =========================================================
"""

import codecs
import re
from dataclasses import dataclass

LINE_LIMIT = 8192
"""Bytes of one line, without its end: the default of the desk, far above what a person types."""

_EMPTY_LINES = re.compile(rb"\n(?:\r?\n)+")
"""The end of a line, and empty lines after it."""

UNFINISHED = 0.2
"""Seconds after which a text without an end of line is a message: callers exist that never send one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a caller.

    Attributes
    ----------
    text : str
        What was said, without the end of the line.
    is_repaired : bool
        Whether it had bytes that are no UTF-8; each run of them is U+FFFD in the text.
    """

    text: str
    is_repaired: bool = False


class LineTooLong(Exception):  # noqa: N818 - what happened, as people say it
    """A caller's line has more bytes than its limit.

    Attributes
    ----------
    limit : int
        The limit in bytes.
    messages : list of Message
        The messages that were complete before the line that is too long.
    """

    def __init__(self, limit: int, messages: list[Message]) -> None:
        super().__init__(f"a line is longer than {limit} bytes")
        self.limit = limit
        self.messages = messages


class MessageDecoder:
    """Makes messages of the bytes of one call, however these were cut into packets.

    Parameters
    ----------
    limit : int
        Bytes that one line may have, without its end. No more than these are ever kept.
    unfinished : float
        Seconds after its last byte at which an unfinished text becomes a message.
    merges_empty_lines : bool
        Whether several empty lines that come at once are one message at the most. Thousands of them fit into
        one receive, and say nothing.

    Notes
    -----
    Not thread-safe: one call, one decoder, one thread. After `LineTooLong` it is of no more use.
    """

    def __init__(
        self,
        limit: int = LINE_LIMIT,
        unfinished: float = UNFINISHED,
        *,
        merges_empty_lines: bool = False,
    ) -> None:
        self._limit = limit
        self._unfinished = unfinished
        self._merges_empty_lines = merges_empty_lines
        self._kept = bytearray()
        self._deadline: float | None = None
        # The text before was taken as a message: an end of line that follows is only its end.
        self._is_continued = False

    def feed(self, data: bytes, now: float) -> list[Message]:
        """Take bytes in, and give back the messages that they complete.

        Parameters
        ----------
        data : bytes
            What was received.
        now : float
            The time in seconds, of any clock that never goes back.

        Raises
        ------
        LineTooLong
            A line has more than `limit` bytes; the exception has the messages before it.
        """
        messages: list[Message] = []
        if self._merges_empty_lines:
            data = _EMPTY_LINES.sub(b"\n", data)
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._keep(end, messages)
            messages += self._line()
        self._keep(rest, messages)
        self._deadline = now + self._unfinished if self._kept else None
        return messages

    def deadline(self) -> float | None:
        """Return when `expire` is due: the time at which unfinished text becomes a message; None: never."""
        return self._deadline

    def expire(self, now: float) -> list[Message]:
        """Give back the unfinished text if it is due, but for a last character that is not whole yet.

        Parameters
        ----------
        now : float
            The time in seconds, of the same clock as in `feed`.
        """
        if self._deadline is None or now < self._deadline:
            return []
        self._deadline = None
        text, taken, is_repaired = _decode(self._kept, is_final=False)
        del self._kept[:taken]
        text = text.removesuffix("\r")
        if not text:
            return []
        self._is_continued = True
        return [Message(text, is_repaired)]

    def finish(self) -> list[Message]:
        """Give back what the call leaves unfinished at its end."""
        return self._line() if self._kept else []

    def _keep(self, data: bytes, messages: list[Message]) -> None:
        length = len(self._kept) + len(data)
        # One byte more may be the CR of a CR LF that is still to come whole.
        if length > self._limit + (data or self._kept).endswith(b"\r"):
            raise LineTooLong(self._limit, messages)
        self._kept += data

    def _line(self) -> list[Message]:
        is_only_an_end = self._is_continued and bytes(self._kept) in {b"", b"\r"}
        text, _, is_repaired = _decode(self._kept, is_final=True)
        self._kept.clear()
        self._deadline = None
        self._is_continued = False
        return [] if is_only_an_end else [Message(text.removesuffix("\r"), is_repaired)]


def _decode(data: bytearray, *, is_final: bool) -> tuple[str, int, bool]:
    """Decode; return the text, the bytes that it took, and whether some had to be replaced."""
    try:
        return *codecs.utf_8_decode(data, "strict", is_final), False
    except UnicodeDecodeError:
        return *codecs.utf_8_decode(data, "replace", is_final), True


# What a caller may say to the desk itself.

LONGEST_NAME = 32
"""Characters of a caller's name: it stands before each of the caller's lines."""


def is_goodbye(text: str) -> bool:
    """Tell whether a caller's line says goodbye: `byebye`, in any case, spaces around it or none."""
    return text.strip().casefold() == "byebye"


def name_in(text: str) -> str | None:
    """Return NAME when a caller's line is `/name NAME`, which names the caller; None when it is not."""
    verb, *name = text.split() or [""]
    return " ".join(name) if verb == "/name" else None


def is_good_name(name: str) -> bool:
    """Tell whether a caller may have this name: short, printable, and no number, as calls have them."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and not name.isdecimal()
