"""What both ends of the control protocol go by: JSON-RPC 2.0, one object a line."""

from enum import IntEnum

VERSION = 1
"""The protocol's. It rises when a client of the one before would misunderstand a server."""

LONGEST_REQUEST = 64 * 1024
"""Bytes of a request, with the end of its line."""

LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer: to make one more takes the interpreter from all threads for tens of milliseconds."""


LONGEST_WAIT = 600.0
"""Seconds for an answer that comes when workers have been replaced: each has its program to load."""


class Code(IntEnum):
    """The codes of errors: those of JSON-RPC 2.0 (section 5.1), and below -32000 those of this protocol."""

    NO_JSON = -32700
    NO_REQUEST = -32600
    NO_SUCH_VERB = -32601
    BAD_PARAMS = -32602
    INTERNAL = -32603
    NO_SUCH_THING = -32010
    """There is no such connection, listener, server, worker or room."""

    READING_ONLY = -32011
    """The socket is one of ``--control-read``."""

    NOT_NOW = -32012
    """What was asked for cannot be done now, or not here."""

    TOO_LONG = -32013
    """A line longer than `LONGEST_REQUEST`. The connection ends after it."""
