"""The queue between a server and a slow subscriber: bounded, counted, and never in the way."""

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from manyhands import Server, StreamRequestHandler, events, logs
from manyhands.logs import BoundedQueue
from manyhands.testing import ask, socket_address
from tests.support import forked, python, run_python, wait_until
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")


class Slow:
    """A consumer that waits until it is told to go on."""

    def __init__(self) -> None:
        self.consumed: list[Any] = []
        self.may_go_on = threading.Event()
        self.is_at_work = threading.Event()

    def __call__(self, item: Any) -> None:
        self.is_at_work.set()
        assert self.may_go_on.wait(PATIENCE)
        self.consumed.append(item)


def queue_of(consume: Any, limit: int = 1000) -> BoundedQueue[Any]:
    return BoundedQueue(consume, lambda count: f"{count} dropped", limit)


def test_items_are_consumed_in_their_order_by_another_thread() -> None:
    consumed: list[tuple[int, int]] = []
    queue = queue_of(lambda item: consumed.append((item, threading.get_ident())))
    for number in range(100):
        queue.put(number)
    assert queue.close(PATIENCE)
    assert [number for number, _ in consumed] == list(range(100))
    assert threading.get_ident() not in {thread for _, thread in consumed}


def test_what_finds_the_queue_full_is_dropped_counted_and_told_of() -> None:
    slow = Slow()
    queue = queue_of(slow, limit=3)
    queue.put("first")
    assert slow.is_at_work.wait(PATIENCE)
    for number in range(10):
        queue.put(number)
    assert queue.dropped == 7
    slow.may_go_on.set()
    assert queue.close(PATIENCE)
    assert slow.consumed == ["first", "7 dropped", 0, 1, 2]


def test_a_consumer_that_does_not_come_to_an_end_is_waited_for_no_longer_than_said() -> None:
    slow = Slow()
    queue = queue_of(slow)
    queue.put("first")
    assert not queue.close(0.01)
    slow.may_go_on.set()
    wait_until(lambda: slow.consumed == ["first"])


def test_a_consumer_that_raises_is_reported_and_gets_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, traceback: reported.append(error))
    consumed: list[int] = []

    def consume(item: int) -> None:
        consumed.append(item)
        if item == 0:
            raise ZeroDivisionError

    queue = queue_of(consume)
    queue.put(0)
    queue.put(1)
    assert queue.close(PATIENCE)
    assert consumed == [0, 1]
    assert [type(error) for error in reported] == [ZeroDivisionError]


def test_a_closed_queue_can_be_used_again() -> None:
    consumed: list[int] = []
    queue = queue_of(consumed.append)
    for number in range(3):
        queue.put(number)
        assert queue.close(PATIENCE)
    assert queue.close(PATIENCE)
    assert consumed == [0, 1, 2]


def test_a_forked_copy_has_a_thread_of_its_own_and_none_of_the_original_s_items() -> None:
    slow = Slow()
    queue = queue_of(slow)
    queue.put("of the original")
    assert slow.is_at_work.wait(PATIENCE)
    queue.put("waits in the original")

    def in_the_copy() -> bool:
        slow.may_go_on = threading.Event()
        slow.may_go_on.set()
        queue.put("of the copy")
        return queue.close(PATIENCE) and slow.consumed == ["of the copy"]

    with forked(in_the_copy) as wait:
        assert wait() == 0
    slow.may_go_on.set()
    assert queue.close(PATIENCE)
    assert slow.consumed == ["of the original", "waits in the original"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("no")], ids=repr)
def test_a_consumer_that_exits_gets_the_next_though_the_hook_fails(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "excepthook", full_disk)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    consumed: list[int] = []

    def consume(item: int) -> None:
        consumed.append(item)
        raise error

    queue = queue_of(consume)
    for number in range(3):
        queue.put(number)
    assert queue.close(PATIENCE)
    assert consumed == [0, 1, 2]


class Said(StreamRequestHandler):
    """Emits an event for each line, in whatever process it runs."""

    def handle(self) -> None:
        for line in self.rfile:
            events.hub.emit(events.NothingToReload(line.decode().strip()))
            self.wfile.write(line)


def test_what_happens_in_a_handler_s_process_is_consumed_in_that_of_its_server() -> None:
    consumed: list[tuple[str, int]] = []
    queue = logs.Queued(lambda event: consumed.append((event.signal, os.getpid())))
    unsubscribe = events.hub.subscribe(queue, events.NothingToReload)
    with Server(Said, "tcp://127.0.0.1:0", engine="processes") as server:
        for number in range(5):
            said = f"{number}\n".encode()
            assert ask(socket_address(server.addresses[0]), said) == said
    unsubscribe()
    assert queue.close(PATIENCE)
    assert consumed == [(str(number), os.getpid()) for number in range(5)]


class Unspeakable(StreamRequestHandler):
    """Puts what no other process can be handed, and then what can."""

    queue: BoundedQueue[Any]

    def handle(self) -> None:
        for line in self.rfile:
            self.queue.put(lambda: None)
            self.queue.put("x" * 1_000_000)
            self.queue.put("said")
            self.wfile.write(line)


def test_what_cannot_be_handed_to_another_process_is_dropped_and_told_of() -> None:
    consumed: list[Any] = []
    Unspeakable.queue = queue_of(consumed.append)
    with Server(Unspeakable, "tcp://127.0.0.1:0", engine="processes") as server:
        assert ask(socket_address(server.addresses[0])) == b"hello\n"
    assert Unspeakable.queue.close(PATIENCE)
    assert consumed == ["1 dropped", "1 dropped", "said"]


class OneArgumentShortError(Exception):
    """Can be pickled, and not unpickled: what `Exception` keeps of its arguments is one short."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


class Troublesome(StreamRequestHandler):
    queue: BoundedQueue[Any]

    def handle(self) -> None:
        for line in self.rfile:
            self.queue.put(OneArgumentShortError("an error", "a handler"))
            self.queue.put("said")
            self.wfile.write(line)


def test_what_the_process_of_the_server_cannot_make_again_is_dropped_and_told_of() -> None:
    consumed: list[Any] = []
    Troublesome.queue = queue_of(consumed.append)
    with Server(Troublesome, "tcp://127.0.0.1:0", engine="processes") as server:
        for _ in range(2):
            assert ask(socket_address(server.addresses[0])) == b"hello\n"
    assert Troublesome.queue.close(PATIENCE)
    assert Troublesome.queue.dropped == 2
    assert consumed.count("said") == 2


def test_the_thread_of_a_log_is_no_reason_to_warn_of_a_fork() -> None:
    assert not run_python(
        """
        import threading
        from manyhands import events, logs, testing
        from manyhands.socketserver import BaseRequestHandler, ForkingTCPServer

        # `logging` asks for the thread of each record, and `threading` knows ours from then on.
        queue = logs.BoundedQueue(lambda _: threading.current_thread(), str)
        queue.put("something")
        while threading.active_count() == 1:
            pass
        events.hub.subscribe(print, events.ForkedWithThreads)
        with ForkingTCPServer(("127.0.0.1", 0), BaseRequestHandler) as server:
            with testing.peers.call(server.server_address):
                server.handle_request()
        """
    )


@contextmanager
def no_threads() -> Iterator[None]:
    """Have the system refuse threads: none of its address spaces holds such a stack."""
    threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(0)


def test_what_finds_no_thread_is_kept_until_there_is_one() -> None:
    consumed: list[int] = []
    queue = queue_of(consumed.append, limit=3)
    with no_threads():
        for number in range(5):
            queue.put(number)
        assert consumed == []
    queue.put(5)
    wait_until(lambda: len(consumed) == 4)
    assert queue.close(PATIENCE)
    assert consumed == [0, "3 dropped", 1, 2]


def test_what_never_finds_a_thread_is_consumed_at_the_end() -> None:
    consumed: list[int] = []
    queue = queue_of(consumed.append)
    with no_threads():
        queue.put(0)
        queue.put(1)
        assert queue.close(PATIENCE)
        assert consumed == [0, 1]
        queue.put(2)
    queue.put(3)
    assert queue.close(PATIENCE)
    assert consumed == [0, 1, 2, 3]


def test_a_finalizer_that_puts_an_item_in_the_middle_of_another_put_waits_for_no_lock() -> None:
    finished = python(
        "-c",
        "import gc, os\n"
        "from manyhands import logs\n"
        "queue = logs.BoundedQueue(print, str)\n"
        "class Cycle:\n"
        "    def __init__(self): self.itself = self\n"
        "    def __del__(self): queue.put('finalized')\n"
        "gc.set_threshold(1)\n"
        "for number in range(2000):\n"
        "    Cycle()\n"
        "    queue.put(number)\n"
        "    if number % 100 == 0: queue.close(10)\n"
        "queue.close(10)\n",
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_exit_of_the_interpreter_waits_for_what_is_queued() -> None:
    finished = python(
        "-c",
        "from manyhands import events, logs\n"
        "events.hub.subscribe(logs.Queued(print))\n"
        "for number in range(100): events.hub.emit(events.ForkedWithThreads(number))\n",
    )
    assert finished.stderr == ""
    assert len(finished.stdout.splitlines()) == 100


class Lonely(StreamRequestHandler):
    """Says one thing."""

    queue: BoundedQueue[Any]

    def handle(self) -> None:
        for line in self.rfile:
            self.queue.put("said")
            self.wfile.write(line)


def test_a_handler_s_process_that_cannot_reach_its_server_consumes_by_itself(
    tmp_path: Path,
) -> None:
    file, here = tmp_path / "said", os.getpid()
    Lonely.queue = queue_of(lambda item: file.write_text(f"{item}, {os.getpid() != here}"))
    with Server(Lonely, "tcp://127.0.0.1:0", engine="processes") as server:
        # Once the accept loop's own thread runs.
        wait_until(lambda: server.engine.running() == 0 and server.addresses)
        with no_threads():
            assert ask(socket_address(server.addresses[0])) == b"hello\n"
    assert file.read_text() == "said, True"
