"""Replaces workers of the generation that serves, one after the other, and makes more of them or fewer."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from manyhands.supervisor.generation import Generation
from manyhands.supervisor.worker import State, Worker

Done = Callable[[str | None], object]
"""Told of the outcome: a sentence why it was not done, or None."""


class Owner(Protocol):
    """What it needs of the fleet."""

    @property
    def serving(self) -> Generation | None:
        """The generation that connections are dealt to."""

    def have_drained(self, worker: Worker, seconds: float | None) -> None:
        """Have a worker drain."""

    def deal_anew(self) -> None:
        """Deal to those that serve now."""


class Replacing:
    """Has workers replaced, without a connection dropped. For the thread of the supervisor's loop.

    The successor comes first; then the worker drains.

    Parameters
    ----------
    owner
        The fleet.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._queue: deque[tuple[int, Done | None]] = deque()
        """The numbers of the workers that are to be replaced, and who is told after that."""

        self._old: Worker | None = None
        """The one that is being replaced."""

        self._done: Done | None = None

    def replace(self, number: int | None, done: Done) -> None:
        """Have a worker replaced, or all, one after the other; tell `done` the outcome."""
        serving = self._owner.serving
        if serving is None:
            done("no worker serves yet")
            return
        numbers = sorted(serving.workers) if number is None else [number]
        if number is not None and number not in serving.workers:
            there = ", ".join(map(str, sorted(serving.workers))) or "none"
            done(f"there is no worker {number}; there is {there}")
            return
        self._queue.extend((each, None) for each in numbers[:-1])
        self._queue.append((numbers[-1], done))
        self._go_on()

    def scale(self, count: int, done: Done) -> None:
        """Have so many workers; tell `done` the outcome."""
        serving = self._owner.serving
        if serving is None:
            done("no worker serves yet")
            return
        serving.have(count)
        for worker in list(serving.leaving):
            if worker.number > count and worker.state is State.SERVING:
                self._owner.have_drained(worker, None)
        self._owner.deal_anew()
        done(None)

    def _go_on(self) -> None:
        while self._old is None and self._queue:
            number, done = self._queue.popleft()
            serving = self._owner.serving
            worker = None if serving is None else serving.workers.get(number)
            if serving is None or worker is None:
                # It has died meanwhile, and what takes its place is new.
                if done is not None:
                    done(None)
                continue
            self._old, self._done = worker, done
            serving.succeed(worker)

    def note_ready(self, worker: Worker) -> None:
        """Note that a worker serves: the one in whose place it is drains."""
        old = self._old
        if old is not None and old.number == worker.number and old is not worker:
            if old.state is State.SERVING:
                self._owner.have_drained(old, None)
            self._end(None)

    def note_end(self, worker: Worker) -> None:
        """Note that a worker has ended: a successor that did not come leaves the old one where it was."""
        old, serving = self._old, self._owner.serving
        if old is None or worker.number != old.number or worker.generation != old.generation:
            return
        if worker is not old and old.state is State.SERVING and serving is not None:
            serving.put_back(old)
            self._end(worker.failure or f"the new worker {worker.number} ended before it served")

    def cancel(self, sentence: str) -> None:
        """Replace nothing more."""
        while self._queue:
            _, done = self._queue.popleft()
            if done is not None:
                done(sentence)
        if self._old is not None:
            self._end(sentence)

    def _end(self, failure: str | None) -> None:
        done, self._old, self._done = self._done, None, None
        if failure is not None:
            # The others would fare no better.
            while self._queue and done is None:
                _, done = self._queue.popleft()
        if done is not None:
            done(failure)
        self._go_on()
