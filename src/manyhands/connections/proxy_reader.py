"""The PROXY header of an accepted connection, read before anything else: before TLS, and not a byte too many.

Nothing tells beforehand where a header of version 1 ends, and what follows it is not ours: the client's
TLS hello, or the first request. So what has come is looked at first (MSG_PEEK, recv(2)), and then just the
header's part of it is taken. Short of the header's end that is all of it, so the next look waits in the
kernel for something new, however small the pieces are.
"""

import contextlib
import socket
import time
from collections.abc import Callable

from manyhands.protocol.proxy_errors import BadProxyHeader
from manyhands.protocol.proxy_header import LONGEST_HEADER, ProxyHeader, ProxyHeaderParser


class SilentPeer(BadProxyHeader):
    """The peer went before the first byte of a header, as health checks do, and whoever looks around.

    `__cause__` is the reset that it went with, if it did.
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
        A stream socket without TLS, connected; a fiber's too. Its timeout is left as it was.
    seconds : float or None
        How long all of it may take, however the peer cuts it into pieces; None: without end.
    limit : int
        Bytes that a header of version 2 may have.
    clock : callable
        The time in seconds, which never goes back.

    Raises
    ------
    BadProxyHeader
        What comes is no PROXY header, or the peer went before its end: `field` is ``"end"`` then, and it is
        a `SilentPeer` that has sent nothing at all.
    TimeoutError
        The header was not there in time.
    OSError
        The connection was closed here, or failed in another way.

    Notes
    -----
    Nobody else may read from the connection meanwhile. After a failure it should be closed: what was taken
    of a header is gone.
    """
    usual = connection.gettimeout()
    reading = _Reading(connection, ProxyHeaderParser(limit), seconds, clock)
    try:
        return reading.to_the_end()
    finally:
        # It may have been closed meanwhile, and the failure that told so is the one to be seen.
        with contextlib.suppress(OSError):
            connection.settimeout(usual)


class _Reading:
    """The reading of one header, and what is left of its time."""

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
        # All of it is there, yet nothing promises that one call gives it all (recv(2)).
        while count:
            count -= len(self._receive(count, socket.MSG_DONTWAIT))

    def _receive(self, count: int, flags: int) -> bytes:
        try:
            received = self._connection.recv(count, flags)
        except (TimeoutError, ConnectionError) as error:
            # One with an errno is the kernel's, which has given the peer up (ETIMEDOUT, tcp(7)).
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
