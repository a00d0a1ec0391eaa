"""TLS in a fiber: the standard library's `SSLSocket`, whose waits let other fibers run.

`ssl` does not wait by itself on a non-blocking descriptor: it says what it waits for. So the class of such a
connection is a subclass of whatever class the context makes, and `isinstance` tells no difference.

A handler's own ``context.wrap_socket(self.request, server_side=True)`` (STARTTLS) makes such a connection
too: `let_contexts_make_them` sets `SSLContext.sslsocket_class`, which is there to be set, to a class that
looks at the socket first. What contexts make of all other sockets stays what it was.
"""

import ssl
from typing import Any

from manyhands.engines.fibers.poller import Channel, Poller
from manyhands.engines.fibers.sockets import FiberSocket, call_in_hub_thread
from manyhands.engines.fibers.spinning import note_end
from manyhands.runtime.patient_tls import PatientTLS
from manyhands.runtime.sockets import class_with


class FiberTLS(PatientTLS):
    """Turns a class of TLS sockets into one for fibers: a mix-in before it."""

    _channel: Any = None  # before it is made a connection for fibers, and of one that never was

    def wait_for(self, event: int, seconds: float | None) -> None:
        """Wait, and let the other fibers run meanwhile."""
        self._channel.wait(event, seconds)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the standard library's signature
        """Read up to `len` bytes."""
        received = super().read(len, buffer)
        if not received and len:
            note_end(self._channel)
        return received

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
