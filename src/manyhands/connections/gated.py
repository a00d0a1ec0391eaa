"""The class of a connection that has an outbox: what its handler writes waits there for its place.

The handler has the socket itself, so the socket's class is the gate (`runtime.sockets.mix_into`).
"""

import errno
import os
import socket
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from manyhands.connections.outbox import Outbox
from manyhands.connections.tls_handshake import is_tls
from manyhands.runtime.fork_hooks import renew_in_copies
from manyhands.runtime.unpatched import brief_rlock

Result = TypeVar("Result")


class OutboxesOfSockets(weakref.WeakKeyDictionary[Any, Outbox]):
    """The outbox of each socket that has one, since a socket takes no attributes."""

    __hash__ = object.__hash__  # `renew_in_copies` asks for it

    def __init__(self) -> None:
        super().__init__()
        self.lock = brief_rlock()
        """Held while a connection gets its outbox and its gate, and while it goes over to TLS."""

        self.in_transfer: weakref.WeakSet[Any] = weakref.WeakSet()
        """The plain connections that go over to TLS just now: see `gated_sockets.Transfer`."""

    def of(self, connection: Any) -> Outbox | None:
        """Return the outbox of a connection, which may be a program's own object in the place of a socket."""
        try:
            return self.get(connection)
        except TypeError:
            return None  # it takes no weak reference

    def begin_anew(self) -> None:
        """Have nothing sent, in a forked copy of the process."""
        self.lock = brief_rlock()
        # Another thread's, which is not there.
        self.in_transfer = weakref.WeakSet()
        for connection, outbox in list(self.items()):
            outbox.begin_anew()
            if isinstance(connection, Gated):
                connection.begin_anew()


outboxes = OutboxesOfSockets()
renew_in_copies(outboxes, OutboxesOfSockets.begin_anew)


class Gated:
    """Mixed into the class of a connection that has an outbox."""

    __slots__ = ()

    would_block: type[OSError] | tuple[type[OSError], ...] = BlockingIOError
    """What a send raises that takes nothing at once."""

    keeps_attempts = False
    """Whether such a send has to be tried again with the same data."""

    def send(self, data: Any, flags: int = 0) -> int:
        """Send all of `data` in one write, or some of it where the socket does not wait."""
        behind: Any = super()
        outbox = outboxes.get(self)
        if outbox is None or outbox.lets_pass():
            # Of `sendall` behind this, which sends piece by piece in its own write.
            some: int = behind.send(data, flags)
            return some
        with memoryview(data) as view:
            if self._is_impatient(flags):
                return self._some(outbox, lambda: behind.send(view, flags), view.nbytes)
            # All of it, as a socket that blocks does: a piece could come before a rest that followed later.
            self._in_one_write(lambda: behind.sendall(view, flags))
            return view.nbytes

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data` in one write."""
        behind: Any = super()
        self._in_one_write(lambda: behind.sendall(data, flags))

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, *address: Any) -> int:
        """Send several buffers in one write, or some of them where the socket does not wait."""
        behind: Any = super()
        outbox = outboxes.get(self)
        if outbox is None or outbox.lets_pass():
            some: int = behind.sendmsg(buffers, ancdata, flags, *address)
            return some
        views = [memoryview(each).cast("B") for each in buffers]
        size = sum(len(view) for view in views)

        def write() -> int:
            sent: int = behind.sendmsg(views, ancdata, flags, *address)
            return sent

        def write_all() -> int:
            sent = write()
            if sent < size:
                behind.sendall(b"".join(views)[sent:], flags)
            return size

        if self._is_impatient(flags):
            return self._some(outbox, write, size)
        return self._in_one_write(write_all)

    def sendfile(self, *arguments: Any, **keywords: Any) -> int:
        """Send a file in one write."""
        behind: Any = super()
        sent: int = self._in_one_write(lambda: behind.sendfile(*arguments, **keywords))
        return sent

    def _is_impatient(self, flags: int) -> bool:
        return bool(flags & socket.MSG_DONTWAIT) or self.gettimeout() == 0  # type: ignore[attr-defined]

    def _in_one_write(self, write: Callable[[], Result]) -> Result:
        outbox = outboxes.get(self)
        return write() if outbox is None else write_in_turn(self, outbox, write)

    def _some(self, outbox: Outbox, write: Callable[[], int], size: int) -> int:
        """Send some of so many bytes, and keep the write for the rest: the program sends that next."""
        try:
            try:
                begun = outbox.begin_write(0.0)
            except TimeoutError:
                raise not_now(self) from None
            if begun is None:  # it is over
                return write()
            try:
                sent = write()
            except self.would_block:
                is_to_go_on = begun.is_begun or self.keeps_attempts
                (outbox.keep_write if is_to_go_on else outbox.end_write)(begun)
                raise
            (outbox.keep_write if sent < size else outbox.end_write)(begun)
        except BaseException:
            outbox.abandon_write()  # if it is not kept
            raise
        return sent

    def begin_anew(self) -> None:
        """Be of use in a forked copy of the process."""

    def dup(self) -> Any:
        """Return another socket on the same connection, whose writes queue with those of this one."""
        twin: Any = super().dup()  # type: ignore[misc]
        outbox = outboxes.get(self)
        if outbox is not None:
            outboxes[twin] = outbox
        return twin

    def shutdown(self, how: int) -> None:
        """Shut down one half of the connection, or both; what is sent ends with the half that sends."""
        outbox = outboxes.get(self)
        if outbox is not None and how == socket.SHUT_WR:
            outbox.finish()
            outbox.end()
        if outbox is not None and how == socket.SHUT_RDWR:
            outbox.is_cut_off = True
        # First: a write that waits for its place goes on at the end of the outbox.
        super().shutdown(how)  # type: ignore[misc]  # the class that this is mixed into
        if outbox is not None and how == socket.SHUT_RDWR:
            outbox.end_soon()

    def close(self) -> None:
        """Close the connection: its descriptor may be another file's next, so nothing is sent there."""
        _end_outbox(self)
        super().close()  # type: ignore[misc]

    def detach(self) -> int:
        """Give the descriptor up, and return it. What is said on it by other means comes after what waits."""
        outbox = outboxes.get(self)
        if outbox is not None and outbox.descriptor == self.fileno():  # type: ignore[attr-defined]
            outbox.finish()
        _end_outbox(self)
        descriptor: int = super().detach()  # type: ignore[misc]
        return descriptor


def write_in_turn(connection: Any, outbox: Outbox, write: Callable[[], Result]) -> Result:
    """Call what writes on a connection once all that came before is sent.

    Raises
    ------
    OSError
        As of a send, also while other pieces are on their way: after the connection's timeout, or at once.
    """
    seconds = connection.gettimeout()
    try:
        return outbox.write_by(write, seconds)
    except TimeoutError:
        if seconds == 0:
            raise not_now(connection) from None
        raise


def not_now(connection: Any) -> OSError:
    """Return what a send raises that does not wait, while other pieces are on their way."""
    if not is_tls(connection):
        return BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    import ssl  # noqa: PLC0415 - it is loaded then

    return ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "other pieces are on their way")


def _end_outbox(connection: Any) -> None:
    outbox = outboxes.get(connection)
    # A duplicate that is closed ends nothing.
    if outbox is not None and outbox.descriptor == connection.fileno():
        outbox.drop()
