"""What is to take the answers to requests that other processes have got, by the numbers which they have."""

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable

from manyhands.exchange.exchange import MOST_WAITING

MOST_REQUESTS = MOST_WAITING
"""Requests without an answer: as many as may wait in a subscription."""


class AnswerTokens:
    """Gives each request a number, by which its answer finds the way back. Thread-safe.

    Of too many requests the oldest ones are forgotten: as a rule their askers wait no more.
    """

    def __init__(self) -> None:
        # From anywhere: an answer that comes late, by a hub that numbers workers anew, meets no other one.
        self._numbers = itertools.count(1 + int.from_bytes(os.urandom(6)))
        self._asked: dict[int, Callable[[bytes], bool]] = {}
        self._oldest: deque[int] = deque()

    def token_of(self, answer: Callable[[bytes], bool]) -> int:
        """Return the number of a request that this takes the answer to."""
        token = next(self._numbers)
        self._asked[token] = answer
        self._oldest.append(token)
        if len(self._oldest) > MOST_REQUESTS:
            with contextlib.suppress(IndexError):
                self._asked.pop(self._oldest.popleft(), None)
        return token

    def take(self, token: int) -> Callable[[bytes], bool] | None:
        """Return what takes the first answer to a request; None where one has come, or it is forgotten."""
        return self._asked.pop(token, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._asked.clear()
