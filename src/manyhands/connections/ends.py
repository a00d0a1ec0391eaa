"""What the connections that have ended were: how long each took, and the bytes that went over them."""

from bisect import bisect_left
from typing import NamedTuple

from manyhands.rules.originals import brief_lock
from manyhands.rules.reasons import Reason

from .connection import Connection

BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds: the upper bounds of the classes by duration, from one short answer to a line held for an hour."""

UNSERVED = frozenset(
    {
        Reason.HANDSHAKE_FAILED,
        Reason.HANDSHAKE_TOO_SLOW,
        Reason.BAD_PROXY_HEADER,
        *(reason for reason in Reason if reason.is_refusal),
    }
)
"""The reasons of connections whose handler never began."""


class Sums(NamedTuple):
    """What an `Ends` has counted.

    Attributes
    ----------
    by_duration : tuple of int
        How many connections took no longer than each of `BOUNDS` and longer than the one before; the last is
        of those that took longer than all. Only such whose handler began.
    seconds : float
        What these took, all together, from acceptance to end.
    bytes_in, bytes_out : int
        Of every connection that has ended.
    """

    by_duration: tuple[int, ...]
    seconds: float
    bytes_in: int
    bytes_out: int


class Ends:
    """Counts connections as they end. Thread-safe, and memory for a few numbers only."""

    def __init__(self) -> None:
        # One of the system's: who reads the sums does so in a thread that gevent knows nothing of.
        self._lock = brief_lock()
        self._by_duration = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0
        self._bytes_in = self._bytes_out = 0

    def note(self, connection: Connection) -> None:
        """Count a connection that has just ended."""
        age, traffic = connection.age, connection.traffic
        with self._lock:
            if connection.reason not in UNSERVED:
                self._by_duration[bisect_left(BOUNDS, age)] += 1
                self._seconds += age
            if traffic is not None:
                self._bytes_in += traffic.bytes_in
                self._bytes_out += traffic.bytes_out

    def sums(self) -> Sums:
        """Return what has been counted so far."""
        with self._lock:
            counts = tuple(self._by_duration)
            return Sums(counts, self._seconds, self._bytes_in, self._bytes_out)
