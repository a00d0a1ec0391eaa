"""Wakes an accept loop that sleeps in `poll`: from another thread, a signal handler, or a forked child."""

import os
import select
import socket
from typing import Self

from manyhands.runtime.fork_hooks import maker

STOP = b"S"
"""What a forked child writes to ask the accept loop of its parent to stop."""


class Waker:
    """A socket pair whose reading end the accept loop polls.

    `wake` may be called from any thread and from signal handlers: it takes no lock and never blocks. A pair
    of sockets rather than of pipe descriptors, since a socket object that was closed cannot write into
    somebody else's descriptor of the same number.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptors back; whoever wakes it from now on wakes nobody."""
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable after `wake`."""
        return self._reader.fileno()

    def signal_fileno(self) -> int:
        """Return the descriptor for `signal.set_wakeup_fd`, by which every signal wakes.

        For the system may have any thread receive a signal, and Python's handlers run in the main thread
        alone, which would sleep on. (It prefers the main thread, unless the process was stopped just then.)
        """
        return self._writer.fileno()

    def wake(self) -> None:
        """Make the loop look around. In a copy of its process: nothing, for the loop is not the copy's."""
        if os.getpid() == self._owner:
            self._send(b".")

    def wake_maker(self) -> None:
        """Make the loop look around, in a handler's process too."""
        if self._owner in {os.getpid(), maker()}:
            self._send(b".")

    def ask_to_stop(self) -> None:
        """Make the loop look around, and in a handler's process, which shares no flag with it, stop.

        In any other copy of the loop's process it does nothing: such a copy asks for its own end.
        """
        if maker() == self._owner:
            self._send(STOP)
        else:
            self.wake()

    def _send(self, byte: bytes) -> None:
        try:
            self._writer.send(byte)
        except OSError:
            # Full: the loop is about to wake anyway. Closed: it has ended.
            return

    def wait(self) -> None:
        """Sleep until woken. Signal handlers run meanwhile."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.poll()

    def drain(self) -> bool:
        """Read all there is; return True when a child asked the loop to stop."""
        try:
            return STOP in self._reader.recv(4096)
        except BlockingIOError:
            return False


# Tells forked handlers that their server drains, without a signal: a descriptor that becomes readable.


class Bell:
    """A socket pair that every copy of the process inherits; what is written to it nobody reads."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._owner = os.getpid()

    def is_elsewhere(self) -> bool:
        """Tell whether this is a copy of the process that made it."""
        return os.getpid() != self._owner

    def ring(self) -> None:
        """Have it ring in all copies, for good."""
        self._writer.sendall(b"!")

    def has_rung(self) -> bool:
        """Tell whether it rings."""
        return self._wait(0)

    def wait(self) -> None:
        """Wait until it rings."""
        self._wait(None)

    def _wait(self, milliseconds: int | None) -> bool:
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def close(self) -> None:
        """Give the descriptors back."""
        self._reader.close()
        self._writer.close()
