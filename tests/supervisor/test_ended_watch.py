"""When the supervisor looks for what has ended: the rules, without processes."""

import math
from typing import Any

import pytest

from manyhands.connections.counted_registry import CountedRegistry
from manyhands.supervisor.ended_watch import INTERVAL, EndedWatch
from manyhands.workers.ended_ring import WIDTH, EndedRing


class OfWorker:
    """What a watch needs of a worker: `worker.slot.ended`."""

    def __init__(self) -> None:
        self.ended = EndedRing(memoryview(bytearray(8 * WIDTH)).cast("Q"), 0)

    @property
    def slot(self) -> "OfWorker":
        return self


class Owner:
    """A fleet with two workers, which counts what has ended."""

    def __init__(self) -> None:
        self.workers: list[Any] = [OfWorker(), OfWorker()]
        self.has_taken = 0

    def take_ended(self, worker: OfWorker) -> int:
        count = len(worker.ended.take())
        self.has_taken += count
        return count

    def end(self, worker: int = 0) -> None:
        assert self.workers[worker].ended.note(1, 0)

    @property
    def awaits(self) -> bool:
        """Whether the workers are to tell: all of them, or none."""
        [answer] = {each.ended.is_awaited for each in self.workers}
        return bool(answer)

    def forget_waiting(self) -> None:
        for each in self.workers:
            each.ended.is_awaited = False


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def books() -> CountedRegistry:
    return CountedRegistry()


@pytest.fixture
def watch(owner: Owner, books: CountedRegistry) -> EndedWatch:
    return EndedWatch(owner, books)


def test_where_nothing_ends_the_workers_are_to_tell(owner: Owner, watch: EndedWatch) -> None:
    assert watch.next_look(100.0) == math.inf
    assert owner.awaits


def test_while_each_look_finds_something_the_next_one_comes_by_itself(
    owner: Owner, watch: EndedWatch
) -> None:
    now = 100.0
    for _ in range(3):
        owner.end()
        owner.end(1)
        assert watch.next_look(now) == now + INTERVAL
        # Not before.
        owner.end()
        assert watch.next_look(now + INTERVAL / 2) == now + INTERVAL
        now += INTERVAL
    assert owner.has_taken == 8
    assert not owner.awaits
    assert watch.next_look(now) == now + INTERVAL
    assert watch.next_look(now + INTERVAL) == math.inf
    assert owner.awaits


def test_a_worker_that_tells_is_looked_at_at_once(owner: Owner, watch: EndedWatch) -> None:
    watch.next_look(100.0)
    owner.end()
    watch.note_told()
    assert watch.next_look(100.001) == 100.001 + INTERVAL
    assert owner.has_taken == 1


def test_what_ends_while_the_workers_are_asked_to_tell_is_seen(
    owner: Owner, watch: EndedWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def end_after_the_first_look() -> int:
        looks.append(owner.has_taken)
        found = EndedWatch.look(watch)
        if len(looks) == 1:
            owner.end()
        return found

    monkeypatch.setattr(watch, "look", end_after_the_first_look)
    assert watch.next_look(100.0) == 100.0 + INTERVAL
    assert owner.has_taken == 1


def test_while_a_client_waits_for_room_each_end_is_told(
    owner: Owner, books: CountedRegistry, watch: EndedWatch
) -> None:
    owner.end()
    assert watch.next_look(100.0) == 100.0 + INTERVAL
    owner.end()
    books.on_room = lambda: None
    # At once, though the time for it has not come.
    assert watch.next_look(100.0) == math.inf
    assert owner.awaits
    assert owner.has_taken == 2
    owner.forget_waiting()
    owner.end()
    watch.note_told()
    assert watch.next_look(100.001) == math.inf
    assert owner.awaits
    assert owner.has_taken == 3
