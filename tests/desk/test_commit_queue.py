"""Commits of what many bring: in order, and together what comes at the same time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from manyhands.desk.commit_queue import CommitQueue
from tests.support import wait_until
from tests.support.workers import WORKERS, Worker


class Book:
    """A book in which whole transactions are written."""

    def __init__(self) -> None:
        self.pages: list[list[int]] = []
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.is_open = False

    @contextmanager
    def page(self) -> Iterator[None]:
        self.pages.append([])
        self.is_open = True
        try:
            yield
            assert self.may_commit.wait(20)
        except BaseException:
            self.pages.pop()
            raise
        finally:
            self.is_open = False

    def line(self, number: int) -> Callable[[], None]:
        return lambda: self.pages[-1].append(number)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def queue(book: Book) -> Iterator[CommitQueue]:
    queue = CommitQueue(book.page)
    yield queue
    queue.close()


def test_work_is_done_when_it_is_committed_and_not_before(
    book: Book, queue: CommitQueue, worker: Worker
) -> None:
    book.may_commit.clear()
    working = worker.spawn(queue.do, book.line(1))
    wait_until(lambda: book.pages == [[1]])
    assert not working.done()
    book.may_commit.set()
    working.result(20)
    assert not book.is_open


def test_what_comes_in_meanwhile_is_committed_together_and_in_order(
    book: Book, queue: CommitQueue, worker: Worker
) -> None:
    book.may_commit.clear()
    working = [worker.spawn(queue.do, book.line(0))]
    wait_until(lambda: book.pages == [[0]])
    for number in range(1, 20):
        working.append(worker.spawn(queue.do, book.line(number)))
        wait_until(lambda number=number: len(queue._waiting) == number)
    book.may_commit.set()
    for work in working:
        work.result(20)
    assert book.pages == [[0], list(range(1, 20))]


def test_a_fiber_that_waits_for_the_disk_holds_up_no_other_fiber(
    book: Book, queue: CommitQueue
) -> None:
    with WORKERS["fibers"]() as worker:
        book.may_commit.clear()
        working = worker.spawn(queue.do, book.line(1))
        assert worker.do(lambda: "still here") == "still here"
        assert not working.done()
        book.may_commit.set()
        working.result(20)


def test_a_failed_commit_fails_for_all_its_writers_and_the_next_goes_well(
    book: Book, queue: CommitQueue, worker: Worker
) -> None:
    book.may_commit.clear()
    first = worker.spawn(queue.do, book.line(0))
    wait_until(lambda: book.pages == [[0]])
    second = worker.spawn(queue.do, book.line(1))
    wait_until(lambda: len(queue._waiting) == 1)
    failing = worker.spawn(queue.do, lambda: {}[1])
    wait_until(lambda: len(queue._waiting) == 2)
    book.may_commit.set()
    first.result(20)
    for one in (second, failing):
        with pytest.raises(KeyError):
            one.result(20)
    worker.do(queue.do, book.line(2))
    assert book.pages == [[0], [2]]


def test_what_comes_after_the_end_is_committed_by_its_caller(
    book: Book, queue: CommitQueue
) -> None:
    queue.do(book.line(1))
    queue.close()
    queue.do(book.line(2))
    assert book.pages == [[1], [2]]


def test_without_a_thread_for_the_queue_work_is_done_all_the_same(
    book: Book, queue: CommitQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as shortage:
        shortage.setattr(threading.Thread, "start", refuse)
        queue.do(book.line(1))
    queue.do(book.line(2))
    assert book.pages == [[1], [2]]


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyhands.desk.commit_queue.SLOW", 0.05)


@pytest.mark.usefixtures("hurry")
def test_no_work_waits_for_a_commit_that_hangs_and_all_of_it_is_done_later(
    book: Book, worker: Worker
) -> None:
    noted: list[str] = []
    queue = CommitQueue(book.page, note_stuck=lambda: noted.append("stuck"), most_waiting=20)
    book.may_commit.clear()
    for number in range(4):
        assert worker.do(queue.do, book.line(number), 5)
    assert not worker.do(queue.do, book.line(99), 10, 3)
    assert noted == ["stuck"]
    book.may_commit.set()
    wait_until(lambda: not queue._is_stuck)
    assert worker.do(queue.do, book.line(4), 10)
    queue.close()
    assert [line for page in book.pages for line in page] == [0, 1, 2, 3, 4]
    assert (queue.take_lines_refused(), queue.take_lines_refused()) == (3, 0)


@pytest.mark.usefixtures("hurry")
def test_the_end_does_not_wait_for_a_commit_that_hangs(book: Book, queue: CommitQueue) -> None:
    book.may_commit.clear()
    assert queue.do(book.line(1))
    assert queue.do(book.line(2), lines=1)
    assert queue.lines_waiting == 1
    queue.close()
    assert not queue.do(book.line(3))
    book.may_commit.set()
