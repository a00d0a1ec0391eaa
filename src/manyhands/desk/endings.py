"""Why a call ended: one reason each, from this list."""

from enum import StrEnum


class Ending(StrEnum):
    """Why a call ended; the value is how the operator and the transcript read it."""

    BYEBYE = "said byebye"
    HUNG_UP = "hung up"
    LOST = "the connection was lost"
    LINE_TOO_LONG = "sent a line that is too long"
    DID_NOT_READ = "did not read what was said to it"
    KICKED = "kicked"
    DESK_CLOSED = "the desk closed"
