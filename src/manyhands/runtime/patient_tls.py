"""TLS on a descriptor that does not block: what waits is not OpenSSL, but the caller, in its own way.

`ssl` does not wait by itself on such a descriptor: it says what it waits for. So no call stays inside of
OpenSSL for longer than it computes, and another thread, or fiber, may use the connection in between.
"""

import contextlib
import errno
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

READ = select.POLLIN
WRITE = select.POLLOUT
"""What a call waits for; poll(2) and epoll_ctl(2) name these alike."""

_WANTED: dict[type[Exception], int] = {ssl.SSLWantReadError: READ, ssl.SSLWantWriteError: WRITE}

_timeout_check = socket.socket()
"""Closed: its `settimeout` raises what a plain socket's raises for a value that is no timeout, or `EBADF`."""

_timeout_check.close()


class ShutDownError(ConnectionAbortedError):
    """The connection was shut down while its caller waited for it; it speaks no TLS any more."""


class PatientTLS:
    """Turns a class of TLS sockets into one that waits by `wait_for`: a mix-in before it."""

    _sslobj: Any
    _seconds: float | None = None

    @property
    def openssl(self) -> Any:
        """What speaks TLS inside of the socket; None once TLS has ended."""
        return self._sslobj

    @openssl.setter
    def openssl(self, value: Any) -> None:
        self._sslobj = value

    def wait_for(self, event: int, seconds: float | None) -> None:
        """Wait until the descriptor can be read, or written.

        Raises
        ------
        TimeoutError
            After `seconds`.
        """
        raise NotImplementedError

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
            self._patiently(lambda: super(PatientTLS, self).do_handshake())  # type: ignore[misc]
        finally:
            self._seconds = before

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the standard library's signature
        """Read up to `len` bytes."""
        try:
            return self._patiently(lambda: super(PatientTLS, self).read(len, buffer))  # type: ignore[misc]
        except ShutDownError:
            return b"" if buffer is None else 0

    def recv(self, buflen: int = 1024, flags: int = 0) -> Any:
        """Receive up to `buflen` bytes."""
        return self._patiently(lambda: super(PatientTLS, self).recv(buflen, flags))  # type: ignore[misc]

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> Any:
        """Receive into `buffer`; return how many bytes."""
        return self._patiently(lambda: super(PatientTLS, self).recv_into(buffer, nbytes, flags))  # type: ignore[misc]

    def write(self, data: Any) -> int:
        """Write some of `data`; return how many bytes."""
        written: int = self._patiently(lambda: super(PatientTLS, self).write(data), WRITE)  # type: ignore[misc]
        return written

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of `data`; return how many bytes."""
        sent: int = self._patiently(lambda: super(PatientTLS, self).send(data, flags), WRITE)  # type: ignore[misc]
        return sent

    def unwrap(self) -> Any:
        """End TLS with the peer's consent; return the socket that is left."""
        return self._patiently(lambda: super(PatientTLS, self).unwrap())  # type: ignore[misc]

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
            self.wait_for(event, left)
            if is_secret and self._sslobj is None:
                raise ShutDownError(errno.ECONNABORTED, "the connection was shut down meanwhile")
