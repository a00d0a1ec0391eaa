"""The fiber engine by itself: with tasks that are no connections."""

import importlib.util
import threading

import gevent
import pytest

from manyhands.engines.fibers.engine import FibersEngine
from manyhands.engines.fibers.poller import IS_COMPILED
from manyhands.runtime.compiled import IS_PURE_PYTHON_WANTED
from tests.engines.test_engines import Work
from tests.support.waiting import PATIENCE, wait_until


def test_the_poller_that_was_compiled_is_the_one_in_use() -> None:
    # One that cannot be imported is passed over without a word.
    is_there = importlib.util.find_spec("manyhands.engines.fibers._poller") is not None
    assert (is_there and not IS_PURE_PYTHON_WANTED) == IS_COMPILED


def test_a_task_for_which_no_thread_could_be_had_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    engine = FibersEngine()
    with monkeypatch.context() as shortage:
        shortage.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            engine.start(Work(released=True))
    assert engine.running() == 0
    engine.start(Work(released=True))
    assert engine.join(PATIENCE)


def test_how_late_the_hub_is_can_be_asked_for_once_there_is_one() -> None:
    engine = FibersEngine()
    assert engine.hub_delay(1.0) is None
    delays: list[float | None] = []

    class Asking(Work):
        def process_request_thread(self) -> bool:
            delays.append(engine.hub_delay(1.0))
            return True

    engine.start(Asking())
    assert engine.join(PATIENCE)
    assert delays == [None]  # in the hub's own thread
    is_held, release = threading.Event(), threading.Event()
    engine.beside(lambda: (is_held.set(), release.wait(PATIENCE)))
    assert is_held.wait(PATIENCE)
    assert engine.hub_delay(0.05) == 0.05
    release.set()
    delay = engine.hub_delay(PATIENCE)
    assert delay is None or delay < PATIENCE
    assert engine.join(PATIENCE)


def test_how_late_the_hub_was_is_told_without_waiting_for_it() -> None:
    engine = FibersEngine()
    assert engine.hub_lateness() is None
    is_held, release, is_over = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        is_held.set()
        release.wait(PATIENCE)
        while not is_over.is_set():
            gevent.sleep(0.01)

    engine.beside(stay)
    assert is_held.wait(PATIENCE)
    assert engine.hub_lateness() is None  # it has not answered yet
    wait_until(lambda: (engine.hub_lateness() or 0) > 0.05)
    release.set()
    # Of the look that was under way; then of one that was answered at once.
    wait_until(lambda: (engine.hub_lateness() or PATIENCE) < 0.05)
    is_over.set()
    engine.join_workers()
