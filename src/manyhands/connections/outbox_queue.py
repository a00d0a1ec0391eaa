"""What waits in an outbox, in its order: pieces, and between them writes of threads and fibers. No I/O."""

from collections import deque

SHARE = 64 * 1024
"""Bytes that one outbox sends before the next one has its turn: what a kernel's buffer takes as a rule."""


class DirectWrite:
    """What a thread, or a fiber, writes on the connection by itself, in its place among the pieces."""

    __slots__ = ("is_begun", "owner")

    def __init__(self, owner: object) -> None:
        self.owner = owner
        """The thread or the fiber that writes, or waits to write; None between two parts of a message."""

        self.is_begun = False
        """Whether a part of its message was sent before."""


class OutboxQueue:
    """The pieces that wait for a peer, in their order, and the writes between them. Not thread-safe."""

    __slots__ = ("_batch", "_in_batch", "_items", "_offset", "size")

    def __init__(self) -> None:
        self.size = 0
        """Bytes that wait."""

        # What is being sent, of which the first `_offset` bytes are. It is not changed any more: TLS has made
        # its records of it.
        self._batch: bytes = b""
        self._in_batch = 0  # pieces in there
        self._offset = 0
        self._items: deque[bytes | DirectWrite] = deque()

    def begin(self, piece: bytes, sent: int) -> None:
        """Have the rest of a piece sent next. For a queue in which nothing waits."""
        self._batch, self._offset, self._in_batch = piece, sent, 1
        self.size = len(piece) - sent

    def append(self, piece: bytes) -> None:
        """Have a piece wait, behind all the others."""
        self._items.append(piece)
        self.size += len(piece)

    def append_write(self, write: DirectWrite) -> None:
        """Have a write wait, behind all that is there."""
        self._items.append(write)

    def withdraw(self, owner: object) -> None:
        """Forget the write of a thread, or of a fiber, if one still waits."""
        for each in tuple(self._items):
            if isinstance(each, DirectWrite) and each.owner is owner:
                self._items.remove(each)

    def drop_oldest(self, excess: int) -> int:
        """Drop the oldest pieces, until so many bytes are free; return how many, 0 where they are too few.

        What is begun is not dropped, and each write keeps its place.
        """
        if excess > self.size - self._left_of_batch():
            return 0
        dropped = 0
        writes: list[DirectWrite] = []
        while excess > 0:
            oldest = self._items.popleft()
            if isinstance(oldest, DirectWrite):
                writes.append(oldest)
                continue
            dropped += 1
            excess -= len(oldest)
            self.size -= len(oldest)
        self._items.extendleft(reversed(writes))
        return dropped

    def next_batch(self) -> memoryview | DirectWrite | None:
        """Return what is to be sent next: bytes; or the write whose place has come; None where nothing waits.

        Several short pieces are one batch.
        """
        if not self._batch:
            if not self._items:
                return None
            first = self._items.popleft()
            if isinstance(first, DirectWrite):
                return first
            self._begin_batch(first)
        return memoryview(self._batch)[self._offset :]

    def _begin_batch(self, first: bytes) -> None:
        items = self._items
        batch, size = [first], len(first)
        while items and isinstance(item := items[0], bytes) and size + len(item) < SHARE:
            batch.append(item)
            size += len(item)
            items.popleft()
        self._batch = first if len(batch) == 1 else b"".join(batch)
        self._in_batch, self._offset = len(batch), 0

    def sent(self, count: int) -> None:
        """Note that so many more bytes of the batch are sent."""
        self.size -= count
        self._offset += count
        if self._offset == len(self._batch):
            self._batch, self._offset, self._in_batch = b"", 0, 0

    def rest(self) -> bytes | None:
        """Return all that waits to be sent; None where a write waits for its place between the pieces."""
        pieces = [each for each in self._items if isinstance(each, bytes)]
        if len(pieces) < len(self._items):
            return None
        return b"".join((self._batch[self._offset :], *pieces))

    def _left_of_batch(self) -> int:
        return len(self._batch) - self._offset

    @property
    def pieces(self) -> int:
        """How many pieces wait; of a batch that is begun all: how many of them have gone out is not known."""
        return self._in_batch + sum(isinstance(each, bytes) for each in tuple(self._items))
