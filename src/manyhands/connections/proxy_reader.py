"""The PROXY header of an accepted connection, read before anything else: before TLS, and not a byte too many.

Nothing tells beforehand where a header of version 1 ends, and the bytes behind it belong to the handler or to
TLS: the first request, or the client's hello. So the reader peeks at what has come (MSG_PEEK, recv(2)) and
then takes the header's part alone. Before the header's end that is everything, so the next peek sleeps in the
kernel until new bytes come, and does not spin.
"""

import contextlib
import socket
import time
from collections.abc import Callable

from manyhands.protocol.proxy_errors import BadProxyHeader
from manyhands.protocol.proxy_header import LONGEST_HEADER, ProxyHeader, ProxyHeaderParser


class SilentPeer(BadProxyHeader):
    """The peer left before the first byte of a header, as health checks and port scans do.

    `__cause__` is the reset that ended the connection, if it was one.
    """


def read_proxy_header(
    connection: socket.socket,
    seconds: float | None,
    *,
    limit: int = LONGEST_HEADER,
    clock: Callable[[], float] = time.monotonic,
) -> ProxyHeader:
    """Take the PROXY header off a connection, and leave what follows it.

    Parameters
    ----------
    connection : socket.socket
        A connected stream socket without TLS, of a thread or a fiber. Its timeout is left as it was.
    seconds : float or None
        How long the whole header may take, in however many pieces it comes; None: without end.
    limit : int
        Bytes that a header of version 2 may have.
    clock : callable
        The time in seconds; it never goes back.

    Raises
    ------
    BadProxyHeader
        What comes is no PROXY header, or the peer left before its end: then `field` is ``"end"``, and the
        exception is a `SilentPeer` when the peer had sent nothing at all.
    TimeoutError
        The header was not there in time.
    OSError
        The connection was closed here, or failed in another way.

    Notes
    -----
    For one thread: no other may read from the connection meanwhile. After a failure the connection should be
    closed, for the bytes that were taken of a header are gone.
    """
    usual = connection.gettimeout()
    reading = _Reading(connection, ProxyHeaderParser(limit), seconds, clock)
    try:
        return reading.to_the_end()
    finally:
        # Another thread may have closed the connection, which raises EBADF here; the error that ended the
        # reading is the one to report.
        with contextlib.suppress(OSError):
            connection.settimeout(usual)


class _Reading:
    """The reading of one header, within its deadline."""

    def __init__(
        self,
        connection: socket.socket,
        parser: ProxyHeaderParser,
        seconds: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._seconds = seconds
        self._clock = clock
        self._deadline = None if seconds is None else clock() + seconds

    def to_the_end(self) -> ProxyHeader:
        while True:
            self._connection.settimeout(self._remaining())
            piece = self._receive(self._parser.wanted, socket.MSG_PEEK)
            self._take(self._parser.feed(piece))
            if self._parser.header is not None:
                return self._parser.header

    def _take(self, count: int) -> None:
        # The peek has seen all of it, so this never blocks; yet one call may still give less (recv(2)).
        while count:
            count -= len(self._receive(count, socket.MSG_DONTWAIT))

    def _receive(self, count: int, flags: int) -> bytes:
        try:
            received = self._connection.recv(count, flags)
        except (TimeoutError, ConnectionError) as error:
            # A TimeoutError of Python's socket has no errno. One with an errno is the kernel's, which has
            # given the peer up (ETIMEDOUT, tcp(7)).
            if isinstance(error, TimeoutError) and error.errno is None:
                raise self._too_slow() from None
            raise self._gone(f"the peer is gone ({error.strerror or error})") from error
        if not received:
            raise self._gone("the peer closed the connection")
        return received

    def _remaining(self) -> float | None:
        if self._deadline is None:
            return None
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            raise self._too_slow()
        return remaining

    def _too_slow(self) -> TimeoutError:
        return TimeoutError(
            f"only {self._parser.received} bytes of a PROXY header came within {self._seconds:g} s"
        )

    def _gone(self, what: str) -> BadProxyHeader:
        received = self._parser.received
        kind = BadProxyHeader if received else SilentPeer
        return kind("end", f"{what} after {received} bytes of a PROXY header")
