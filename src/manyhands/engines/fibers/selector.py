"""What the accept loop waits with in a home: while it waits, fibers run."""

import contextlib
import os
import selectors
from typing import TYPE_CHECKING, Any

from gevent import monkey

from .elsewhere import READ
from .implementation import Channel, Poller

if TYPE_CHECKING:
    from selectors import EpollSelector
else:
    # `gevent.monkey` takes the name away.
    EpollSelector = monkey.get_original("selectors", "EpollSelector")

_close = monkey.get_original("os", "close")  # `gevent.monkey`'s own waits for a turn of the loop


class FiberSelector(EpollSelector):
    """A selector whose `select` lets other fibers run. Makes non-blocking what is registered.

    One may be told of a client that another process then accepts; a blocking `accept` would stop all fibers.
    """

    def __init__(self, poller: Poller) -> None:
        super().__init__()
        self._channel = Channel(poller, os.dup(self.fileno()))
        self._was_blocking: dict[int, bool] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Wait for the descriptor of `fileobj` too."""
        key = super().register(fileobj, events, data)
        self._was_blocking[key.fd] = os.get_blocking(key.fd)
        os.set_blocking(key.fd, False)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Wait for it no longer, and leave it as it was."""
        key = super().unregister(fileobj)
        was_blocking = self._was_blocking.pop(key.fd)
        # It may be closed already.
        with contextlib.suppress(OSError):
            os.set_blocking(key.fd, was_blocking)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something is ready, at most `timeout` seconds; return what is."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        try:
            self._channel.wait(READ, timeout)
        except TimeoutError:
            return []
        return super().select(0)

    def close(self) -> None:
        """Give the descriptors back, and leave what is still registered as it was."""
        for descriptor in list(self.get_map() or ()):
            self.unregister(descriptor)
        descriptor = self._channel.fd
        self._channel.close()
        if descriptor >= 0:
            _close(descriptor)
        super().close()
