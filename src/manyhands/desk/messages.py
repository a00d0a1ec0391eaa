r"""From the bytes of a call to messages: lines of text, and what stays unfinished for a while.

It does no I/O: bytes and the time are arguments.

==================================  =========================================================
what comes in                       what comes out
==================================  =========================================================
``hello\n``, ``hello\r\n``          the message ``hello``
``hello``, then nothing for 0.2 s   the message ``hello``; a line's end that comes later ends it
a character in two packets          the character, whole, also when the 0.2 s fall in between
bytes that are no UTF-8             U+FFFD in their place, and `Message.is_repaired`
half a character, then nothing      U+FFFD, after twice 0.2 s; or once it cannot become a whole one
more than `limit` bytes, no end     `LineTooLong`, and no more than `limit` bytes were kept
empty lines in a row                empty messages; with `merges_empty_lines` (blank ones too) one or none
==================================  =========================================================
"""

import codecs
import re
import unicodedata
from dataclasses import dataclass, field

from manyhands.desk.encodings import UTF_8
from manyhands.desk.look_alikes import INVISIBLE

LINE_LIMIT = 8192
"""Bytes of one line, without its end: the default of the desk, far above what a person types."""

_REST_OF_CHARACTER = 8
"""Bytes, of which the rest of a character has fewer in any encoding."""

_EMPTY_LINES = re.compile(rb"\n(?:[ \t\r]*\n)+")
"""The end of a line, and lines after it that are empty or blank."""

_LONGEST_GOODBYE = 64
"""Characters, with all that is not seen."""

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
        Whether it had bytes that are no text in the encoding; each run of them is U+FFFD in the text.
    original : bytes
        What came in, when it was repaired.
    """

    text: str
    is_repaired: bool = False
    original: bytes = field(default=b"", compare=False)


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
        # The text before was taken, but for the first bytes of a character.
        self._is_cut = False
        self._encoding = UTF_8

    @property
    def encoding(self) -> str:
        """What the bytes are read as; one of `encodings`. It may be changed between two calls."""
        return self._encoding

    @encoding.setter
    def encoding(self, name: str) -> None:
        # The first bytes of a character in one encoding are none in another, and the rest of it was shown.
        if name != self._encoding and self._is_cut:
            self._kept.clear()
            self._deadline = None
            self._is_cut = False
        self._encoding = name

    @property
    def rest(self) -> tuple[bytes, bool, bool]:
        """What another decoder needs to go on with the call: see `go_on_with`."""
        return bytes(self._kept), self._is_continued, self._is_cut

    def go_on_with(self, rest: tuple[bytes, bool, bool], encoding: str, now: float) -> None:
        """Go on where another decoder was, which has read in that encoding."""
        kept, self._is_continued, self._is_cut = rest
        self._kept[:] = kept
        self._encoding = encoding
        self._deadline = now + self._unfinished if kept else None

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
        if self._is_cut and data:
            length = self._rest_of_a_cut(data)
            if length is not None:
                self._kept += data[:length]
                messages += self._give_back(len(self._kept))
                data = data[length:]
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
        """Give back the unfinished text if it is due; a last character that is not whole yet is due later.

        Parameters
        ----------
        now : float
            The time in seconds, of the same clock as in `feed`.
        """
        if self._deadline is None or now < self._deadline:
            return []
        self._deadline = None
        if self._is_cut:
            return self._give_back(len(self._kept))
        length = len(self._kept) - len(self._unfinished_character())
        if length < len(self._kept):
            self._is_cut = True
            self._deadline = now + self._unfinished
        return self._give_back(length)

    def _unfinished_character(self) -> bytes:
        decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        decoder.decode(bytes(self._kept))
        return decoder.getstate()[0]

    def _rest_of_a_cut(self, data: bytes) -> int | None:
        """Return how many bytes belong to a character that is cut, and cannot become whole; None: it can."""
        self._is_cut = False
        character = bytes(self._kept) + data[:_REST_OF_CHARACTER]
        try:
            codecs.getincrementaldecoder(self._encoding)().decode(character)
        except UnicodeDecodeError as error:
            return None if error.start else max(0, error.end - len(self._kept))
        return None

    def _give_back(self, length: int) -> list[Message]:
        """Take the first bytes of what is kept as a message, though the line goes on."""
        original = bytes(self._kept)
        message = self._decoded(self._kept[:length], original)
        del self._kept[:length]
        self._is_cut = bool(self._kept) and self._is_cut
        if not message.text:
            return []
        self._is_continued = True
        return [message]

    def _decoded(self, line: bytearray, original: bytes | None = None) -> Message:
        try:
            return Message(line.decode(self._encoding).removesuffix("\r"))
        except UnicodeDecodeError:
            text = line.decode(self._encoding, "replace").removesuffix("\r")
            return Message(text, is_repaired=True, original=original or bytes(line))

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
        message = self._decoded(self._kept)
        self._kept.clear()
        self._deadline = None
        self._is_continued = self._is_cut = False
        return [] if is_only_an_end else [message]


# What a caller may say to the desk itself, and the desk to a caller.


def says_nothing(text: str) -> bool:
    """Tell whether there is nothing to be seen in a line: it is empty, or of blanks and the like alone."""
    return not text[:1].isalnum() and not INVISIBLE.sub("", text).strip()


def is_goodbye(text: str) -> bool:
    """Tell whether a caller's line says goodbye: `byebye`, in any case, blanks around it or none.

    What is not seen does not count: programs send the NUL at the end of their strings, or a mark of the
    encoding (U+FEFF), and input methods letters of full width.
    """
    text = text.strip()
    if len(text) > _LONGEST_GOODBYE:
        return False
    seen = "".join(c for c in INVISIBLE.sub("", text) if c.isprintable())
    return unicodedata.normalize("NFKC", seen).strip().casefold() == "byebye"


def name_in(text: str) -> str | None:
    """Return NAME when a caller's line is `/name NAME`, which names the caller; None when it is not."""
    verb, *name = text.lstrip("\ufeff").rstrip("\0").split() or [""]
    return " ".join(name) if verb == "/name" else None


def from_the_desk(text: str) -> str:
    """Mark a line to a caller as the desk's own word, not the operator's."""
    return f"desk: {text}"
