"""The connection's socket in a fiber: a wait holds up its own fiber, and nothing else.

`FiberSocket` is that socket. `SocketWrapper` makes one of a socket that a server accepted otherwise.
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any, Self, TypeVar

import gevent.socket
from gevent import monkey

from manyhands.engines.fibers.foreign_threads import READ, WRITE, native_thread_id, pause_here
from manyhands.engines.fibers.poller import (
    Channel,
    Poller,
    readinto,
    recv,
    recv_into,
    send,
    sendall,
    set_slot,
)
from manyhands.listening.called_address import AnsweringSocket
from manyhands.runtime import socket_limits
from manyhands.runtime.socket_limits import Limits, limits_of
from manyhands.runtime.sockets import named_family, named_kind

Result = TypeVar("Result")

FIRST_RESEND_PAUSE = 0.001
"""Seconds until a datagram is offered again to a Unix socket whose queue is full; then twice as long."""

LONGEST_RESEND_PAUSE = 0.05

_NO_LIMITS = Limits(None, None, 1)


class _FiberIO(socket.SocketIO):
    """The raw file under the connection's files: the standard library's, on a shorter way."""

    readinto = readinto  # type: ignore[assignment]  # the compiled one has no types


class FiberSocket(gevent.socket.socket):
    """A socket like any other, whose waits let other fibers run.

    What a plain blocking socket does works as it does there, with the same exceptions. Two things go
    beyond: a fiber that waits on a socket which another one closes gets `EBADF` at once; and ordinary
    threads may use the socket too, whose waits then block them alone. So an ordinary thread hands data to
    a connection by `sendall`.

    Parameters
    ----------
    family, type, proto, fileno : int
        As of `socket.socket`.
    poller : Poller
        That of the thread in which the fibers are.
    """

    # The interpreter clears slots in the order of their names: `channel` before `inner`, for epoll has to
    # forget the descriptor before `inner` closes it, else it tells of a duplicate for ever (epoll(7)).
    __slots__ = ("_identity", "channel", "inner")

    def __init__(self, family: int, type: int, proto: int, fileno: int, *, poller: Poller) -> None:  # noqa: A002 - the standard library's name
        # Not gevent's own constructor, which makes two watchers.
        self._io_refs = 0
        self._closed = False
        self._identity = family, type, proto
        self.inner: socket.socket | None = None
        """What `bare` has made."""

        self.channel = Channel(poller, fileno)
        """The descriptor, and the fibers that wait for it. For this room: the poller and TLS."""

        self.timeout = None  # type: ignore[misc]  # a slot of gevent's
        # As `socket.socket` has it.
        usual = socket.getdefaulttimeout()
        if usual is not None:
            self.settimeout(usual)

    # What gevent's methods hand to `_wait`.
    _read_event = READ
    _write_event = WRITE

    @property
    def bare(self) -> socket.socket:
        """The plain socket inside: made when it is needed, for many connections end without.

        For what never waits, and with MSG_DONTWAIT. Its descriptor blocks until `plain` is asked for: a
        program may read from the descriptor, or give it to another program.
        """
        if self.inner is None:
            # A thread and a fiber may both be the first to need it.
            with _making:
                if self.inner is None:
                    descriptor = self.channel.give_up()
                    inner: socket.socket = self._gevent_sock_class(*self._identity, descriptor)  # type: ignore[attr-defined]
                    if inner.gettimeout() is not None:  # by `socket.setdefaulttimeout`
                        inner.setblocking(False)
                    self.inner = inner
        return self.inner

    @property
    def plain(self) -> socket.socket:
        """The plain socket inside, which does not block."""
        inner = self.bare
        if inner.gettimeout() is None and inner is not _closed:
            inner.setblocking(False)
        return inner

    _sock = plain  # by which gevent's methods find it

    @property
    def family(self) -> socket.AddressFamily:
        """The address family."""
        return named_family(self._identity[0])

    @property
    def type(self) -> socket.SocketKind:
        """The type of the socket, without the flag by which the kernel knows that it does not block."""
        return named_kind(self._identity[1])

    @property
    def hub(self) -> Any:
        """The hub of the fibers."""
        return self.channel.poller.hub

    @classmethod
    def taking_over(cls, plain: Any, poller: Poller) -> Self:
        """Make one of another socket object's descriptor, which that object gives up."""
        timeout = plain.gettimeout()
        family, kind, proto = plain.family, plain.type, plain.proto
        taken = cls(family, kind, proto, plain.detach(), poller=poller)
        taken.settimeout(timeout)
        taken.channel.limits = limits_of(taken.bare)  # a hook may have set them
        return taken

    recv = recv
    recv_into = recv_into
    send = send
    sendall = sendall

    def makefile(self, mode: Any = "r", buffering: Any = None, **keywords: Any) -> Any:
        """Return a file of the connection, as `socket.socket.makefile` does."""
        file: Any = super().makefile(mode, buffering, **keywords)
        raw = getattr(file, "buffer", file)
        raw = getattr(raw, "raw", raw)
        if type(raw) is socket.SocketIO:
            raw.__class__ = _FiberIO
        return file

    def settimeout(self, howlong: float | None) -> None:
        """Set the seconds that one call may take: None for ever, 0 not to wait at all."""
        super().settimeout(howlong)
        self.channel.timeout = self.timeout

    def setblocking(self, flag: bool) -> None:
        """Wait for ever, or not at all."""
        self.settimeout(None if flag else 0.0)

    def dup(self) -> Self:
        """Return another socket on the same connection."""
        kind = type(self)
        twin = kind(
            self.family, self.type, self.proto, os.dup(self.fileno()), poller=self.channel.poller
        )
        twin.settimeout(self.gettimeout())
        twin.channel.limits = self.channel.limits
        return twin

    def shutdown(self, how: int) -> None:
        """Shut one side of the connection, or both; the kernel wakes fibers that wait on it."""
        if self.inner is None:
            self.channel.shutdown(how)
        else:
            self.inner.shutdown(how)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """Return an option of the socket: an int, or bytes where their number is given."""
        if self.inner is None and buflen > 0:
            # The reaper asks each of ten thousand idle connections, every second: none gets a `plain` for it.
            return self.channel.getsockopt(level, optname, buflen)
        return self.bare.getsockopt(level, optname, buflen)

    def setsockopt(self, *arguments: Any) -> None:
        """Set an option of the socket, as `socket.socket.setsockopt` does."""
        self.bare.setsockopt(*arguments)
        if arguments[0] == socket.SOL_SOCKET and arguments[1] in socket_limits.OPTIONS:
            self.channel.limits = limits_of(self.bare)

    def getsockname(self) -> Any:
        """Return the address of this side."""
        return self.bare.getsockname()

    def getpeername(self) -> Any:
        """Return the address of the other side."""
        return self.bare.getpeername()

    def fileno(self) -> int:
        """Return the descriptor; -1 of a closed socket."""
        return self.channel.fd if self.inner is None else self.inner.fileno()

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """Send a datagram, once it can be sent."""
        pause = FIRST_RESEND_PAUSE
        while True:
            try:
                return self.plain.sendto(data, *flags_and_address)
            except BlockingIOError:
                flags = flags_and_address[0] if len(flags_and_address) > 1 else 0
                if self.channel.timeout == 0 or flags & socket.MSG_DONTWAIT:
                    raise
            self._wait(WRITE)
            if self.family == socket.AF_UNIX:
                # It can be written to, and yet the receiver's queue is full (EAGAIN): poll does not tell.
                pause_here(pause)
                pause = min(2 * pause, LONGEST_RESEND_PAUSE)

    def sendmsg(
        self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Send several buffers, as `send` does."""
        pieces = [memoryview(each).cast("B") for each in buffers]
        sent: int = super().sendmsg(pieces, ancdata, flags, address)
        is_whole = self.channel.timeout is not None or flags & socket.MSG_DONTWAIT
        rest = b"" if is_whole else b"".join(pieces)[sent:]
        if rest:
            with contextlib.suppress(OSError):  # the next call will meet the error
                sent += self.send(rest, flags)
        return sent

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Receive, and tell from where."""
        if self._is_for_all_of_a_stream(flags):
            return self.recv_with_flags(bufsize, flags), None  # as the kernel has it for a stream
        received: tuple[bytes, Any] = super().recvfrom(bufsize, flags)
        return received

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Receive into a buffer, and tell from where."""
        if self._is_for_all_of_a_stream(flags):
            return self.recv_into_with_flags(buffer, nbytes, flags), None
        received: tuple[int, Any] = super().recvfrom_into(buffer, nbytes, flags)
        return received

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[Any, ...]:
        """Receive, with what comes beside the data."""
        data, *others = super().recvmsg(bufsize, ancbufsize, flags)
        if 0 < len(data) < bufsize and self._is_for_all_of_a_stream(flags):
            data += self.recv_with_flags(bufsize - len(data), flags)
        return (data, *others)

    def _is_for_all_of_a_stream(self, flags: int) -> bool:
        is_for_all = flags & socket.MSG_WAITALL and self.type == socket.SOCK_STREAM
        return bool(is_for_all) and self._may_wait_for_more(flags)

    def _wait(self, event: int, timeout_exc: BaseException | None = None) -> None:
        """Wait, for those of gevent's methods that have no faster way here."""
        timeout, set_limits = self.channel.timeout, self.channel.limits
        if timeout is None and set_limits is not None:
            timeout = set_limits.receive if event == READ else set_limits.send
            timeout_exc = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        try:
            self.channel.wait(event, timeout)
        except TimeoutError as error:
            raise timeout_exc or error from None

    def close(self) -> None:
        """Close the socket, or have it closed with its last file; a fiber that waits for it gets an error."""
        self._closed = True
        if self._io_refs > 0:
            return
        channel = self.channel
        if channel.poller.is_open and channel.poller.thread != native_thread_id():
            # For this thread the socket is closed from now on.
            channel.is_closed = True
            inner, self.inner = self.bare, _closed
            call_in_hub_thread(channel.poller, _close, channel, inner)
        elif self.inner is None:
            channel.close()
            self.inner = _closed
        else:
            channel.close()
            self.inner.close()

    def detach(self) -> int:
        """Give the descriptor up, and return it; a fiber that waits for it gets an error."""
        self._closed = True
        # The channel does not close it: `bare` has taken it over.
        descriptor = self.bare.detach()
        call_in_hub_thread(self.channel.poller, self.channel.close)
        return descriptor

    def _get_ref(self) -> bool:
        return True

    def _set_ref(self, value: bool) -> None:
        """Do nothing: the poller keeps the loop alive, in this socket's waits too."""

    ref = property(_get_ref, _set_ref)

    def recv_with_flags(self, bufsize: int, flags: int) -> bytes:
        """Receive in the cases that the poller's `recv` leaves: flags, no waiting, odd sizes."""
        if bufsize > 0 and self._may_wait_for_more(flags):
            buffer = bytearray(bufsize)
            return bytes(memoryview(buffer)[: self._fill(memoryview(buffer), flags)])
        return self._patiently(
            READ, flags, lambda: self.bare.recv(bufsize, flags | socket.MSG_DONTWAIT)
        )

    def recv_into_with_flags(self, buffer: Any, nbytes: int, flags: int) -> int:
        """Receive in the cases that the poller's `recv_into` leaves."""
        if self._may_wait_for_more(flags):
            with memoryview(buffer) as view, view.cast("B") as octets:
                return self._fill(octets[: nbytes or None], flags)
        return self._patiently(
            READ, flags, lambda: self.bare.recv_into(buffer, nbytes, flags | socket.MSG_DONTWAIT)
        )

    def _may_wait_for_more(self, flags: int) -> bool:
        """Tell whether a receive waits for more than the first bytes, or not for ever."""
        # With a timeout of Python's, or none at all, it takes what there is, as in C.
        is_patient = self.channel.timeout is None and not flags & socket.MSG_DONTWAIT
        return is_patient and bool(flags & socket.MSG_WAITALL or self.channel.limits)

    def _fill(self, view: memoryview, flags: int) -> int:
        """Receive until `view` has what the call waits for, or the peer has shut its side down (recv(2)).

        That is all of `view` (MSG_WAITALL), or what the limits say.
        """
        receive, _, low_water = self.channel.limits or _NO_LIMITS
        wanted = len(view) if flags & socket.MSG_WAITALL else min(low_water, len(view))
        deadline = None if receive is None else time.monotonic() + receive
        if flags & socket.MSG_PEEK:
            return self._peek_all(view, wanted, flags, receive)
        filled = 0
        while filled < wanted:
            try:
                count = self._receive_rest(view[filled:], wanted - filled, flags, deadline)
            except OSError:
                if not filled:
                    raise
                return filled  # the next call will meet the error
            if not count:
                break
            filled += count
        return filled

    def _receive_rest(
        self, rest: memoryview, wanted: int, flags: int, deadline: float | None
    ) -> int:
        while True:
            try:
                return self.bare.recv_into(rest, 0, flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise
            # After the time too it takes what has come, be it less.
            with contextlib.suppress(TimeoutError):
                self._wait_for_bytes(wanted, left)

    def _wait_for_bytes(self, wanted: int, timeout: float | None) -> None:
        """Wait until the kernel tells of `wanted` bytes, at most `timeout` seconds."""
        before = self.bare.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        # Of what the caller has by now the kernel knows nothing.
        is_lower = wanted < before
        if is_lower:
            self.bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        try:
            self.channel.wait(READ, timeout)
        finally:
            if is_lower and self.fileno() >= 0:
                self.bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, before)

    def _peek_all(self, view: memoryview, wanted: int, flags: int, timeout: float | None) -> int:
        before = self.bare.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        # What was only peeked at stays, and would end every further wait at once (socket(7)).
        self.bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        try:
            with contextlib.suppress(TimeoutError):  # then there is what there is
                self.channel.wait(READ, timeout)
            return self.bare.recv_into(view, 0, flags | socket.MSG_DONTWAIT)
        finally:
            self.bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, before)

    def _patiently(self, event: int, flags: int, attempt: Callable[[], Result]) -> Result:
        """Try; where that would block, wait and try again."""
        if self.channel.limits is not None and self.channel.timeout and event == READ:
            # Only `poll` looks at SO_RCVLOWAT; a call that does not block takes what there is.
            self._wait(event)
        while True:
            try:
                return attempt()
            except BlockingIOError:
                if self.channel.timeout == 0 or flags & socket.MSG_DONTWAIT:
                    raise
            self._wait(event)


_making: Any = monkey.get_original("_thread", "allocate_lock")()
"""Held for a few system calls, in which no fiber switches."""

_closed = socket.socket()
"""What stands for the inside of closed sockets: all its methods fail as a closed socket's do."""

_closed.close()


def call_in_hub_thread(poller: Poller, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in the poller's thread: now if that is the caller's, else soon."""
    if poller.is_open and poller.thread != native_thread_id():
        # The other thread may just come to its end: first the hub has no loop any more, or one that is
        # destroyed.
        loop = poller.hub.loop
        with contextlib.suppress(ValueError):
            if loop is not None:
                loop.run_callback_threadsafe(function, *arguments)
                return
    function(*arguments)


def _close(channel: Channel, sock: socket.socket) -> None:
    channel.close()
    sock.close()


set_slot(vars(FiberSocket)["channel"])


_PLAIN = (monkey.get_original("socket", "socket"), gevent.socket.socket)

PLAIN_ACCEPTS = tuple(kind.accept for kind in _PLAIN)
"""The methods `accept` of listeners whose connections are plain sockets."""


class SocketWrapper:
    """Makes sockets for fibers of plain ones, and keeps those that belong to datagram listeners."""

    def __init__(self) -> None:
        self._twins: dict[Any, FiberSocket] = {}

    def wrap(self, request: Any, poller: Poller) -> Any:
        """Return the form for fibers of a request: of a connection, or of a datagram with its socket.

        What is neither stays as it is, and so does a socket of another class (TLS that a hook began).
        """
        if type(request) in _PLAIN:
            if request.fileno() < 0:
                return request  # closed by a hook; its next call raises that
            return FiberSocket.taking_over(request, poller)
        if type(request) is tuple and len(request) == 2 and type(request[1]) in _PLAIN:
            data, listener = request
            return data, self._twin(listener, poller)
        if type(request) is tuple and type(request[-1]) is AnsweringSocket:
            data, answering = request
            return data, answering.over(self._twin(answering.socket, poller))
        return request

    def _twin(self, listener: Any, poller: Poller) -> FiberSocket:
        """Return a socket for fibers beside a datagram listener, which may neither block nor be changed."""
        twin = self._twins.get(listener)
        if twin is None or twin.channel.poller is not poller:
            # Not `listener.dup()`, which would set the blocking mode that both share.
            descriptor = os.dup(listener.fileno())
            twin = FiberSocket(
                listener.family, listener.type, listener.proto, descriptor, poller=poller
            )
            self._twins[listener] = twin
        return twin

    def release(self) -> None:
        """Close the twins of listeners that have been closed, for they would keep their addresses."""
        for listener, twin in list(self._twins.items()):
            if listener.fileno() < 0:
                del self._twins[listener]
                twin.close()


# A fiber's connection on its way to another process: `multiprocessing` sends it like plain sockets.


def _reduce(connection: FiberSocket) -> tuple[Any, ...]:
    descriptor = reduction.DupFd(connection.fileno())
    return _rebuild, (descriptor, connection.family, connection.type, connection.proto)


def _rebuild(descriptor: Any, family: int, kind: int, proto: int) -> socket.socket:
    """Make a plain socket, in the process that received it."""
    connection = socket.socket(family, kind, proto, fileno=descriptor.detach())
    if connection.gettimeout() is None:
        # The sender's fibers had it not block; the receiver waits in plain calls.
        connection.setblocking(True)
    return connection


def let_multiprocessing_send_them() -> None:
    """Let `multiprocessing` send connections of fibers."""
    reduction.ForkingPickler.register(FiberSocket, _reduce)
