"""Tells forked handlers that their server drains, without a signal: a descriptor that becomes readable."""

import os
import select
import socket


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
