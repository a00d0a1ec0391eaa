"""What the accept loop waits with in the hub thread: while it waits, fibers run."""

import _socket
import contextlib
import errno
import os
import selectors
import time
from collections.abc import Mapping
from typing import Any

from manyhands.engines.fibers.foreign_threads import READ, new_poll, pause_here
from manyhands.engines.fibers.poller import Channel, Poller

LISTENER_POLL_INTERVAL = 0.05
"""Seconds between two looks at listeners that epoll cannot watch (ENOSPC): too short for a client to feel."""


class FiberSelector(selectors.BaseSelector):
    """Waits for descriptors to be readable, in the poller of the calling fiber.

    It makes them non-blocking: one may be told of a client that another process then accepts, and a blocking
    `accept` would hold up all fibers.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._channels: dict[int, Channel] = {}
        self._before: dict[int, tuple[bool, object]] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Wait for the descriptor of `fileobj` too."""
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        if descriptor < 0:
            raise ValueError(f"invalid file descriptor: {descriptor}")
        self._before[descriptor] = os.get_blocking(descriptor), _identity(descriptor)
        os.set_blocking(descriptor, False)
        channel = self._channels[descriptor] = Channel(self._poller, descriptor)
        channel.give_up()  # the listener closes it
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Wait for it no longer, and leave it as it was."""
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys.pop(descriptor)
        self._channels.pop(descriptor).close()
        was_blocking, identity = self._before.pop(descriptor)
        # It may be closed already, and another file may have its number. And fibers may still answer on one
        # of datagrams, which must not block either.
        with contextlib.suppress(OSError):
            if _identity(descriptor) == identity and not _has_datagrams(descriptor):
                os.set_blocking(descriptor, was_blocking)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something can be read, at most `timeout` seconds; return what."""
        try:
            ready = self._wait(timeout)
        except OSError as error:
            # The system watches no more descriptors for this user (epoll_ctl(2)): that passes.
            if error.errno != errno.ENOSPC:
                raise
            ready = self._look(timeout)
        return [(self._keys[fd], selectors.EVENT_READ) for fd in ready]

    def _wait(self, timeout: float | None) -> list[int]:
        return self._poller.wait_any(list(self._channels.values()), timeout)

    def _look(self, timeout: float | None) -> list[int]:
        """Look now and then, while nothing more can be watched: fibers that end make room."""
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = new_poll()
        for descriptor in self._channels:
            poll.register(descriptor, READ)
        while True:
            # A pause even when a listener is ready: else fibers would get no turn as long as clients come.
            ready = [descriptor for descriptor, _ in poll.poll(0)]
            left = LISTENER_POLL_INTERVAL if deadline is None else deadline - time.monotonic()
            pause_here(min(LISTENER_POLL_INTERVAL, max(0.0, left)))
            if ready or left <= 0:
                return ready

    def close(self) -> None:
        """Leave all as it was."""
        for descriptor in list(self._keys):
            self.unregister(descriptor)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return what is waited for, by descriptor."""
        return self._keys


def _identity(descriptor: int) -> object:
    """Tell one open file from another that has its number later."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _has_datagrams(descriptor: int) -> bool:
    try:
        borrowed = _socket.socket(fileno=descriptor)
    except OSError:
        return False  # no socket
    try:
        return bool(borrowed.type & ~_socket.SOCK_NONBLOCK == _socket.SOCK_DGRAM)
    finally:
        borrowed.detach()
