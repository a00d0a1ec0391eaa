"""Each engine by its interface alone, with tasks that are no connections."""

import select
import threading
from collections import deque
from typing import Any

import pytest

from manyhands.engines import ENGINES, Engine, ProcessesEngine, SequentialEngine, ThreadsEngine
from tests.support import forked, run_python, wait_until

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

    def copy_to_keep(self) -> None:
        """Keep nothing."""

    def hand_over(self, kept: object) -> None:
        self.handed_over = True

    def cut_off(self) -> None:
        self.release.set()

    is_to_be_opened = False

    def note_step(self, number: int) -> None:
        """Take no notice."""

    def word_for_parent(self) -> int:
        return 0

    def worker_ended(self, status: int, word: int) -> None:
        self.status = status


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
    # One that is still busy with its end is looked at again later, and so are those after it.
    wait_until(lambda: not any(thread.is_alive() for thread in made._ending))
    made.start(Work(released=True))
    assert made.join(20)
    assert len(made._ending) <= 1


@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_a_task_that_joins_its_engine_does_not_wait_for_itself(made: Engine) -> None:
    joined: list[bool] = []

    class Closing(Work):
        def process_request_thread(self) -> bool:
            joined.append(made.join(10))
            return True

    made.start(Closing())
    assert made.join(20)
    assert joined == [True]


def test_a_task_that_joins_its_engine_waits_for_the_others() -> None:
    made, other, ended = ThreadsEngine(), Work(), []

    class Closing(Work):
        def process_request_thread(self) -> bool:
            self.began.set()
            made.join(20)
            ended.append(other.release.is_set())
            return True

    made.start(other)
    closing = Closing()
    made.start(closing)
    assert closing.began.wait(20)
    other.release.set()
    assert made.join(20)
    assert ended == [True]


def test_another_thread_may_take_a_thread_that_ended_out_of_the_set_first() -> None:
    class Raced(deque[Any]):
        """Empty by the time that one of those that it had is wanted."""

        def __len__(self) -> int:
            return 1

    made = ThreadsEngine()
    made._ending = Raced()
    made.reap()


STARTED_BY_SEVERAL_THREADS = """
    import faulthandler, os, sys, threading, time, warnings
    from manyhands.engines import ENGINES
    warnings.simplefilter("ignore")
    faulthandler.dump_traceback_later(50, exit=True)
    sys.setswitchinterval(1e-6)

    class Work:
        def process_request_thread(self):
            time.sleep(0.001)
            return True
        def copy_to_keep(self):
            pass
        def hand_over(self, kept):
            pass
        def cut_off(self):
            pass
        is_to_be_opened = False
        def note_step(self, number):
            pass
        def word_for_parent(self):
            return 0
        def worker_ended(self, status, word):
            pass

    engine = ENGINES[sys.argv[1]]()
    engine.limit, most, failures = 3, [], []

    def start():
        try:
            for _ in range(40):
                engine.start(Work())
                most.append(engine.running())
                engine.reap()
        except BaseException as error:
            failures.append(error)

    starters = [threading.Thread(target=start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    print(len(most), max(most) <= 3, failures, engine.join(20), engine.running())
    sys.stdout.flush()
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child is left")
"""


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_several_threads_may_start_tasks_and_the_bound_is_kept(name: str) -> None:
    output = run_python(STARTED_BY_SEVERAL_THREADS, name)
    assert output.splitlines() == ["160 True [] True 0", "no child is left"]


@pytest.mark.parametrize(
    ("engine", "lock"),
    [("sequential", "_changed"), ("threads", "_changed"), ("processes", "_lock")],
)
def test_a_lock_that_another_thread_holds_is_free_in_a_copy_of_the_process(
    made: Engine, lock: str
) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(made, lock):
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)

    def use_it() -> bool:
        made.start(Work(released=True))
        return made.join(20) and not made.tasks

    with forked(use_it) as wait:
        assert wait() == 0
    release.set()
    holder.join()


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_copy_of_the_process_has_threads_of_its_own(made: Engine) -> None:
    made.limit = 2
    first, second = Work(), Work()
    made.start(first)
    made.start(second)

    def serve() -> bool:
        was_empty = made.running() == 0 and not made.tasks and made.has_room() and made.join(0)
        work = Work(released=True)
        made.start(work)
        return was_empty and made.join(20)

    with forked(serve) as wait:
        assert wait() == 0
    assert (made.running(), made.has_room()) == (2, False)
    made.cut_off()
    assert made.join(20)


def test_a_copy_of_the_process_that_joins_leaves_the_original_s_children_alone() -> None:
    # What watches the children is shared: a watcher that takes something out of it takes it from both.
    made = ProcessesEngine()
    made.start(Work())
    descriptor = made.fileno()
    with forked(lambda: made.join(5)) as wait:
        assert wait() == 0
    made.cut_off()
    ready, _, _ = select.select([descriptor], [], [], 20)
    assert ready == [descriptor]
    made.reap()
    assert made.running() == 0


def test_the_last_of_two_that_wait_for_children_hears_of_their_end() -> None:
    made = ProcessesEngine()
    made.start(Work())
    joined: list[bool] = []
    waiting = [threading.Thread(target=lambda: joined.append(made.join(20))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    made.cut_off()
    wait_until(lambda: (made.reap(), made.running() == 0)[1])
    for thread in waiting:
        thread.join(20)
    assert joined == [True] * 3
    assert made.fileno() == -1


def test_a_thread_that_waits_for_the_set_of_threads_is_not_waited_for() -> None:
    made, joined = ThreadsEngine(), threading.Event()

    class Closing(Work):
        def process_request_thread(self) -> bool:
            made.join_workers()
            joined.set()
            return True

    made.start(Closing())
    assert joined.wait(20)
    assert made.join(20)
