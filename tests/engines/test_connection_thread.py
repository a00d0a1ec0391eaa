"""The thread of one conversation: when it has begun, and when it has ended."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from manyhands.engines.threads import ConnectionThread, Threads, ThreadsEngine
from tests.support import run_python, wait_until
from tests.support.waiting import PATIENCE


class Work:
    """A task that goes on until it is released."""

    client_address = None
    handler = "Work"

    def __init__(self) -> None:
        self.release = threading.Event()

    def process_request_thread(self) -> bool:
        return self.release.wait(PATIENCE)

    def copy_to_keep(self) -> None:
        raise NotImplementedError

    def hand_over(self, kept: object) -> None:
        raise NotImplementedError

    def cut_off(self) -> None:
        self.release.set()

    is_to_be_opened = False

    def note_step(self, number: int) -> None:
        raise NotImplementedError

    def word_for_parent(self) -> int:
        raise NotImplementedError

    def worker_ended(self, status: int, word: int) -> None:
        raise NotImplementedError


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.release.set()


def start(work: Work) -> ConnectionThread:
    thread = ConnectionThread(work, lambda *_: None, daemon=False)
    thread.start()
    return thread


def test_a_thread_has_begun_and_then_has_ended(work: Work) -> None:
    thread = start(work)
    assert thread.has_begun()
    assert not thread.has_ended()
    work.release.set()
    wait_until(thread.has_ended)
    assert thread.has_begun()


def test_a_thread_that_was_never_started_is_not_waited_for(work: Work) -> None:
    threads = Threads()
    threads.keep(ConnectionThread(work, lambda *_: None, daemon=False))
    threads.join()
    assert len(threads) == 0


def test_what_no_thread_could_be_had_for_has_neither_begun_nor_ended(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    is_new = sys.version_info >= (3, 13)
    monkeypatch.setattr(
        threading, "_start_joinable_thread" if is_new else "_start_new_thread", refuse
    )
    engine = ThreadsEngine()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        engine.start(work)
    assert len(engine.threads) == engine.running() == 0


def test_a_thread_that_forked_is_alive_in_the_copy_too() -> None:
    said = run_python(
        """
        import os, sys, threading, warnings
        from manyhands.engines.threads import ThreadsEngine
        warnings.simplefilter("ignore")

        class Work:
            def process_request_thread(self):
                pid = os.fork()
                if not pid:
                    print(threading.current_thread().is_alive(), flush=True)
                    os._exit(0)
                os.waitpid(pid, 0)
                print(threading.current_thread().is_alive(), flush=True)

        engine = ThreadsEngine()
        engine.start(Work())
        engine.join()
        """
    )
    assert said.split() == ["True", "True"]


# Earlier versions wait for each thread.
if sys.version_info >= (3, 13):

    @pytest.fixture
    def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
        """Have the threads that are started begin only when this is called."""
        may_begin = threading.Event()

        def begin_late(thread: ConnectionThread) -> None:
            may_begin.wait(PATIENCE)
            threading.Thread._bootstrap(thread)  # type: ignore[attr-defined]

        monkeypatch.setattr(ConnectionThread, "_bootstrap", begin_late, raising=False)
        yield may_begin.set
        may_begin.set()

    def test_starting_a_thread_does_not_wait_until_it_begins(
        work: Work, begin: Callable[[], None]
    ) -> None:
        thread = start(work)
        assert not thread.has_ended()
        begin()
        assert thread.has_begun()

    def test_a_thread_that_has_not_begun_is_alive_and_can_be_joined(
        work: Work, begin: Callable[[], None]
    ) -> None:
        thread = start(work)
        assert thread in threading.enumerate()
        thread.join(0.01)
        assert thread.is_alive()
        with pytest.raises(RuntimeError, match="only be started once"):
            thread.start()
        begin()
        work.release.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    def test_let_begin_waits_until_the_thread_has_begun(
        work: Work, begin: Callable[[], None]
    ) -> None:
        engine = ThreadsEngine()
        engine.start(work)
        letting = threading.Thread(target=engine.let_begin)
        letting.start()
        assert letting.is_alive()
        begin()
        letting.join(PATIENCE)
        assert not letting.is_alive()

    def test_a_thread_that_has_not_begun_is_waited_for(
        work: Work, begin: Callable[[], None]
    ) -> None:
        engine = ThreadsEngine()
        engine.start(work)
        engine.threads.reap()
        assert len(engine.threads) == 1
        joining = threading.Thread(target=engine.threads.join)
        joining.start()
        begin()
        work.release.set()
        joining.join(PATIENCE)
        assert not joining.is_alive()
        assert engine.running() == 0

    def test_the_interpreters_exit_waits_for_a_thread_that_has_not_begun() -> None:
        said = run_python(
            """
            import threading, time
            from manyhands.engines.threads import ConnectionThread

            class Work:
                def process_request_thread(self):
                    print("served", flush=True)

            bootstrap = threading.Thread._bootstrap
            def late(thread):
                time.sleep(0.3)
                bootstrap(thread)
            ConnectionThread._bootstrap = late
            ConnectionThread(Work(), lambda *_: None, daemon=False).start()
            """
        )
        assert "served" in said
