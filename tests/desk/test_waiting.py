"""Waiting in threads and in fibers, for what comes from anywhere."""

import errno
import threading
from collections.abc import Iterator

import pytest

from manyhands.desk import on_fibers
from manyhands.desk.waiting import Condition
from tests.desk.workers import WORKERS, Worker
from tests.support import wait_until


@pytest.fixture(params=list(WORKERS))
def worker(request: pytest.FixtureRequest) -> Iterator[Worker]:
    """Who waits: a thread, or a fiber."""
    with WORKERS[request.param]() as worker:
        yield worker


class Box:
    """Something that is waited for."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.content = 0

    def put(self, content: int) -> None:
        with self.changed:
            self.content = content
            self.changed.notify_all()

    def wait_for(self, content: int, seconds: float | None = None) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.content >= content, seconds)


def test_who_waits_is_woken_from_any_thread(worker: Worker) -> None:
    box = Box()
    waiting = [worker.spawn(box.wait_for, n % 2 + 1) for n in range(20)]
    box.put(1)
    assert all(one.result(20) for one in waiting[::2])
    assert not any(one.done() for one in waiting[1::2])
    worker.do(box.put, 2)
    assert all(one.result(20) for one in waiting[1::2])


def test_a_wait_ends_when_its_time_is_over(worker: Worker) -> None:
    box = Box()
    assert not worker.do(box.wait_for, 1, 0.01)
    assert not worker.do(box.wait_for, 1, 0)
    box.put(1)
    assert worker.do(box.wait_for, 1, 0)


def test_a_fiber_waits_and_is_woken_by_another_fiber_of_its_thread() -> None:
    box = Box()
    with WORKERS["fibers"]() as worker:
        waiting = worker.spawn(box.wait_for, 1)
        worker.do(box.put, 1)
        assert waiting.result(20)


def test_a_wake_and_the_end_of_the_time_at_once_wake_once(worker: Worker) -> None:
    box = Box()

    def wait_again_and_again() -> int:
        return sum(box.wait_for(1000, 0.0001) for _ in range(200))

    waiting = [worker.spawn(wait_again_and_again) for _ in range(5)]
    for _ in range(500):
        box.put(1)
    assert [one.result(20) for one in waiting] == [0] * 5


def test_several_conditions_share_a_lock(worker: Worker) -> None:
    lock = threading.Lock()
    one, other = Condition(lock), Condition(lock)
    seen: list[str] = []

    def wait() -> None:
        with one:
            one.wait_for(lambda: "it" in seen)
            seen.append("seen")

    waiting = worker.spawn(wait)
    with other:
        seen.append("it")
        other.notify_all()
        one.notify_all()
    waiting.result(20)
    wait_until(lambda: seen == ["it", "seen"])


class GivenUp:
    """A connection that the kernel has given up, when keep-alive got no answer: nothing does that at once."""

    def settimeout(self, seconds: float | None) -> None:
        pass

    def recv(self, size: int) -> bytes:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")


def test_a_connection_that_the_kernel_gave_up_is_lost_and_not_silent() -> None:
    watch = on_fibers.Watch(GivenUp(), hub=None)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        watch.receive(100)
