"""A listener whose `accept` fails as it is told to."""

import os
import socket
from collections.abc import Iterable
from typing import Any


class FlakyListener(socket.socket):
    """Takes a listening socket's place, and fails with one error after the other before it accepts.

    ::

        server.socket = FlakyListener(server.socket, [errno.EMFILE, errno.ECONNABORTED])

    Parameters
    ----------
    listener : socket.socket
        A listening stream socket, not of TLS; it gives its descriptor up.
    errors : iterable of int or None
        The errno for each `accept` in turn (accept(2) names them); None lets one succeed. When they have
        been used up, `accept` is as ever.
    """

    def __init__(self, listener: socket.socket, errors: Iterable[int | None]) -> None:
        timeout = listener.gettimeout()
        super().__init__(listener.family, listener.type, listener.proto, listener.detach())
        self.settimeout(timeout)
        self._errors = list(errors)

    @property
    def errors_left(self) -> int:
        """How many of the errors are still to come."""
        return sum(error is not None for error in self._errors)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, or fail.

        Raises
        ------
        OSError
            The next of the errors.
        """
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise OSError(error, os.strerror(error))
        return super().accept()
