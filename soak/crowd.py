"""A crowd of clients: threads that have one conversation after the other until the time is over."""

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping

from soak.clients import CONVERSATIONS, Conversation, CutOffError, Place

SHARES: dict[str, int] = {
    "talk": 6,
    "talk_in_tls": 6,
    "churn": 4,
    "talk_slowly": 3,
    "vanish": 2,
    "fall_silent": 2,
    "turn_deaf": 2,
    "gossip": 5,
    "fall_behind": 2,
    "want_to_be_kicked": 3,
    "never_shake_hands": 2,
    "babble": 1,
}
"""How many clients have each kind of conversation at any time."""


class Crowd:
    """The clients of one server.

    Parameters
    ----------
    place
        Where it is.
    seed
        Of their dice.
    shares
        How many have each kind of conversation at any time.

    Attributes
    ----------
    done : Counter
        How many conversations went as they should, by kind.
    may_be_refused : bool
        Whether the server has no thread just now, and may refuse clients.
    done_meanwhile : Counter
        How many conversations went as they should meanwhile, by kind.
    refused : int
        How many conversations the server cut off meanwhile.
    wrong : list of str
        What went wrong in the others.
    """

    def __init__(self, place: Place, seed: int, shares: Mapping[str, int] = SHARES) -> None:
        self._place = place
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.may_be_refused = False
        self.done_meanwhile: Counter[str] = Counter()
        self.refused = 0
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._live, args=(kind, seed * 1000 + number), daemon=True)
            for kind in CONVERSATIONS
            for number in range(shares.get(kind.__name__, 0))
        ]

    def come(self, seconds: float) -> None:
        """Have everybody talk for so long; then each ends its conversation and goes."""
        self._place.ends_at = time.monotonic() + seconds
        for thread in self._threads:
            thread.start()

    def wait_until_gone(self) -> None:
        """Wait for the last one's end."""
        for thread in self._threads:
            thread.join()

    def are_refused_no_more_after(self, seconds: float) -> None:
        """Take a refusal for a fault again, some seconds from now on."""

        def end() -> None:
            self.may_be_refused = False

        threading.Timer(seconds, end).start()

    def _live(self, kind: Conversation, seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < self._place.ends_at:
            try:
                kind(self._place, dice)
            except Exception as error:  # noqa: BLE001 - whatever went wrong is the finding
                self.note_failure(kind.__name__, error)
            else:
                with self._lock:
                    self.done[kind.__name__] += 1
                    self.done_meanwhile[kind.__name__] += self.may_be_refused
            time.sleep(dice.expovariate(20))

    def note_failure(self, kind: str, error: Exception) -> None:
        """Take down what went wrong in a conversation."""
        with self._lock:
            if self.may_be_refused and isinstance(error, CutOffError | OSError | AssertionError):
                self.refused += 1
            else:
                self.wrong.append(f"{kind}: {type(error).__name__}: {error}")
