"""A spare descriptor, to refuse clients with when there is no other one (EMFILE, ENFILE in accept(2)).

Without a free descriptor a client cannot even be refused, since only an accepted connection can be closed.
Closing the spare one frees a descriptor; accepting and closing clients one by one then empties the backlog.
"""

import contextlib
import os
from typing import TYPE_CHECKING, Self

from manyhands.runtime.sockets import accept_at_once, has_client_waiting
from manyhands.runtime.unpatched import original

if TYPE_CHECKING:
    import socket

MOST_REFUSED = 256
"""Clients that one call refuses: the rest wait for the next turn, so that the accept loop can still be
stopped."""


class SpareDescriptor:
    """The spare descriptor of one accept loop."""

    def __init__(self) -> None:
        self._descriptor = -1

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(self, *exception: object) -> None:
        self._give_up()

    def _take(self) -> None:
        if self._descriptor < 0:
            # Where not even this one is left, clients simply stay in the backlog.
            with contextlib.suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _give_up(self) -> None:
        if self._descriptor >= 0:
            _close(self._descriptor)
            self._descriptor = -1

    def refuse_backlog(self, listener: "socket.socket") -> int:
        """Accept and close the clients that wait on `listener`, a bound stream socket; return how many."""
        self._give_up()
        count = 0
        with contextlib.suppress(OSError):
            # Asked first, for `accept` could block: a listener of the program's may.
            while count < MOST_REFUSED and has_client_waiting(listener):
                descriptor, _ = accept_at_once(listener)
                _close(descriptor)
                count += 1
        self._take()
        return count


def _close(descriptor: int) -> None:
    # `gevent.monkey` replaces `os.close` by one that closes at the next turn of its loop: too late for the
    # next accept, which needs the descriptor now.
    original(os, "close")(descriptor)
