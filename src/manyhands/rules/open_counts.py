"""How many connections each address has open."""


class OpenCounts:
    """Counts by key; a key is there only while it has a connection, so there are never more than connections.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._by_key: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, key: int) -> int:
        """Return how many connections a key has."""
        return self._by_key.get(key, 0)

    def enter(self, key: int) -> None:
        """Count a connection."""
        self._by_key[key] = self._by_key.get(key, 0) + 1

    def leave(self, key: int) -> None:
        """Count a connection that was entered no longer."""
        left = self._by_key[key] - 1
        if left:
            self._by_key[key] = left
        else:
            del self._by_key[key]
