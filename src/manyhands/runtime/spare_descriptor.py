"""A descriptor that is kept in reserve for when the process has no other one left."""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Self

from manyhands.runtime.unpatched import original


class SpareDescriptor:
    """A descriptor in reserve: given up, it makes room for the one that is needed (EMFILE, ENFILE).

    For one thread.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        # `gevent.monkey` replaces `os.close` by one that closes at the next turn of its loop: too late for
        # what needs the descriptor now.
        self._close = original(os, "close")

    def take(self) -> bool:
        """Have the descriptor, if there is one to be had; return whether it is there."""
        if self._descriptor < 0:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor >= 0

    def give_up(self) -> bool:
        """Close the descriptor; return False when it was not there."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._close(descriptor)
        return descriptor >= 0

    def take_over(self, connection: socket.socket, like: int) -> None:
        """Close a connection; where this descriptor is missing it gets the connection's number in one step.

        Between a close and an open another thread, out of descriptors too, could take it. `like` is one that
        is copied to that number (dup2(2)).
        """
        if self._descriptor >= 0 or like < 0 or connection.fileno() < 0:
            connection.close()
            return
        self._descriptor = connection.detach()
        os.dup2(like, self._descriptor, inheritable=False)

    @property
    def is_there(self) -> bool:
        """Whether it is in reserve now."""
        return self._descriptor >= 0

    @contextlib.contextmanager
    def given_up(self) -> Iterator[None]:
        """Do without it for the time of the context."""
        self.give_up()
        try:
            yield
        finally:
            self.take()

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *exception: object) -> None:
        self.give_up()
