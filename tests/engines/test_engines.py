"""Each engine by its interface alone, with tasks that are no connections."""

import threading

import pytest

from manyhands.engines import ENGINES, Engine, ProcessesEngine, SequentialEngine, ThreadsEngine
from tests.support import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Work:
    """A task that goes on until it is released, or cut off."""

    def __init__(self, *, released: bool = False) -> None:
        self.release = threading.Event()
        self.began = threading.Event()
        self.handed_over = False
        if released:
            self.release.set()

    def process_request_thread(self) -> bool:
        self.began.set()
        self.release.wait(20)
        return True

    def hand_over(self) -> None:
        self.handed_over = True

    def cut_off(self) -> None:
        self.release.set()


@pytest.fixture
def made(engine: str) -> Engine:
    return ENGINES[engine]()


def test_each_engine_has_its_name(engine: str, made: Engine) -> None:
    assert made.name == engine


def test_a_new_engine_is_empty(made: Engine) -> None:
    assert (made.running(), list(made.tasks), made.has_room(), made.join(0)) == (0, [], True, True)
    made.reap()


def test_a_task_is_carried(made: Engine) -> None:
    made.start(Work(released=True))
    assert made.join(20)
    made.reap()
    assert made.running() == 0


def test_join_gives_up_in_time() -> None:
    for made in (ThreadsEngine(), ProcessesEngine()):
        work = Work()
        made.start(work)
        assert not made.join(0.05)
        assert (made.running(), list(made.tasks)) == (1, [work])
        made.cut_off()
        assert made.join(20)


def test_a_bound_is_kept_and_its_end_told() -> None:
    for made in (ThreadsEngine(), ProcessesEngine()):
        room: list[bool] = []
        made.on_room = lambda room=room, made=made: room.append(made.has_room())
        made.limit = 1
        made.start(Work())
        assert not made.has_room()
        made.cut_off()
        wait_until(lambda made=made, room=room: (made.reap(), room)[1])
        assert room == [True]
        made.join(20)


def test_a_full_engine_starts_a_task_when_there_is_room() -> None:
    for made in (ThreadsEngine(), ProcessesEngine()):
        made.limit = 1
        first = Work()
        made.start(first)
        timer = threading.Timer(0.05, made.cut_off)
        timer.start()
        second = Work(released=True)
        made.start(second)
        timer.join()
        assert made.join(20)


def test_the_sequential_engine_carries_a_task_in_the_caller() -> None:
    made, places = SequentialEngine(), []

    class Here(Work):
        def process_request_thread(self) -> bool:
            places.append((threading.current_thread(), made.running()))
            return True

    made.start(Here())
    assert places == [(threading.current_thread(), 1)]


def test_the_sequential_engine_raises_what_the_task_raises() -> None:
    class Broken(Work):
        def process_request_thread(self) -> bool:
            raise ZeroDivisionError

    made = SequentialEngine()
    with pytest.raises(ZeroDivisionError):
        made.start(Broken())
    assert (made.running(), made.join(0)) == (0, True)


def test_the_process_engine_hands_a_task_over() -> None:
    made, work = ProcessesEngine(), Work(released=True)
    made.start(work)
    assert work.handed_over
    assert not work.began.is_set()  # not in this process
    assert made.join(20)


def test_a_thread_that_ended_is_not_waited_for_and_not_kept() -> None:
    made = ThreadsEngine()
    for _ in range(100):
        made.start(Work(released=True))
    assert made.join(20)
    wait_until(lambda: threading.active_count() < 10)
    made.start(Work(released=True))
    made.join(20)
    assert len(made._ending) < 10
