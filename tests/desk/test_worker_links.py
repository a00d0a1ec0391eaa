"""The links between a desk and its workers: what makes no sense, who does not read, who is not there."""

import io
import socket
from collections.abc import Callable, Iterator

import pytest

from manyhands.dealing import channel
from manyhands.dealing.frames import Frame, FrameReader, pack
from manyhands.desk import link_at_desk
from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.link_at_worker import DeskElsewhere
from manyhands.desk.link_frames import KINDS, Kind, body_of, value
from manyhands.desk.messages import Message
from manyhands.desk.speaker_elsewhere import say_to_all
from manyhands.desk.switchboard import Switchboard
from tests.desk.links_kit import Desk, WorkerByHand, desk_for_workers, desk_on
from tests.desk.test_operator import Page
from tests.support import wait_until
from tests.support.waiting import PATIENCE
from tests.support.workers import Worker


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desk_for_workers() as desk:
        yield desk


class SlowPage(Page):
    """A screen that does not catch up with one of the callers, until it is told to."""

    def __init__(self, slow: int) -> None:
        super().__init__()
        self._slow = slow
        self.waiting: list[Callable[[], object]] = []

    def when_caught_up(self, source: int, then: Callable[[], object]) -> None:
        if source == self._slow:
            self.waiting.append(then)
        else:
            then()


def test_a_caller_is_answered_when_the_screen_has_caught_up_and_holds_up_no_other() -> None:
    page = SlowPage(slow=1)
    with desk_on(page, io.StringIO()) as desk:
        worker = WorkerByHand(desk)
        worker.says(Kind.TAKE, 5, "somewhere")
        wait_until(lambda: page.waiting)
        for number in range(3):
            worker.says(Kind.TAKE, 6 + number, "elsewhere")
            assert worker.hears().number == 6 + number
        assert page.lines[0] == "-- 1 somewhere has called in"
        page.waiting.pop()()
        assert worker.hears().number == 5


def test_many_calls_of_a_worker_are_taken_at_once_and_each_is_answered(desk: Desk) -> None:
    worker = WorkerByHand(desk)
    frames = [pack(Kind.TAKE, number, body_of(f"peer{number}")) for number in range(1, 101)]
    worker.socket.sendall(b"".join(frames))
    answers = [worker.hears() for _ in range(100)]
    assert {each.number for each in answers} == set(range(1, 101))
    assert {(each.kind, value(each.body)) for each in answers} == {(Kind.DONE, False)}
    assert [call.peer for call in desk.switchboard.calls] == [f"peer{n}" for n in range(1, 101)]
    say_to_all([call.connection for call in desk.switchboard.calls], "hello")
    # Once, for all of them.
    told = worker.hears()
    assert told.kind == Kind.SAY_ALL
    assert value(told.body) == (list(range(1, 101)), "hello")


@pytest.mark.parametrize(
    "nonsense",
    [b"\xff" * 64, pack(Kind.HEAR, 99, body_of([])), pack(Kind.TAKE, 1, b"\xff\xff")],
    ids=["bytes", "of no call", "no value"],
)
def test_a_worker_that_makes_no_sense_is_cut_off_with_its_calls_and_no_others(
    desk: Desk, nonsense: bytes
) -> None:
    worker, other = WorkerByHand(desk), WorkerByHand(desk)
    worker.says(Kind.TAKE, 5, "somewhere")
    assert worker.hears().kind == Kind.DONE
    other.says(Kind.TAKE, 5, "elsewhere")
    assert other.hears().kind == Kind.DONE
    worker.socket.sendall(nonsense)
    assert worker.hears_the_end()
    wait_until(lambda: "1 somewhere has left: the worker that held" in desk.shown.getvalue())
    assert [call.peer for call in desk.switchboard.calls] == ["elsewhere"]
    other.says(Kind.HEAR, 5, [("hello", None)])
    assert other.hears().kind == Kind.DONE


def test_what_waits_for_a_worker_that_does_not_read_is_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_at_desk, "_SAID", channel.Terms(1000, 100_000, "close"))
    worker = WorkerByHand(desk)
    worker.says(Kind.TAKE, 5, "somewhere")
    wait_until(lambda: desk.switchboard.calls)
    (call,) = desk.switchboard.calls
    while call.connection.say("x" * 1000):
        pass
    wait_until(lambda: not desk.switchboard.calls)
    assert worker.hears_the_end()


def test_a_call_that_its_worker_forgets_is_on_the_line_no_more(desk: Desk) -> None:
    worker = WorkerByHand(desk)
    worker.says(Kind.TAKE, 5, "somewhere")
    assert worker.hears().kind == Kind.DONE
    worker.says(Kind.FORGET, 5)
    wait_until(lambda: not desk.switchboard.calls)
    worker.says(Kind.FORGET, 5)
    worker.says(Kind.TAKE, 6, "elsewhere")
    assert worker.hears().number == 6


def test_a_worker_that_comes_while_the_desk_closes_is_told_so(desk: Desk) -> None:
    desk.switchboard.close()
    worker = WorkerByHand(desk)
    worker.says(Kind.TAKE, 5, "somewhere")
    said, done = worker.hears(), worker.hears()
    assert (said.kind, said.body) == (Kind.SAY, b"desk: the desk is closing")
    assert (done.kind, value(done.body)) == (Kind.DONE, True)
    assert not desk.links.end_calls(0.0)
    assert worker.hears().kind == Kind.CLOSING
    worker.says(Kind.KNOWS)
    worker.says(Kind.FORGET, 5)
    assert desk.links.end_calls(20.0)


def test_a_call_whose_desk_has_gone_ends_with_a_word(worker: Worker) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    here, there = socket.socketpair()
    lost: list[bool] = []

    def serve() -> tuple[bool, Ending | None]:
        link = DeskElsewhere(listener.getsockname(), 1, lambda: lost.append(True))
        link.start()
        connection = CallIO(here, 10_000)
        call = link.take(connection, "somewhere", 7)
        # And what comes later is answered at once.
        assert not call.hear([Message("hello")])
        call.leave(Ending.HUNG_UP)
        late = link.take(connection, "somewhere", 8)
        return late.came_too_late, connection.ending

    serving = worker.spawn(serve)
    desk, _ = listener.accept()
    frames = FrameReader(KINDS)
    heard: list[Frame] = []
    while len(heard) < 2:
        heard += frames.feed(desk.recv(65536))
    assert [each.kind for each in heard] == [Kind.HELLO, Kind.TAKE]
    desk.close()
    # Its process is there, so it has given up this worker.
    assert serving.result(20) == (True, Ending.WORKER_LEFT)
    assert there.recv(100).startswith(b"desk: this line is closed for maintenance")
    wait_until(lambda: lost == [True])


def test_a_call_that_a_drain_ends_with_its_link_has_one_goodbye(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = DeskElsewhere(desk.links.address, 1)
    link.start()
    here, _ = socket.socketpair()
    connection = CallIO(here, 10_000)
    call = link.take(connection, "somewhere", 7)
    said: list[str] = []

    def say(text: str) -> bool:
        said.append(text)
        link.dismiss(7)  # as from another thread, before the call is hung up
        return True

    monkeypatch.setattr(connection, "say", say)
    link.end(call)
    assert len(said) == 1
    assert connection.ending == Ending.WORKER_LEFT
    link.close()


def test_the_last_word_of_a_worker_comes_after_all_that_waits_for_a_desk_that_reads_slowly(
    worker: Worker,
) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    link = DeskElsewhere(listener.getsockname(), 1)
    link.start()
    desk, _ = listener.accept()
    for number in range(20_000):
        link.send(Kind.FORGET, number)
    closing = worker.spawn(link.close)
    frames = FrameReader(KINDS)
    heard: list[Frame] = []
    desk.settimeout(PATIENCE)
    while (not heard or heard[-1].kind != Kind.ENDS) and (data := desk.recv(65536)):
        heard += frames.feed(data)
    kinds = [each.kind for each in heard]
    assert kinds == [Kind.HELLO, *[Kind.FORGET] * 20_000, Kind.ENDS]
    desk.close()
    closing.result(20)
    listener.close()


def test_a_desk_that_is_not_there_is_an_error() -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind("")
        address = gone.getsockname()
    with pytest.raises(ConnectionRefusedError):
        DeskElsewhere(address, 1).start()


def test_a_fault_of_the_desk_is_the_failure_of_the_one_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    worker = WorkerByHand(desk)
    worker.says(Kind.TAKE, 5, "somewhere")
    assert worker.hears().kind == Kind.DONE
    monkeypatch.setattr(Switchboard, "spoke", fail)
    worker.says(Kind.HEAR, 5, [("hello", None)])
    assert worker.hears().kind == Kind.FAILED
    monkeypatch.undo()
    wait_until(lambda: not desk.switchboard.calls)
    worker.says(Kind.TAKE, 6, "elsewhere")
    assert worker.hears().kind == Kind.DONE
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_handler_goes_on_when_the_desk_has_kept_and_shown_what_was_said(worker: Worker) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    here, there = socket.socketpair()
    heard: list[bool] = []

    def serve() -> None:
        link = DeskElsewhere(listener.getsockname(), 1)
        link.start()
        call = link.take(CallIO(here, 10_000), "somewhere", 7)
        said = [Message("hello"), Message("?", is_repaired=True, original=b"x")]
        for _ in range(2):
            is_over = call.hear(said)
            heard.append(is_over)
        link.close()

    serving = worker.spawn(serve)
    desk, _ = listener.accept()
    desk.settimeout(PATIENCE)
    frames = FrameReader(KINDS)
    come: list[Frame] = []

    def next_frame() -> Frame:
        while not come:
            data = desk.recv(65536)
            assert data
            come.extend(frames.feed(data))
        return come.pop(0)

    assert next_frame().kind == Kind.HELLO
    assert next_frame().kind == Kind.TAKE
    desk.sendall(pack(Kind.SAY, 7, b"welcome") + pack(Kind.SAY, 8, b"of no call"))
    assert there.recv(100) == b"welcome\n"
    assert not heard
    desk.sendall(pack(Kind.DONE, 7, body_of(False)))
    asked = next_frame()
    assert (asked.kind, value(asked.body)) == (Kind.HEAR, [("hello", None), ("?", b"x")])
    assert heard == []
    desk.sendall(pack(Kind.DONE, 7, body_of(False)))
    assert next_frame().kind == Kind.HEAR
    assert heard == [False]
    desk.sendall(pack(Kind.DONE, 7, body_of(True)))
    # The last word, which the desk is waited for to read.
    assert next_frame().kind == Kind.ENDS
    desk.close()
    serving.result(20)
    assert heard == [False, True]
    for each in (listener, here, there):
        each.close()
