"""Text from bytes that come in pieces: no character is cut where a packet ends."""

import codecs

from manyhands.protocol.framing import UndecodableText


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
