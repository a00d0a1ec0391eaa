"""What wakes a thread that sleeps in `poll`: from another thread, a signal handler, or a forked process."""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from manyhands.runtime.fork_hooks import parent_server

STOP = b"S"
"""The byte by which a handler's process asks the accept loop of its parent to stop."""

_SET = (1).to_bytes(8, sys.byteorder)
"""What sets an eventfd: a number of eight bytes (eventfd(2))."""


class WakeUp:
    """A self-pipe (https://cr.yp.to/docs/selfpipe.html): an accept loop polls its reading end.

    `wake` may be called from any thread and from signal handlers: it takes no lock and never blocks.
    """

    def __init__(self) -> None:
        # Sockets rather than pipe descriptors: a socket object that was closed cannot write into a descriptor
        # that has got the same number since.
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def close(self, *_exception: object) -> None:
        """Give the descriptors back. From now on `wake` does nothing."""
        self._reader.close()
        self._writer.close()

    __exit__ = close

    def fileno(self) -> int:
        """Return the descriptor that is readable after `wake`."""
        return self._reader.fileno()

    def signal_fileno(self) -> int:
        """Return the descriptor for `signal.set_wakeup_fd`, by which every signal wakes.

        The system may have any thread receive a signal, and Python's handlers run in the main thread
        alone, which would sleep on. (It prefers the main thread, unless the process was stopped just then.)
        """
        return self._writer.fileno()

    @contextmanager
    def woken_by_signals(self) -> Iterator[None]:
        """Have signals wake the main thread, if that calls, unless the program has asked for that itself.

        Whichever thread receives them; and a thread that is about to sleep would not notice one otherwise.
        """
        is_asked_for = self._ask_for_signals()
        try:
            yield
        finally:
            if is_asked_for:
                put_back_wakeup_fd(-1)

    def _ask_for_signals(self) -> bool:
        try:
            before = signal.set_wakeup_fd(self.signal_fileno(), warn_on_full_buffer=False)
        except ValueError:
            return False  # not the main thread, and only there are signals handled
        if before != -1:
            put_back_wakeup_fd(before)
        return before == -1

    def wake(self) -> None:
        """Make the loop look around. In a forked copy of its process it does nothing: that has no loop."""
        if os.getpid() == self._process:
            self._write(b".")

    def wake_from_handler(self) -> None:
        """Make the loop look around, from its own process and from the process of a handler."""
        if self._process in {os.getpid(), parent_server()}:
            self._write(b".")

    def ask_to_stop(self) -> None:
        """Make the loop look around or, from the process of a handler, which shares no flag with it, stop.

        In any other copy of the loop's process it does nothing: such a copy asks for its own end.
        """
        is_of_handler = parent_server() == self._process
        if is_of_handler or os.getpid() == self._process:
            self._write(STOP if is_of_handler else b".")

    def _write(self, byte: bytes) -> None:
        try:
            self._writer.send(byte)
        except OSError:
            # Full (EAGAIN): the loop is about to wake anyway. Closed (EBADF): it has ended.
            return

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Sleep until `condition` holds; whatever changes it wakes. Signal handlers run meanwhile."""
        while not condition():
            wait_until_readable(self.fileno(), None)
            # Before the next look: what comes in between wakes the next poll.
            self.drain()

    def drain(self) -> bool:
        """Read all there is; return whether a handler's process has asked the loop to stop."""
        try:
            return STOP in self._reader.recv(4096)
        except BlockingIOError:
            return False


def put_back_wakeup_fd(descriptor: int) -> None:
    """Have signals write again to what they wrote to before, or, -1, to nothing. For the main thread."""
    # Python does not tell whether it was to warn of a full one. That is no failure, since the reader is about
    # to wake; an "exception ignored" would look like one.
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)


class PollableLatch:
    """A latch for `poll`: a descriptor that becomes readable once, for good.

    Every forked copy of the process inherits it, and is told too: so handlers in processes of their own learn
    that their server drains. It takes one descriptor where the system has eventfd(2), since a thousand
    clients may have one each.

    Raises
    ------
    OSError
        When no descriptor can be had.

    Notes
    -----
    `set` and `close` of several threads need a lock of their owner's: a descriptor that was closed may be
    another file's by the time it is written to.
    """

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._reader, self._writer = os.pipe()
        self._process = os.getpid()

    def fileno(self) -> int:
        """Return the descriptor that is readable after `set`; -1 after `close`."""
        return self._reader

    def is_inherited(self) -> bool:
        """Tell whether this is a forked copy of the process that made it."""
        return os.getpid() != self._process

    def set(self) -> None:
        """Make it readable, in all copies of the process, for good. After `close` it does nothing."""
        if self._writer >= 0:
            os.write(self._writer, _SET)

    def clear(self) -> None:
        """Have it be as it was before `set`. For a latch that no copy of the process shares."""
        if self._reader >= 0 and self.is_set():
            os.read(self._reader, len(_SET))

    def is_set(self) -> bool:
        """Tell whether it is readable."""
        return wait_until_readable(self._reader, 0)

    def wait(self) -> None:
        """Wait until it is set."""
        wait_until_readable(self._reader, None)

    def close(self) -> None:
        """Give the descriptors back. Once more does no harm."""
        descriptors = {self._reader, self._writer} - {-1}
        self._reader = self._writer = -1
        for descriptor in descriptors:
            os.close(descriptor)


def wait_until_readable(descriptor: int, seconds: float | None) -> bool:
    """Wait for a descriptor, as the program's threads wait; return whether it is readable."""
    if not hasattr(select, "poll"):
        # eventlet takes it away. Its `select` has no bound for the numbers of descriptors.
        return bool(select.select([descriptor], [], [], seconds)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
