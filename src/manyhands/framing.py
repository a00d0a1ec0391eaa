"""Frames on streams: the handler that reads them, what it raises, and the rules by themselves.

`FrameBuffer`, the prefixes and `TextDecoder` do no I/O, so the other end of a protocol can use them, on
asyncio too.
"""

from manyhands.dropin.framed_handler import FramedRequestHandler
from manyhands.protocol.framing import (
    BadLengthPrefix,
    FrameBuffer,
    FrameTooLong,
    FramingError,
    IncompleteFrame,
    Prefix,
    TextDecoder,
    UndecodableText,
)
from manyhands.protocol.length_prefixes import LengthPrefix, VarintPrefix

__all__ = [
    "BadLengthPrefix",
    "FrameBuffer",
    "FrameTooLong",
    "FramedRequestHandler",
    "FramingError",
    "IncompleteFrame",
    "LengthPrefix",
    "Prefix",
    "TextDecoder",
    "UndecodableText",
    "VarintPrefix",
]
