"""A bell: wakes a thread that sleeps in `poll`, for the price of one descriptor where that is possible."""

import os
import sys

_RING = (1).to_bytes(8, sys.byteorder)
"""What an eventfd takes: a number of eight bytes (eventfd(2))."""


class Bell:
    """Readable once it has been rung, and from then on.

    A thousand callers have a thousand bells, so that a pair of sockets for each would be felt.

    Raises
    ------
    OSError
        When no descriptor can be had.

    Notes
    -----
    For several threads under one lock, which the owner brings.
    """

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._reader, self._writer = os.pipe()
        self._is_closed = False

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._reader

    def ring(self) -> None:
        """Wake whoever polls, if it has not been closed."""
        if not self._is_closed:
            os.write(self._writer, _RING)

    def close(self) -> None:
        """Give the descriptors back; once more does no harm."""
        if not self._is_closed:
            self._is_closed = True
            for descriptor in {self._reader, self._writer}:
                os.close(descriptor)
