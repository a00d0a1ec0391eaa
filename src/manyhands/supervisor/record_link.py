"""What a supervisor and one of its workers tell each other, at the supervisor's end."""

import socket
from collections.abc import Iterator

from manyhands.workers.records import Record, RecordReader, pack

CHUNK = 64 * 1024
"""Bytes of records that are read at once."""

MOST_UNSENT = 1024 * 1024
"""Bytes that wait for a worker that does not read before it is ended."""


class RecordLink:
    """Records to a worker and from it. Nothing here waits. For the thread of the supervisor's loop.

    Parameters
    ----------
    connection
        This end of it, which does not block.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._records = RecordReader()
        self._unsent = bytearray()
        self.has_hung_up = False
        """Whether the worker tells nothing more, or what it tells is not listened to."""

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._socket.fileno()

    def hear(self) -> Iterator[Record]:
        """Return the records that have come.

        Raises
        ------
        ValueError
            When what has come is none.
        """
        while not self.has_hung_up:
            try:
                data = self._socket.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""  # reset: it has left something unread
            if not data:
                self.has_hung_up = True
                return
            yield from self._records.feed(data)
            if len(data) < CHUNK:
                return

    def say(self, kind: int, place: int = 0, body: bytes = b"") -> None:
        """Tell the worker something: what it does not take is sent by `flush`."""
        self._unsent += pack(kind, place, body)
        self.flush()

    @property
    def is_behind(self) -> bool:
        """Whether something waits for it to read."""
        return bool(self._unsent)

    @property
    def is_deaf(self) -> bool:
        """Whether so much waits that it cannot be reading any more."""
        return len(self._unsent) > MOST_UNSENT

    def flush(self) -> None:
        """Send what the worker takes of what waits."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self._unsent.clear()  # it has gone
                return
            del self._unsent[:sent]

    @property
    def has_rest(self) -> bool:
        """Whether the rest of something is on its way, in either direction."""
        return bool(self._unsent) or self._records.has_rest

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
