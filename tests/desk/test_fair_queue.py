"""The lines that wait for the terminal."""

import threading

from manyhands.desk.screens import MOST_OFFERED, TURN, FairQueue
from tests.support import wait_until
from tests.support.workers import WORKERS, Worker


def test_what_one_source_brings_stays_in_order() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put(1, range(100))
    taken: list[int] = []
    while batch := queue.take(7):
        taken += batch
    assert taken == list(range(100))


def test_a_flood_does_not_delay_a_line_of_another_source() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(1, ["flood"] * 10_000)
    queue.put(2, ["hello"])
    assert "hello" in queue.take(TURN + 1)


def test_a_source_with_a_second_batch_waits_until_the_first_is_taken() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(1, ["one", "two"])
    second = threading.Thread(target=queue.put, args=(1, ["three"]))
    second.start()
    assert queue.take(1) == ["one"]
    assert queue.take(1) == ["two"]
    second.join()
    assert queue.take(9) == ["three"]


def test_a_source_does_not_wait_for_the_batch_of_another() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(1, ["one"])
    queue.put(2, ["two"])
    assert queue.take(9) == ["one", "two"]


def test_the_operators_own_thread_never_waits() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(None, ["one"])
    queue.put(None, ["two"])
    assert queue.take(9) == ["one", "two"]


def test_closing_frees_a_waiting_source_and_loses_nothing() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(1, ["one"])
    second = threading.Thread(target=queue.put, args=(1, ["two"]))
    second.start()
    queue.close()
    second.join()
    taken: list[str] = []
    wait_until(lambda: taken.extend(queue.take(1)) or taken == ["one", "two"])


def test_a_fiber_that_waits_for_the_reader_holds_up_no_other_fiber() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(1, ["one"])
    with WORKERS["fibers"]() as worker:
        second = worker.spawn(queue.put, 1, ["two"])
        worker.do(queue.put, 2, ["of another"])
        assert not second.done()
        assert queue.take(1) == ["one"]
        second.result(20)
    assert queue.take(9) == ["of another", "two"]


def test_a_reader_waits_for_something_to_take_until_the_queue_is_closed() -> None:
    queue: FairQueue[int] = FairQueue()
    taken: list[int] = []

    def read() -> None:
        while queue.wait():
            taken.extend(queue.take(9))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(3):
        queue.put(1, [number])
    queue.close()
    reader.join(20)
    assert taken == [0, 1, 2]


def test_a_source_with_nothing_to_say_is_not_in_the_queue_and_holds_up_nothing(
    worker: Worker,
) -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(2, ["of another"])
    # The second one waits for the first where an empty batch is one.
    worker.do(queue.put, 1, [])
    worker.do(queue.put, 1, [])
    worker.do(queue.put, None, [])
    worker.do(queue.put, 1, ["one"])
    assert queue.take(9) == ["of another", "one"]
    assert queue.take(9) == []


def test_a_source_that_must_not_wait_has_its_items_dropped_when_many_wait(worker: Worker) -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(MOST_OFFERED + 10):
        worker.do(queue.offer, 1, [number])
    taken = [item for batch in iter(lambda: queue.take(500), []) for item in batch]
    assert taken == list(range(MOST_OFFERED))


def test_a_source_whose_items_are_added_without_waiting_is_told_when_all_are_taken() -> None:
    queue: FairQueue[str] = FairQueue()
    told: list[str] = []
    queue.when_taken(1, lambda: told.append("nothing waits"))
    queue.put_soon(1, ["one"])
    queue.put_soon(1, ["two"])
    queue.when_taken(1, lambda: told.append("all is taken"))
    assert queue.take(1) == ["one"]
    assert told == ["nothing waits"]
    assert queue.take(9) == ["two"]
    assert told == ["nothing waits", "all is taken"]


def test_what_waits_to_be_told_is_told_when_the_queue_is_closed() -> None:
    queue: FairQueue[str] = FairQueue()
    told: list[str] = []
    queue.put_soon(1, ["one"])
    queue.when_taken(1, lambda: told.append("closed"))
    queue.close()
    queue.when_taken(1, lambda: told.append("closed before"))
    assert told == ["closed", "closed before"]
    assert queue.take(9) == ["one"]
    assert told == ["closed", "closed before"]
