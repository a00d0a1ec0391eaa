"""How a parent learns of a process that has something to tell, and gets the channel to it.

Each process that is forked has the writing end of one socket pair. When it first has something to tell it
makes a pair of its own, and passes one end of that up (SCM_RIGHTS, unix(7)).
"""

import _socket
import array
import contextlib
import os
import select
import socket
import struct

from manyhands.runtime.fork_hooks import shared_with_copies
from manyhands.runtime.sockets import is_ready

_NUMBER = struct.Struct("!Q")
"""What comes with a channel: the number of its connection."""

_ONE_DESCRIPTOR = socket.CMSG_SPACE(array.array("i", [0]).itemsize)


class Uplink:
    """The socket pair by which channels come up, and a word that says that one has.

    Beside `logs.relay`, which leads from the same processes to the same parent, since what comes here is a
    descriptor, of which the parent learns in a turn of its accept loop: there is no thread before that. Items
    of the log have to be written at once, and are too many for a wait of their sender.

    Raises
    ------
    OSError
        When there are no descriptors for it, or no memory.
    """

    _ends: tuple[_socket.socket, ...] = ()  # should the first line fail

    def __init__(self) -> None:
        # Whole messages, in whichever order the processes come; unlike datagrams, an end is noticed.
        self._ends = self._reader, self._writer = _socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._process = os.getpid()
        # Looked at by each turn of the accept loop, so it is no system call.
        self._word = shared_with_copies((0.0,))

    def fileno(self) -> int:
        """Return the descriptor that is readable when a channel has come."""
        return self._reader.fileno()

    @property
    def was_used(self) -> bool:
        """Whether a channel has come since `forget_use`, or is just coming."""
        return bool(self._word[0])

    def forget_use(self) -> bool:
        """Note that nothing reads any more; return False when a channel has come before."""
        self._word[0] = 0.0
        # In this order: a process sends its channel first, and says so in the word after that.
        return not is_ready(self._reader.fileno(), select.POLLIN)

    def wake(self) -> None:
        """Wake what reads."""
        with contextlib.suppress(OSError):  # it is full: what reads is about to wake anyway
            self._writer.send(b".")

    def send(self, number: int, channel: _socket.socket) -> bool:
        """Pass a channel up for the connection of a number, 0 for none; return False when that would wait.

        Raises
        ------
        OSError
            When the parent has gone.
        """
        try:
            passed = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [channel.fileno()])
            self._writer.sendmsg([_NUMBER.pack(number)], [passed])
        except BlockingIOError:
            return False
        return True

    def wait_until_it_takes(self) -> None:
        """Wait until `send` need not. For a thread of the system's."""
        is_ready(self._writer.fileno(), select.POLLOUT, None)

    def say_that_it_was_used(self) -> bool:
        """Have the parent know that a channel has come; return False when it knew of others, and reads."""
        was_used = self.was_used
        self._word[0] = 1.0
        return not was_used

    def receive(self) -> tuple[int, _socket.socket] | None:
        """Return the next channel that has come, and the number of its connection; None: there is none.

        For the holder of `forking`, until what closes copies knows of the channel: a fork before that would
        copy a descriptor that is never closed there. What was sent to wake is passed over, and so is what
        came without its channel: there was no descriptor left for it, and its other end reads an end of file.
        """
        while True:
            try:
                data, control, _, _ = self._reader.recvmsg(
                    64, _ONE_DESCRIPTOR, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
                )
                channel = _channel_in(control)
            except OSError:
                return None
            if not data:
                return None  # no process has the writing end any more
            if channel is not None and len(data) == _NUMBER.size:
                return _NUMBER.unpack(data)[0], channel

    def has_parent(self) -> bool:
        """Tell, in a process that it was forked with, whether the one that receives is still there."""
        # Other copies may have the reading end, too, so it is no end of file that tells.
        return self._process in {os.getppid(), os.getpid()}

    def close(self) -> None:
        """Give the descriptors back. Once more does no harm."""
        for end in self._ends:
            end.close()

    __del__ = close


def _channel_in(control: list[tuple[int, int, bytes]]) -> _socket.socket | None:
    descriptors = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    if not descriptors:
        return None
    # The system's, in a program under `gevent.monkey` too.
    channel = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptors[0])
    channel.setblocking(False)
    return channel
