"""What the hub has asked workers for another one, until they have answered, or have had time enough."""

import itertools
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from manyhands.hub.frames import joined

ANSWERS_WITHIN = 0.8
"""Seconds that workers have to answer. The one that asks waits for a second."""

MOST_ASKS = 10_000
"""Unanswered ones at a time; of more the oldest ones are answered with what there is."""


class Answering(Protocol):
    """A worker, as far as it asks and answers."""

    number: int
    is_late: bool
    """Whether it has left an ask unanswered: it is waited for no more until it answers one."""

    def answer(self, request: int, count: int, body: bytes) -> None:
        """Send an answer."""


class _Ask:
    """One ask."""

    __slots__ = ("asker", "count", "is_first", "parts", "request", "until", "waits_for")

    def __init__(
        self, asker: Answering, request: int, waits_for: set[Answering], *, is_first: bool
    ) -> None:
        self.asker = asker
        self.request = request
        self.waits_for = waits_for
        self.is_first = is_first
        self.until = time.monotonic() + ANSWERS_WITHIN
        self.count = 0
        self.parts: list[tuple[int, bytes]] = []


class Asks:
    """The asks that are under way, by their numbers, the oldest ones first."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        # Not a dict: of one from whose front much was taken, to find the first is to pass over all that.
        self._asks: OrderedDict[int, _Ask] = OrderedDict()

    def new_number(self) -> int:
        """Return a number for an ask; 0 is none."""
        return next(self._numbers) % 2**32 or next(self._numbers)

    def begin(
        self,
        number: int,
        asker: Answering,
        request: int,
        asked: Iterable[Answering],
        *,
        is_first: bool,
    ) -> None:
        """Wait for the answers of those that were asked."""
        waits_for = {worker for worker in asked if not worker.is_late}
        self._asks[number] = ask = _Ask(asker, request, waits_for, is_first=is_first)
        if not waits_for:
            self._finish(number, ask)
        elif len(self._asks) > MOST_ASKS:
            self._finish(*next(iter(self._asks.items())))

    def take(self, worker: Answering, number: int, count: int, body: bytes) -> None:
        """Take a worker's answer."""
        worker.is_late = False
        ask = self._asks.get(number)
        if ask is None or worker not in ask.waits_for:
            return  # it comes too late
        ask.waits_for.discard(worker)
        ask.count += count
        if body:
            ask.parts.append((worker.number, body))
        if not ask.waits_for or (ask.is_first and count):
            self._finish(number, ask)

    def _finish(self, number: int, ask: _Ask) -> None:
        del self._asks[number]
        ask.asker.answer(ask.request, ask.count, joined(ask.parts))

    def forget(self, worker: Answering) -> None:
        """Wait no more for a worker that has gone."""
        for number, ask in list(self._asks.items()):
            if worker in ask.waits_for:
                ask.waits_for.discard(worker)
                if not ask.waits_for:
                    self._finish(number, ask)

    def expire(self) -> None:
        """Answer those for which time is over."""
        now = time.monotonic()
        while self._asks:
            number, ask = next(iter(self._asks.items()))
            if ask.until > now:
                return
            for worker in ask.waits_for:
                worker.is_late = True
            self._finish(number, ask)

    def seconds_left(self, most: float) -> float:
        """Return the seconds until the next one expires, `most` at most."""
        for ask in self._asks.values():
            return min(most, max(0.0, ask.until - time.monotonic()))
        return most
