"""A descriptor kept for the day when there are none: with it, waiting clients can be turned away.

Without a free descriptor not even a refusal is possible, for to close a connection one must accept it
first. Giving up the reserve makes room for one; accepting and closing, one by one, empties the backlog.
"""

import contextlib
import os
from typing import TYPE_CHECKING, Self

from manyhands.runtime.sockets import accept_at_once, has_client_waiting
from manyhands.runtime.unpatched import original

if TYPE_CHECKING:
    import socket

AT_ONCE = 256
"""Clients refused in one go: the rest wait for the next, so that the loop stays responsive."""


class Reserve:
    """The reserved descriptor of one accept loop."""

    def __init__(self) -> None:
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, *exception: object) -> None:
        self._give_up()

    def _take(self) -> None:
        if self._descriptor < 0:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_up(self) -> None:
        if self._descriptor >= 0:
            _close(self._descriptor)
            self._descriptor = -1

    def refuse_backlog(self, listener: "socket.socket") -> int:
        """Accept and close the clients that wait on `listener`, a bound stream socket; count them."""
        self._give_up()
        count = 0
        with contextlib.suppress(OSError):
            while count < AT_ONCE and has_client_waiting(listener):
                descriptor, _ = accept_at_once(listener)
                _close(descriptor)
                count += 1
        self._take()
        return count


def _close(descriptor: int) -> None:
    # At once: the next one that is accepted needs the room.
    original(os, "close")(descriptor)
