"""The connection's socket in a fiber: what it waits for holds up its own fiber, and nothing else."""

import os
import socket
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any, Self, TypeVar

import gevent.socket
from gevent import monkey

from manyhands.engines.fibers.foreign_threads import READ, WRITE, native_thread, pause_here
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
from manyhands.runtime.sockets import accept_at_once, identity

Result = TypeVar("Result")

FIRST_PAUSE = 0.001
"""Seconds until a datagram is offered again to a Unix socket whose queue is full; then twice as long."""

LONGEST_PAUSE = 0.05


class _FiberIO(socket.SocketIO):
    """What a file of the connection stands on: the standard library's, on a shorter way."""

    readinto = readinto  # type: ignore[assignment]  # the compiled one has no types

    def _explain_why_nothing_can_be_read(self) -> None:
        super().readinto(bytearray())


class FiberSocket(gevent.socket.socket):
    """A socket like any other, whose waits let other fibers run.

    Whatever a plain blocking socket does works as it does there, with the same exceptions. Two things go
    beyond: a fiber that waits on a socket which another one closes gets `EBADF` at once; and the socket may
    be used by ordinary threads too, whose waits then block them alone. So an ordinary thread hands data to
    a connection by `sendall`.

    Parameters
    ----------
    family, type, proto, fileno : int
        As of `socket.socket`.
    poller : Poller
        That of the thread in which the fibers are.
    """

    __slots__ = ("_channel", "_identity", "_inner")

    def __init__(self, family: int, type: int, proto: int, fileno: int, *, poller: Poller) -> None:  # noqa: A002 - the standard library's name
        # Not gevent's own constructor, which makes two watchers.
        self._io_refs = 0
        self._closed = False
        self._identity = family, type, proto
        self._inner: socket.socket | None = None
        self._channel = Channel(poller, fileno)
        self.timeout = None  # type: ignore[misc]  # a slot of gevent's
        usual = socket.getdefaulttimeout()
        if usual is not None:
            self.settimeout(usual)

    # What gevent's methods hand to `_wait`.
    _read_event = READ
    _write_event = WRITE

    @property
    def _sock(self) -> socket.socket:
        """The plain, non-blocking socket inside: made when it is needed, for many connections end without."""
        if self._inner is None:
            # A thread and a fiber may both be the first to need it.
            with _making:
                if self._inner is None:
                    self._inner = self._make_inner()
        return self._inner

    def _make_inner(self) -> socket.socket:
        inner: socket.socket = self._gevent_sock_class(*self._identity, self._channel.give_up())  # type: ignore[attr-defined]
        inner.setblocking(False)
        return inner

    @property
    def hub(self) -> Any:
        """The hub of the fibers."""
        return self._channel.poller.hub

    @classmethod
    def taking_over(cls, plain: Any, poller: Poller) -> Self:
        """Make one of another socket object's descriptor, which that object gives up."""
        timeout = plain.gettimeout()
        family, kind, proto = plain.family, plain.type, plain.proto
        taken = cls(family, kind, proto, plain.detach(), poller=poller)
        taken.settimeout(timeout)
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
        self._channel.timeout = self.timeout

    def setblocking(self, flag: bool) -> None:
        """Wait for ever, or not at all."""
        self.settimeout(None if flag else 0.0)

    def dup(self) -> Self:
        """Return another socket on the same connection."""
        kind = type(self)
        twin = kind(
            self.family, self.type, self.proto, os.dup(self.fileno()), poller=self._channel.poller
        )
        twin.settimeout(self.gettimeout())
        return twin

    def shutdown(self, how: int) -> None:
        """Shut one side of the connection, or both; a fiber that waits on it sees what the kernel says."""
        if self._inner is None:
            self._channel.shutdown(how)
        else:
            self._inner.shutdown(how)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """Return an option of the socket: an int, or bytes where their number is given."""
        if self._inner is None and buflen > 0:
            # Of each of ten thousand idle connections, every second: none must get a socket inside for that.
            return self._channel.getsockopt(level, optname, buflen)
        return self._sock.getsockopt(level, optname, buflen)

    def fileno(self) -> int:
        """Return the descriptor; -1 of a closed socket."""
        return self._channel.fd if self._inner is None else self._inner.fileno()

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """Send a datagram, once it can be sent."""
        pause = FIRST_PAUSE
        while True:
            try:
                return self._sock.sendto(data, *flags_and_address)
            except BlockingIOError:
                flags = flags_and_address[0] if len(flags_and_address) > 1 else 0
                if self._channel.timeout == 0 or flags & socket.MSG_DONTWAIT:
                    raise
            self._channel.wait(WRITE, self._channel.timeout)
            if self.family == socket.AF_UNIX:
                # It can be written to, and yet the receiver's queue is full, which poll does not know of.
                pause_here(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _wait(self, event: int, timeout_exc: BaseException | None = None) -> None:
        """Wait, for those of gevent's methods that have no faster way here."""
        try:
            self._channel.wait(event, self._channel.timeout)
        except TimeoutError as error:
            raise timeout_exc or error from None

    def close(self) -> None:
        """Close the socket, or have it closed with the last file of it; who waits for it gets an error."""
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def _real_close(self) -> None:
        channel = self._channel
        if _is_elsewhere(channel.poller):
            # Here the socket is closed from now on.
            channel.is_closed = True
            inner, self._inner = self._sock, _closed
            at_home(channel.poller, _close, channel, inner)
        elif self._inner is None:
            channel.close()
            self._inner = _closed
        else:
            channel.close()
            self._inner.close()

    def detach(self) -> int:
        """Give the descriptor up, and return it; who waits for it gets an error."""
        self._closed = True
        descriptor = self._sock.detach()
        at_home(self._channel.poller, self._channel.close)
        return descriptor

    def _get_ref(self) -> bool:
        return True

    def _set_ref(self, value: bool) -> None:
        """Do nothing: the poller keeps the loop alive, whatever it waits for."""

    ref = property(_get_ref, _set_ref)

    def _recv_with_flags(self, bufsize: int, flags: int) -> bytes:
        if flags & socket.MSG_WAITALL and self._is_patient(flags) and bufsize > 0:
            buffer = bytearray(bufsize)
            return bytes(memoryview(buffer)[: self._fill(memoryview(buffer), flags)])
        return self._patiently(READ, flags, lambda: self._sock.recv(bufsize, flags))

    def _recv_into_with_flags(self, buffer: Any, nbytes: int, flags: int) -> int:
        if flags & socket.MSG_WAITALL and self._is_patient(flags):
            with memoryview(buffer) as view, view.cast("B") as octets:
                return self._fill(octets[: nbytes or None], flags)
        return self._patiently(READ, flags, lambda: self._sock.recv_into(buffer, nbytes, flags))

    def _is_patient(self, flags: int) -> bool:
        """Tell whether a call waits for all of something: with a timeout it takes what there is, as in C."""
        return self._channel.timeout is None and not flags & socket.MSG_DONTWAIT

    def _fill(self, view: memoryview, flags: int) -> int:
        """Receive until `view` is full or the peer has said its last (MSG_WAITALL, recv(2))."""
        if flags & socket.MSG_PEEK:
            return self._peek_all(view, flags)
        filled = 0
        while filled < len(view):
            rest = view[filled:]
            try:
                count = self._recv_into_rest(rest, flags)
            except OSError:
                if not filled:
                    raise
                return filled  # the next call will meet the error
            if not count:
                break
            filled += count
        return filled

    def _recv_into_rest(self, rest: memoryview, flags: int) -> int:
        return self._patiently(READ, flags, lambda: self._sock.recv_into(rest, 0, flags))

    def _peek_all(self, view: memoryview, flags: int) -> int:
        before = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        # What was only peeked at stays, and would end every further wait at once (socket(7)).
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(view))
        try:
            self._channel.wait(READ)
            return self._recv_into_rest(view, flags)
        finally:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, before)

    def _patiently(self, event: int, flags: int, attempt: Callable[[], Result]) -> Result:
        """Try; where that would block, wait and try again."""
        while True:
            try:
                return attempt()
            except BlockingIOError:
                if self._channel.timeout == 0 or flags & socket.MSG_DONTWAIT:
                    raise
            self._channel.wait(event, self._channel.timeout)


_making: Any = monkey.get_original("_thread", "allocate_lock")()
"""Held for a few system calls, in which no fiber switches."""

_closed = socket.socket()
"""What stands for the inside of closed sockets: whatever is asked of it fails as of a closed one."""

_closed.close()


def _is_elsewhere(poller: Poller) -> bool:
    """Tell whether the caller is in another thread than the fibers that may wait."""
    return bool(poller.is_open and poller.thread != native_thread())


def at_home(poller: Poller, function: Callable[..., object], *arguments: object) -> None:
    """Call a function in the thread of the fibers: now if that is the caller's, else soon."""
    if _is_elsewhere(poller):
        poller.hub.loop.run_callback_threadsafe(function, *arguments)
    else:
        function(*arguments)


def _close(channel: Channel, sock: socket.socket) -> None:
    channel.close()
    sock.close()


set_slot(vars(FiberSocket)["_channel"])


# From whatever a server accepted to something whose waits let other fibers run.

_PLAIN = (monkey.get_original("socket", "socket"), gevent.socket.socket)
_PLAIN_ACCEPTS = tuple(kind.accept for kind in _PLAIN)


class Adoption:
    """Makes the sockets of fibers, and keeps those that belong to datagram listeners."""

    def __init__(self) -> None:
        self._twins: dict[Any, FiberSocket] = {}

    def accept(self, listener: Any, poller: Poller) -> tuple[Any, Any]:
        """Accept a connection of a listener, as a fiber's from the start."""
        if getattr(type(listener), "accept", None) not in _PLAIN_ACCEPTS:
            accepted: tuple[Any, Any] = listener.accept()
            return accepted
        descriptor, address = accept_at_once(listener)
        return FiberSocket(*identity(listener), descriptor, poller=poller), address

    def adopt(self, request: Any, poller: Poller) -> Any:
        """Return the form for fibers of a request: of a connection, or of a datagram with its socket.

        What is neither, or has a life of its own already (TLS that somebody else began), stays as it is.
        """
        if type(request) in _PLAIN:
            if request.fileno() < 0:
                return request  # closed by a hook; whoever uses it will be told
            return FiberSocket.taking_over(request, poller)
        if type(request) is tuple and len(request) == 2 and type(request[1]) in _PLAIN:
            data, listener = request
            return data, self._twin(listener, poller)
        return request

    def _twin(self, listener: Any, poller: Poller) -> FiberSocket:
        """Return a socket for fibers beside a datagram listener: its own may neither block nor be changed."""
        twin = self._twins.get(listener)
        if twin is None or twin._channel.poller is not poller:
            # Not `listener.dup()`, which would set the blocking mode that both share.
            descriptor = os.dup(listener.fileno())
            twin = FiberSocket(
                listener.family, listener.type, listener.proto, descriptor, poller=poller
            )
            self._twins[listener] = twin
        return twin

    def release(self) -> None:
        """Close what stands beside listeners that have been closed, for it would keep their addresses."""
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
        # The sender's fibers had it not block; whom it is handed over to waits in plain calls.
        connection.setblocking(True)
    return connection


def have_them_sent() -> None:
    """Let `multiprocessing` send connections of fibers."""
    reduction.ForkingPickler.register(FiberSocket, _reduce)
