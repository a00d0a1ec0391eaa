"""What an outbox needs of its connection and of the options, and what it is to all that send."""

import socket
from collections.abc import Callable
from typing import Protocol

from manyhands.model.usage_errors import Mistake

AT_ONCE = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
"""The flags of every send here: it returns at once, and a peer that has gone is an error (send(2))."""

SHORTEST_BOUND = 4096
"""Bytes: the least that an outbox may be bounded to, so a shorter piece needs no look at the bound."""

Send = Callable[[bytes | memoryview, int], int]
"""Sends some of the data with flags, at once; returns how many bytes. Raises BlockingIOError, or OSError."""


class Terms(Protocol):
    """What the server's options say of outboxes."""

    def outbox_terms(self) -> tuple[int, str]:
        """Return the bytes that may wait, and what becomes of a peer that falls behind."""

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        """Note, once, that a piece found no room behind so many bytes; whether the outbox ended for it."""


class Receiver(Protocol):
    """What takes pieces for a connection: its outbox, or what leads to it where another process serves it."""

    @property
    def is_over(self) -> bool:
        """Whether nothing can be sent any more."""

    @property
    def waiting(self) -> int:
        """Bytes that wait for the peer to read."""

    @property
    def missed(self) -> int:
        """Pieces that were dropped, since the peer did not read."""

    def put(self, data: bytes) -> bool:
        """Have a piece sent, after all that was put before. Never waits. See `Outbox.put`."""

    def miss(self, count: int) -> None:
        """Note that so many pieces were dropped before they came here."""

    def end(self) -> None:
        """Send nothing more: the connection is over. Once more does no harm."""


def check_length(data: bytes, bound: int) -> None:
    """Refuse a piece that could never wait.

    Raises
    ------
    Mistake
        It is longer than `bound` bytes.
    """
    if len(data) > bound:
        raise Mistake(
            f"a piece of {len(data)} bytes fits into no outbox of {bound}: set the option outbox to more, or "
            "write it with wfile"
        )
