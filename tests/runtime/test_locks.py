"""Latches and conditions: threads and fibers wait for what comes from anywhere."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from manyhands.runtime.caller import call_in_hub
from manyhands.runtime.locks import Condition, Latch
from manyhands.runtime.unpatched import brief_lock
from tests.support import wait_until
from tests.support.workers import WORKERS, Worker


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


def test_a_condition_wakes_from_any_thread(worker: Worker) -> None:
    box = Box()
    waiting = [worker.spawn(box.wait_for, n % 2 + 1) for n in range(20)]
    box.put(1)
    assert all(one.result(20) for one in waiting[::2])
    assert not any(one.done() for one in waiting[1::2])
    worker.do(box.put, 2)
    assert all(one.result(20) for one in waiting[1::2])


def test_a_wait_for_a_condition_ends_when_its_time_is_over(worker: Worker) -> None:
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
    lock = brief_lock()
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


def test_a_latch_wakes_all_that_wait_and_stays_set(worker: Worker) -> None:
    latch = Latch()
    waiting = [worker.spawn(latch.wait) for _ in range(20)]
    assert not worker.do(latch.wait, 0.01)
    assert not worker.do(latch.wait, 0)
    assert not latch.is_set()
    latch.set()
    assert [one.result(20) for one in waiting] == [True] * 20
    latch.set()
    assert worker.do(latch.wait)
    assert latch.is_set()


def test_threads_and_fibers_wait_for_the_same_latch() -> None:
    latch = Latch()
    with WORKERS["fibers"]() as fibers, WORKERS["threads"]() as threads:
        waiting = [worker.spawn(latch.wait, 20) for worker in (fibers, threads)]
        fibers.do(latch.set)
        assert [one.result(20) for one in waiting] == [True] * 2


def test_no_set_of_a_latch_is_missed(worker: Worker) -> None:
    for _ in range(300):
        latch = Latch()
        waiting = worker.spawn(latch.wait, 20)
        latch.set()
        assert waiting.result(20)


def test_a_call_in_a_hub_that_has_gone_does_nothing() -> None:
    gevent = pytest.importorskip("gevent")
    called = Latch()

    def begin_and_end() -> None:
        gevent.sleep(0)
        assert not called.wait(0.01)
        hub = gevent.get_hub()
        hub.destroy(destroy_loop=True)
        call_in_hub(hub, called.set)

    with ThreadPoolExecutor() as threads:
        threads.submit(begin_and_end).result(20)
    assert not called.is_set()


def test_a_signal_handler_sets_the_latch_that_its_own_thread_waits_for() -> None:
    latch = Latch()
    before = signal.signal(signal.SIGUSR1, lambda *_: latch.set())
    main = threading.main_thread().ident or 0
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    timer.start()
    began = time.monotonic()
    try:
        assert latch.wait(20)
        assert time.monotonic() - began < 15
    finally:
        signal.signal(signal.SIGUSR1, before)


# A thread of the system waits for fibers, fibers wait for it, and nothing else is active in their hub.
IN_A_PATCHED_PROGRAM = """
from gevent import monkey; monkey.patch_all()
import gevent, threading, time
from manyhands.runtime.locks import Condition, Latch
from manyhands.runtime.unpatched import original, start_native_thread

sleep = original(time, "sleep")
asked, answered, changed, seen = Latch(), Latch(), Condition(), []

def answer():
    assert asked.wait(20)
    sleep(0.1)
    with changed:
        seen.append("thread")
        changed.notify_all()
    sleep(0.1)
    answered.set()

start_native_thread(answer, name="answer")
other = gevent.spawn(lambda: seen.append("fiber"))
asked.set()
with changed:
    assert changed.wait_for(lambda: "thread" in seen, 20)
assert answered.wait()
print(*seen)
"""


def test_a_program_patched_by_gevent_waits_for_threads_of_the_system() -> None:
    pytest.importorskip("gevent")
    program = [sys.executable, "-c", IN_A_PATCHED_PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("fiber thread\n", "")


def test_without_gevent_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from manyhands.runtime.locks import Condition, Latch; latch = Latch()\n"
        "assert not latch.wait(0)\n"
        "print([name for name in sys.modules if name.startswith(('gevent', 'greenlet'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
