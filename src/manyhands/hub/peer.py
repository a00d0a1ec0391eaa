"""A worker, as the hub knows it."""

import _socket

from manyhands.dealing.channel import Channel, Lane, Terms, Watcher
from manyhands.dealing.frames import FrameReader, pack
from manyhands.hub.frames import KINDS, Flags, Kind
from manyhands.hub.losses import KnownLosses, Losses

MESSAGES = Terms(10_000, 8 * 1024 * 1024, "drop_new")
"""What may wait of each sort for a worker that does not read, for seconds of a busy room. What comes then is
dropped, counted and told of."""

QUESTIONS = Terms(1000, 4 * 1024 * 1024, "drop_new")
"""What may wait of what asks, and tells nobody anything."""


class Lanes:
    """What waits at one end of a connection between a worker and the hub, each sort by itself."""

    def __init__(self) -> None:
        self._questions = Lane(lambda: QUESTIONS)
        self._messages: dict[str, Lane] = {}

    def lane(self, topic: str, flags: int) -> Lane:
        """Return the lane of a message."""
        if not flags & Flags.COUNTS:
            return self._questions
        # By the sort: what floods subjects costs rooms nothing.
        return self._messages.setdefault(topic[:1], Lane(lambda: MESSAGES))


class HubWorker:
    """A worker that is connected to the hub.

    Parameters
    ----------
    number, bit
        Its number, and its bit in the page of topics.
    connection
        What leads to it; does not block.
    watcher : Watcher
        What tells that it reads.
    """

    def __init__(self, number: int, bit: int, connection: _socket.socket, watcher: Watcher) -> None:
        self.number = number
        self.bit = bit
        self.connection = connection
        self.frames = FrameReader(KINDS)
        self.channel = Channel(watcher)
        self.losses = Losses(self.channel)
        self.known_losses = KnownLosses()
        self.topics: set[str] = set()
        self.is_late = False
        self._lanes = Lanes()

    def tell(self, told: bytes, topic: str, flags: int) -> bool:
        """Send a message; return False when it is dropped."""
        is_sent = self.channel.put(told, self._lanes.lane(topic, flags))
        if not is_sent and flags & Flags.COUNTS:
            self.losses.note(topic)
        return is_sent

    def answer(self, request: int, count: int, body: bytes) -> None:
        """Send an answer."""
        self.channel.say(pack(Kind.ANSWER, count, body, request))
