"""A crowd of clients: threads that have one conversation after the other until the time is over."""

import random
import threading
import time
from collections import Counter

from soak.clients import CONVERSATIONS, Conversation, Place

SHARES: dict[str, int] = {
    "talk": 6,
    "talk_in_tls": 6,
    "churn": 4,
    "talk_slowly": 3,
    "vanish": 2,
    "fall_silent": 2,
    "turn_deaf": 2,
    "want_to_be_kicked": 3,
    "never_shake_hands": 2,
    "babble": 1,
}
"""How many clients have each kind of conversation at any time."""


class Crowd:
    """The clients of one server.

    Attributes
    ----------
    done : Counter
        How many conversations went as they should, by kind.
    wrong : list of str
        What went wrong in the others.
    """

    def __init__(self, place: Place, seed: int) -> None:
        self._place = place
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._live, args=(kind, seed * 1000 + number), daemon=True)
            for kind in CONVERSATIONS
            for number in range(SHARES[kind.__name__])
        ]
        self._ends_at = float("inf")

    def come(self, seconds: float) -> None:
        """Have everybody talk for so long; then each ends its conversation and goes."""
        self._ends_at = time.monotonic() + seconds
        for thread in self._threads:
            thread.start()

    def wait_until_gone(self) -> None:
        """Wait for the last one's end."""
        for thread in self._threads:
            thread.join()

    def _live(self, kind: Conversation, seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < self._ends_at:
            try:
                kind(self._place, dice)
            except Exception as error:  # noqa: BLE001 - whatever went wrong is the finding
                with self._lock:
                    self.wrong.append(f"{kind.__name__}: {type(error).__name__}: {error}")
            else:
                with self._lock:
                    self.done[kind.__name__] += 1
            time.sleep(dice.expovariate(20))
