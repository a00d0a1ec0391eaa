"""What was dropped on its way between workers: told of in its place among what goes out, topic by topic."""

import time

from manyhands.dealing.channel import LATEST, Channel, Lane
from manyhands.dealing.frames import pack, texts
from manyhands.hub.frames import EVERYTHING, Kind
from manyhands.runtime.locks import holding
from manyhands.runtime.unpatched import brief_rlock

MOST_TOPICS = 1000
"""Topics of which it is known how much was dropped; of more it is only known that anything may have been."""


class _Loss:
    """How much of one topic was dropped."""

    __slots__ = ("at", "count", "lane")

    def __init__(self) -> None:
        self.count = 0
        self.at = 0.0
        """When, of the last one, by `time.monotonic`."""

        self.lane = Lane(lambda: LATEST)


class Losses:
    """What was dropped on one channel. Thread-safe."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = brief_rlock()
        self._by_topic: dict[str, _Loss] = {}

    def note(self, topic: str, count: int = 1, at: float | None = None) -> None:
        """Count messages that were dropped, now or at a time, and have the other end know once it reads."""
        holding(self._lock, self._note, topic, count, time.monotonic() if at is None else at)

    def _note(self, topic: str, count: int, at: float) -> None:
        if topic not in self._by_topic and len(self._by_topic) >= MOST_TOPICS:
            topic = EVERYTHING
        loss = self._by_topic.setdefault(topic, _Loss())
        loss.count += count
        loss.at = max(loss.at, at)
        said = texts(topic, repr(loss.at))
        self._channel.put(pack(Kind.MISSED, loss.count, said), loss.lane)


class KnownLosses:
    """What the other end of a channel has told of its losses. For the thread that reads."""

    def __init__(self) -> None:
        self._by_topic: dict[str, int] = {}

    def news(self, topic: str, count: int) -> int:
        """Return how many were dropped since this was told of last."""
        known = self._by_topic.get(topic, 0)
        self._by_topic[topic] = count
        return max(0, count - known)
