r"""From a stream of bytes to frames: what was sent together comes out together, however packets cut it.

Pure code: the owner of a `FrameBuffer` feeds it with bytes, and asks for a frame until it is complete.

===========================================  =========================================================
asked for                                    what comes out
===========================================  =========================================================
``exactly(4)``, and ``ab`` came              None; `FrameBuffer.missing` says 2
``line(80)``, and ``ab\r\ncd`` came          ``ab``; ``cd`` stays for the next
``frame(LengthPrefix(2), 80)``, ``\0\2ab``   ``ab``
``frame(LengthPrefix(2), 80)``, ``\xff\xff`` `FrameTooLong`, and none of the frame was waited for
``line(80)``, and 81 bytes without an end    `FrameTooLong`
===========================================  =========================================================

A frame that is empty is ``b""``, and one that is not there yet is None. The errors consume nothing.
"""

import codecs
from typing import Protocol

LONGEST_PREFIX = 10
"""Bytes of the longest prefix that tells a length: a varint of 64 bits has 10, of 7 bits each."""


class FramingError(ValueError):
    """What came is no frame as it was asked for."""


class FrameTooLong(FramingError):  # noqa: N818 - what happened, as people say it
    """A frame has more bytes than its limit, or than its prefix can tell.

    Attributes
    ----------
    limit : int
        The limit in bytes.
    length : int or None
        The length that the frame announced, in bytes; None where it could not tell (a line).
    """

    def __init__(self, limit: int, length: int | None = None, what: str = "a frame") -> None:
        known = what if length is None else f"{what} of {length} bytes"
        super().__init__(f"{known} is longer than {limit} bytes")
        self.limit = limit
        self.length = length


class IncompleteFrame(FramingError, EOFError):  # noqa: N818
    """The peer said its last in the middle of a frame. An `EOFError`, as `asyncio.IncompleteReadError` is.

    Attributes
    ----------
    partial : bytes
        What had come of it, with its prefix.
    """

    def __init__(self, partial: bytes) -> None:
        super().__init__(f"the peer stopped in the middle of a frame, after {len(partial)} bytes")
        self.partial = partial


class BadLengthPrefix(FramingError):  # noqa: N818
    """The bytes before a frame tell no length that a frame could have."""


class UndecodableText(FramingError):  # noqa: N818
    """Bytes are no text in the encoding that was agreed on.

    Attributes
    ----------
    encoding : str
        The encoding.
    data : bytes
        The bytes.
    position : int
        Where in `data` the first one stands that does not fit.
    """

    def __init__(self, encoding: str, data: bytes, position: int) -> None:
        misfit = data[position : position + 1].hex()
        super().__init__(f"no {encoding}: the byte 0x{misfit} at position {position} does not fit")
        self.encoding = encoding
        self.data = data
        self.position = position


class Prefix(Protocol):
    """What tells a frame's length before its first byte."""

    def parse(self, head: bytes) -> tuple[int, int] | None:
        """Return the bytes of the prefix and of the frame after it; None: `head` has not all of the prefix.

        Raises
        ------
        BadLengthPrefix
            When no frame has such a length.
        """

    def pack(self, length: int) -> bytes:
        """Return the prefix of a frame of `length` bytes.

        Raises
        ------
        FrameTooLong
            When it is more than the prefix can tell.
        """


class Decoder(Protocol):
    """What turns bytes into text, as they come."""

    def feed(self, data: bytes) -> str:
        """Take bytes in; give back the text that they complete."""

    def take_back(self) -> bytes:
        """Give back the bytes of the last character, if it is not whole yet."""


class FrameBuffer:
    """What has been received and belongs to no frame yet.

    Each of the methods that ask for a frame returns None until it has all of it. However often it is asked,
    it looks at new bytes alone: a peer that sends one byte at a time costs no more than any other.

    Notes
    -----
    Not thread-safe: one stream, one buffer, one thread. It has no bound of its own, but need never hold more
    than one frame of the limit asked for and what was fed last.
    """

    __slots__ = ("_data", "_searched", "_sought", "missing")

    def __init__(self) -> None:
        self._data = bytearray()
        self._sought = b""
        self._searched = 0
        self.missing = 1
        """Bytes that the frame asked for last lacks, at least."""

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what was received."""
        self._data += data

    def peek(self) -> bytes:
        """Return all that is there, and leave it there."""
        return bytes(self._data)

    def finish(self) -> None:
        """Say that no more comes.

        Raises
        ------
        IncompleteFrame
            When something is there that was no frame.
        """
        if self._data:
            raise IncompleteFrame(bytes(self._data))

    def exactly(self, count: int) -> bytes | None:
        """Return `count` bytes."""
        if count > len(self._data):
            self.missing = count - len(self._data)
            return None
        return self._take(0, count, count)

    def available(self, most: int) -> bytes:
        """Return what is there, `most` bytes at most."""
        count = min(most, len(self._data))
        return self._take(0, count, count)

    def until(self, delimiter: bytes, limit: int) -> bytes | None:
        """Return the bytes before the next `delimiter`, which is consumed with them.

        Parameters
        ----------
        delimiter : bytes
            One byte or more.
        limit : int
            Bytes that there may be before the delimiter.

        Raises
        ------
        FrameTooLong
            As soon as it is sure that there are more.
        """
        end = self._find(delimiter)
        if end > limit or (end < 0 and self._is_past(delimiter, limit)):
            raise FrameTooLong(limit, what=f"what stands before {delimiter!r}")
        if end < 0:
            self.missing = 1
            return None
        return self._take(0, end, end + len(delimiter))

    def line(self, limit: int) -> bytes | None:
        r"""Return a line without its end, ``\n`` or ``\r\n``.

        Parameters
        ----------
        limit : int
            Bytes that it may have, without its end.

        Raises
        ------
        FrameTooLong
            As soon as it is sure that it has more.
        """
        newline = self._find(b"\n")
        length = len(self._data) if newline < 0 else newline
        # The last byte may be the CR of a CR LF, whose LF is still to come.
        has_return = self._data.endswith(b"\r", 0, length)
        if length - has_return > limit:
            raise FrameTooLong(limit, what="a line")
        if newline < 0:
            self.missing = 1
            return None
        return self._take(0, length - has_return, newline + 1)

    def piece(self, limit: int | None = None) -> bytes | None:
        r"""Return the bytes up to the next ``\n`` and that with them, or `limit` bytes without one.

        This is what a file's `readline` does.
        """
        newline = self._find(b"\n")
        if newline >= 0 and (limit is None or newline < limit):
            return self._take(0, newline + 1, newline + 1)
        if limit is not None and limit <= len(self._data):
            return self._take(0, limit, limit)
        self.missing = 1
        return None

    def frame(self, prefix: Prefix, limit: int) -> bytes | None:
        """Return a frame whose length stands before it.

        Parameters
        ----------
        prefix : Prefix
            How it stands there.
        limit : int
            Bytes that the frame may have, without its prefix.

        Raises
        ------
        FrameTooLong
            As soon as its length is there, and is more.
        BadLengthPrefix
            When no frame has such a length.
        """
        # No more than a prefix can have: this is asked again for each piece of a large frame.
        parsed = prefix.parse(bytes(self._data[:LONGEST_PREFIX]))
        if parsed is None:
            self.missing = 1
            return None
        start, length = parsed
        # Before a byte of it is waited for, or any memory taken: the peer chose the length.
        if length > limit:
            raise FrameTooLong(limit, length)
        end = start + length
        if end > len(self._data):
            self.missing = end - len(self._data)
            return None
        return self._take(start, end, end)

    def text(self, decoder: Decoder, limit: int) -> str | None:
        """Return all that is there as text, but for a last character that is not whole yet.

        Parameters
        ----------
        decoder : Decoder
            The decoder of this connection alone. It may have to remember more than the buffer (a shift, a
            byte order).
        limit : int
            Bytes that one character may have: some encodings know no end of them.

        Raises
        ------
        UndecodableText
            When it is none.
        FrameTooLong
            When one character has more bytes.
        """
        text = decoder.feed(bytes(self._data))
        # The beginning of a character stays here, where the limit is kept and `finish` finds it.
        self._data[:] = decoder.take_back()
        self._searched = 0
        if len(self._data) > limit:
            raise FrameTooLong(limit, what="a character")
        if text:
            return text
        self.missing = 1
        return None

    def _take(self, start: int, end: int, consumed: int) -> bytes:
        # A slice of the bytearray would be copied twice.
        with memoryview(self._data) as view:
            taken = bytes(view[start:end])
        # From the front of a bytearray nothing has to be moved.
        del self._data[:consumed]
        self._searched = 0
        return taken

    def _find(self, delimiter: bytes) -> int:
        """Find `delimiter`, and look at no byte twice but for those that could be its beginning."""
        if delimiter != self._sought:
            self._sought, self._searched = delimiter, 0
        found = self._data.find(delimiter, self._searched)
        # What was found stays found, should it not be taken now.
        self._searched = found if found >= 0 else max(0, len(self._data) - len(delimiter) + 1)
        return found

    def _is_past(self, delimiter: bytes, limit: int) -> bool:
        """Tell whether no byte that comes could make an end of `delimiter` that is within the limit."""
        length = len(self._data)
        if length <= limit:
            return False
        # The last bytes may be the beginning of the delimiter, and that must be within the limit.
        first = max(0, length - len(delimiter) + 1)
        return not any(
            delimiter.startswith(self._data[start:]) for start in range(first, limit + 1)
        )


class TextDecoder:
    """Turns a stream of bytes into text, as it comes.

    Parameters
    ----------
    encoding : str
        Any of Python's text encodings.
    errors : str
        What becomes of bytes that do not fit, as in `bytes.decode`: ``"strict"``, ``"replace"``, ...

    Raises
    ------
    LookupError
        There is no such encoding.

    Notes
    -----
    Not thread-safe: one stream, one decoder, one thread.
    """

    def __init__(self, encoding: str = "utf-8", errors: str = "strict") -> None:
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)

    def feed(self, data: bytes) -> str:
        """Take bytes in; give back the text that they complete.

        Raises
        ------
        UndecodableText
            When `errors` is strict, and they are no text.
        """
        return self._decode(data, is_final=False)

    def finish(self) -> str:
        """Say that no more comes; give back what is left, as `errors` has it.

        Raises
        ------
        UndecodableText
            When `errors` is strict, and a character is not whole.
        """
        try:
            return self._decode(b"", is_final=True)
        finally:
            self._decoder.reset()

    def take_back(self) -> bytes:
        """Give back the bytes of the last character, if it is not whole yet, as if they had never come."""
        pending, rest = self._decoder.getstate()
        if pending:
            self._decoder.setstate((b"", rest))
        return bytes(pending)

    def _decode(self, data: bytes, *, is_final: bool) -> str:
        before = self._decoder.getstate()
        try:
            return self._decoder.decode(data, is_final)
        except UnicodeDecodeError as error:
            # An error consumes nothing, as those of frames.
            self._decoder.setstate(before)
            raise UndecodableText(self.encoding, error.object, error.start) from error
