"""TLS in a fiber: the standard library's `SSLSocket`, whose waits let other fibers run.

`ssl` does not wait by itself on a non-blocking descriptor: it says what it waits for. So the class of such a
connection is a subclass of whatever class the context makes, and `isinstance` tells no difference.

A handler's own ``context.wrap_socket(self.request, server_side=True)`` (STARTTLS) makes such a connection
too: `let_contexts_make_them` sets `SSLContext.sslsocket_class`, which is there to be set, to a class that
looks at the socket first. What contexts make of all other sockets stays what it was.
"""

import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from manyhands.engines.fibers.foreign_threads import READ, WRITE
from manyhands.engines.fibers.poller import Channel, Poller
from manyhands.engines.fibers.sockets import FiberSocket, call_in_hub_thread
from manyhands.engines.fibers.spinning import note_end
from manyhands.runtime.sockets import class_with

Result = TypeVar("Result")

_WANTED: dict[type[Exception], int] = {ssl.SSLWantReadError: READ, ssl.SSLWantWriteError: WRITE}


_timeout_check = socket.socket()
"""Closed: its `settimeout` raises what a plain socket's raises for a value that is no timeout, or `EBADF`."""

_timeout_check.close()


class _ShutDownError(ConnectionAbortedError):
    """The connection was shut down while a fiber waited for it; it speaks no TLS any more."""


class FiberTLS:
    """Turns a class of TLS sockets into one for fibers: a mix-in before it."""

    _channel: Any = None  # before it is made a connection for fibers, and of one that never was
    _sslobj: Any
    _seconds: float | None = None

    def settimeout(self, value: float | None) -> None:
        """Set the seconds that one call may take: None for ever, 0 not to wait at all."""
        # The descriptor never blocks. The methods below wait in its stead, for `_seconds`.
        with contextlib.suppress(OSError):
            _timeout_check.settimeout(value)
        super().settimeout(0.0)  # type: ignore[misc]  # the class that this is mixed into
        self._seconds = value if value is None else float(value)

    def gettimeout(self) -> float | None:
        """Return the seconds that one call may take."""
        return self._seconds

    timeout = property(gettimeout)

    def setblocking(self, flag: bool) -> None:
        """Wait for ever, or not at all."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Tell whether calls wait."""
        return self._seconds != 0

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake."""
        before = self._seconds
        if block and before == 0:
            self._seconds = None
        try:
            self._patiently(lambda: super(FiberTLS, self).do_handshake())  # type: ignore[misc]
        finally:
            self._seconds = before

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the standard library's signature
        """Read up to `len` bytes."""
        try:
            received = self._patiently(lambda: super(FiberTLS, self).read(len, buffer))  # type: ignore[misc]
        except _ShutDownError:
            received = b"" if buffer is None else 0
        if not received and len:
            note_end(self._channel)
        return received

    def recv(self, buflen: int = 1024, flags: int = 0) -> Any:
        """Receive up to `buflen` bytes."""
        return self._patiently(lambda: super(FiberTLS, self).recv(buflen, flags))  # type: ignore[misc]

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> Any:
        """Receive into `buffer`; return how many bytes."""
        return self._patiently(lambda: super(FiberTLS, self).recv_into(buffer, nbytes, flags))  # type: ignore[misc]

    def write(self, data: Any) -> int:
        """Write some of `data`; return how many bytes."""
        written: int = self._patiently(lambda: super(FiberTLS, self).write(data), WRITE)  # type: ignore[misc]
        return written

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of `data`; return how many bytes."""
        sent: int = self._patiently(lambda: super(FiberTLS, self).send(data, flags), WRITE)  # type: ignore[misc]
        return sent

    def unwrap(self) -> Any:
        """End TLS with the peer's consent; return the socket that is left."""
        return self._patiently(lambda: super(FiberTLS, self).unwrap())  # type: ignore[misc]

    def _patiently(self, attempt: Callable[[], Result], plainly: int = READ) -> Result:
        """Try, and wait for what TLS wants, until it is done; the timeout is for all of it.

        Where TLS has ended, wait `plainly` for this.
        """
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        while True:
            try:
                return attempt()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError) as wanted:
                if self._seconds == 0:
                    raise
                event = _WANTED.get(type(wanted), plainly)
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            # `shutdown` of `SSLSocket` takes the TLS object away, and the next attempt would speak in clear.
            is_secret = self._sslobj is not None
            self._channel.wait(event, left)
            if is_secret and self._sslobj is None:
                raise _ShutDownError(errno.ECONNABORTED, "the connection was shut down meanwhile")

    def _real_close(self) -> None:
        if self._channel is None:
            super()._real_close()  # type: ignore[misc]
            return
        # For the calling thread it is closed from now on, whenever the hub thread comes to it.
        self._channel.is_closed = True
        call_in_hub_thread(self._channel.poller, self._close_in_hub_thread)

    def _close_in_hub_thread(self) -> None:
        self._channel.close()
        super()._real_close()  # type: ignore[misc]

    def detach(self) -> int:
        """Give the descriptor up, and return it."""
        if self._channel is not None:
            call_in_hub_thread(self._channel.poller, self._channel.close)
        descriptor: int = super().detach()  # type: ignore[misc]
        return descriptor


def wrap(context: ssl.SSLContext, plain: Any, poller: Poller, **keywords: Any) -> ssl.SSLSocket:
    """Make a TLS connection for fibers of a socket, as `context.wrap_socket` makes others.

    Raises
    ------
    OSError
        What the handshake raises, if it is to be done now.
    """
    # A program's own class stays the base, so that `isinstance` holds.
    own = context.sslsocket_class
    handshakes_now = keywords.pop("do_handshake_on_connect", True)
    # No handshake in there: it would have no channel to wait with.
    base = ssl.SSLSocket if own is _FiberOrPlain else own
    connection = class_with(FiberTLS, base)._create(
        plain, context=context, do_handshake_on_connect=False, **keywords
    )
    connection._channel = Channel(poller, connection.fileno())
    connection._channel.give_up()  # the `SSLSocket` closes it
    connection.do_handshake_on_connect = handshakes_now
    if handshakes_now:
        try:
            connection.do_handshake()
        except BaseException:
            connection.close()
            raise
    made: ssl.SSLSocket = connection
    return made


class _FiberOrPlain(ssl.SSLSocket):
    """What contexts make: of a fiber's socket a connection for fibers, of any other the usual `SSLSocket`."""

    @classmethod
    def _create(cls, sock: Any, *arguments: Any, context: Any = None, **keywords: Any) -> Any:
        if isinstance(sock, FiberSocket) and not arguments:
            return wrap(context, sock, sock.channel.poller, **keywords)
        create: Any = ssl.SSLSocket._create  # type: ignore[attr-defined]
        return create(sock, *arguments, context=context, **keywords)


def let_contexts_make_them() -> None:
    """Have TLS contexts make connections for fibers of fibers' sockets."""
    # A class that the program has set stays: what it does with a fiber's socket is its own.
    if ssl.SSLContext.sslsocket_class is ssl.SSLSocket:
        ssl.SSLContext.sslsocket_class = _FiberOrPlain
