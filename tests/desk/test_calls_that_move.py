"""Calls that go on in another worker: what the desk keeps for them, and what their handler was at."""

import socket
from collections.abc import Callable, Iterator

import pytest

from manyhands.connections.hand_over import HandedOver
from manyhands.dealing.frames import Frame
from manyhands.desk import link_at_desk, parked_calls
from manyhands.desk.call_io import CallIO, Ending
from manyhands.desk.call_passage import CallPassage, CallState
from manyhands.desk.link_at_worker import DeskElsewhere
from manyhands.desk.link_frames import Kind, value
from manyhands.desk.messages import MessageDecoder
from manyhands.desk.speaker_elsewhere import MOST_KEPT, say_to_all
from manyhands.desk.switchboard import Call
from tests.desk.links_kit import Desk, WorkerByHand, desk_for_workers
from tests.support import wait_until
from tests.support.waiting import PATIENCE

SMILE = "\N{SLIGHTLY SMILING FACE}".encode()


@pytest.fixture
def desk() -> Iterator[Desk]:
    with desk_for_workers() as desk:
        yield desk


def parked(desk: Desk, number: int = 5, *, dies: bool = False) -> Call:
    """Return a call that has just left its worker, which ends then in good order, or dies."""
    worker = WorkerByHand(desk)
    worker.says(Kind.TAKE, number, "somewhere")
    assert worker.hears().kind == Kind.DONE
    worker.says(Kind.PARK, number)
    done = worker.hears()
    assert (done.kind, value(done.body)) == (Kind.DONE, True)
    (call,) = desk.switchboard.calls
    if dies:
        worker.socket.close()
    else:
        worker.says(Kind.ENDS)
        assert worker.hears_the_end()
    return call


def told(frame: Frame) -> tuple[int, bytes]:
    return frame.kind, frame.body


def test_what_the_desk_has_to_say_meanwhile_is_said_in_the_new_worker_in_order(desk: Desk) -> None:
    call = parked(desk)
    assert call.connection.say("one")
    call.connection.encoding = "gbk"
    say_to_all([call.connection], "two")
    call.connection.hang_up(Ending.KICKED)
    other = WorkerByHand(desk)
    other.says(Kind.GO_ON, 5)
    assert [told(other.hears()) for _ in range(4)] == [
        (Kind.SAY, b"one"),
        (Kind.ENCODING, b"gbk"),
        (Kind.SAY, b"two"),
        (Kind.HANG_UP, b"kicked"),
    ]
    assert value(other.hears().body) is True
    other.says(Kind.FORGET, 5)
    wait_until(lambda: not desk.switchboard.calls)


def test_a_call_that_has_moved_is_heard_and_told_like_any(desk: Desk) -> None:
    call = parked(desk)
    other = WorkerByHand(desk)
    other.says(Kind.TAKE, 6, "elsewhere")
    other.hears()
    other.says(Kind.GO_ON, 5)
    assert other.hears().kind == Kind.DONE
    other.says(Kind.HEAR, 5, [("hello", None)])
    assert other.hears().number == 5
    wait_until(lambda: "hello" in desk.shown.getvalue())
    say_to_all([each.connection for each in desk.switchboard.calls], "all")
    assert value(other.hears().body) == ([5, 6], "all")
    call.connection.say("you")
    assert told(other.hears()) == (Kind.SAY, b"you")


def say_as_much_as_is_kept(call: Call) -> list[tuple[int, bytes]]:
    """Say that, and return how it is told in the next worker."""
    assert all(call.connection.say(str(number)) for number in range(MOST_KEPT))
    return [(Kind.SAY, str(number).encode()) for number in range(MOST_KEPT)]


def comes_on_to_hear(desk: Desk, said: list[tuple[int, bytes]], ending: Ending) -> None:
    """Have the call come to another worker, and check that it is told all of this there, and then its end."""
    other = WorkerByHand(desk)
    other.says(Kind.GO_ON, 5)
    end = (Kind.HANG_UP, ending.encode())
    assert [told(other.hears()) for _ in range(MOST_KEPT + 1)] == [*said, end]
    assert value(other.hears().body) is True


def one_says_more(call: Call) -> None:
    assert not call.connection.say("one more")


def all_are_told_more(call: Call) -> None:
    say_to_all([call.connection], "one more")


def another_encoding(call: Call) -> None:
    call.connection.encoding = "gbk"


@pytest.mark.parametrize("too_much", [one_says_more, all_are_told_more, another_encoding])
def test_a_call_on_its_way_that_is_told_more_than_is_kept_ends_after_that(
    desk: Desk, too_much: Callable[[Call], None]
) -> None:
    call = parked(desk)
    said = say_as_much_as_is_kept(call)
    for _ in range(2):
        too_much(call)
    # The first reason counts.
    call.connection.hang_up(Ending.KICKED)
    comes_on_to_hear(desk, said, Ending.DID_NOT_READ)
    assert not call.connection.say("later")


def test_a_call_on_its_way_is_hung_up_however_much_is_kept_for_it(desk: Desk) -> None:
    call = parked(desk)
    said = say_as_much_as_is_kept(call)
    call.connection.hang_up(Ending.KICKED)
    comes_on_to_hear(desk, said, Ending.KICKED)


def test_a_call_that_comes_to_no_other_worker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_calls, "PATIENCE", 0.05)
    monkeypatch.setattr(link_at_desk, "_FOR_LATE_ONES", 0.01)
    with desk_for_workers() as desk:
        for number in (5, 6):
            parked(desk, number)
            wait_until(lambda: not desk.switchboard.calls)
            wait_until(lambda: f"has left: {Ending.LOST}" in desk.shown.getvalue())
            other = WorkerByHand(desk)
            other.says(Kind.GO_ON, number)
            assert value(other.hears().body) is False


def test_a_call_on_its_way_whose_old_worker_has_died_is_soon_told_of_as_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parked_calls, "PATIENCE_FOR_THE_DEAD", 0.05)
    monkeypatch.setattr(link_at_desk, "_FOR_LATE_ONES", 0.01)
    with desk_for_workers() as desk:
        parked(desk, dies=True)
        wait_until(lambda: f"has left: {Ending.WORKER_DIED}" in desk.shown.getvalue())
        assert not desk.switchboard.calls
        other = WorkerByHand(desk)
        other.says(Kind.GO_ON, 5)
        assert value(other.hears().body) is False


def test_a_call_on_its_way_outlives_the_death_of_its_old_worker_where_it_comes_on(
    desk: Desk,
) -> None:
    parked(desk, dies=True)
    other = WorkerByHand(desk)
    other.says(Kind.GO_ON, 5)
    assert value(other.hears().body) is True
    other.says(Kind.HEAR, 5, [("hello", None)])
    assert other.hears().kind == Kind.DONE


class Owner:
    """What leads to a worker."""


@pytest.mark.parametrize(
    ("dead", "ended"), [("its own", [Ending.WORKER_DIED]), ("another", []), ("none", [])]
)
def test_only_the_death_of_its_own_worker_shortens_the_wait_for_a_call(
    monkeypatch: pytest.MonkeyPatch, dead: str, ended: list[Ending]
) -> None:
    monkeypatch.setattr(parked_calls, "PATIENCE_FOR_THE_DEAD", 0.0)
    own, another = Owner(), Owner()
    calls = parked_calls.ParkedCalls()
    call = Call(1, "somewhere", CallIO(socket.socketpair()[0], 10_000))
    calls.put(5, call, own)
    if dead != "none":
        calls.hurry(own if dead == "its own" else another, Ending.WORKER_DIED)
    assert calls.take_late_ones() == [(call, ending) for ending in ended]
    assert calls.take_all() == ([] if ended else [call])


def test_what_has_left_a_worker_is_waited_for_as_ever_when_that_ends_in_good_order(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried: list[object] = []
    monkeypatch.setattr(parked_calls.ParkedCalls, "hurry", lambda *_: hurried.append(True))
    passage, _, _, link = at_the_desk(desk, is_open=True)
    with pytest.raises(HandedOver):
        passage.leave(REST, only_listens=False)
    link.close()
    # Which waits until the desk has done with the link.
    desk.links.close()
    assert not hurried


def test_a_call_on_its_way_ends_with_the_desk(desk: Desk) -> None:
    parked(desk)
    desk.links.close()
    assert not desk.switchboard.calls


class PassageByHand:
    """The way out of a worker, which is open, or not."""

    is_asked = True

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open
        self.did: list[str] = []

    def open(self, _interrupt: Callable[[], object]) -> None:
        self.did.append("open")

    def stay(self) -> None:
        self.did.append("stay")

    def depart(self, _state: bytes) -> None:
        self.did.append("depart")
        if self._is_open:
            raise HandedOver


def at_the_desk(
    desk: Desk, *, is_open: bool
) -> tuple[CallPassage, PassageByHand, CallIO, DeskElsewhere]:
    here, _ = socket.socketpair()
    link = DeskElsewhere(desk.links.address, 1)
    link.start()
    connection, way = CallIO(here, 10_000), PassageByHand(is_open=is_open)
    passage = CallPassage(way, link)  # type: ignore[arg-type]
    passage.open(link.take(connection, "somewhere", 5), connection)
    return passage, way, connection, link


REST = (b"", False, False)


def test_a_call_that_leaves_is_known_to_its_worker_no_more(desk: Desk) -> None:
    passage, way, connection, link = at_the_desk(desk, is_open=True)
    with pytest.raises(HandedOver):
        passage.leave(REST, only_listens=False)
    assert way.did == ["open", "depart"]
    (call,) = desk.switchboard.calls
    assert call.connection.say("later")
    other = WorkerByHand(desk)
    other.says(Kind.GO_ON, 5)
    assert told(other.hears()) == (Kind.SAY, b"later")
    assert connection.wait_until_sent(PATIENCE)
    link.close()


def test_a_caller_for_whom_too_much_was_kept_is_told_of_as_one_that_does_not_read(
    desk: Desk,
) -> None:
    call = parked(desk)
    say_as_much_as_is_kept(call)
    one_says_more(call)
    link = DeskElsewhere(desk.links.address, 1)
    link.start()
    here, there = socket.socketpair()
    connection = CallIO(here, 100_000)
    moved = link.take_back(connection, 5)
    assert moved is not None
    assert connection.ending == Ending.DID_NOT_READ
    moved.leave(connection.ending)
    assert not desk.switchboard.calls
    wait_until(lambda: f"has left: {Ending.DID_NOT_READ}" in desk.shown.getvalue())
    link.close()
    for each in (here, there):
        each.close()


def test_a_call_that_cannot_leave_just_now_goes_on_where_it_is(desk: Desk) -> None:
    passage, way, connection, link = at_the_desk(desk, is_open=False)
    passage.leave(REST, only_listens=False)
    assert way.did == ["open", "depart"]
    (call,) = desk.switchboard.calls
    call.connection.hang_up(Ending.KICKED)
    wait_until(lambda: connection.ending == Ending.KICKED)
    link.close()


def test_a_call_that_the_desk_has_ended_just_before_stays_and_ends(desk: Desk) -> None:
    passage, way, connection, link = at_the_desk(desk, is_open=True)
    (call,) = desk.switchboard.calls
    call.connection.hang_up(Ending.KICKED)
    passage.leave(REST, only_listens=False)
    assert connection.ending == Ending.KICKED
    assert way.did == ["open", "stay"]
    # And the desk hears of its end.
    link.take(CallIO(socket.socketpair()[0], 10_000), "elsewhere", 6)
    assert len(desk.switchboard.calls) == 2
    link.close()


def test_a_call_whose_desk_has_gone_stays(desk: Desk) -> None:
    passage, way, connection, link = at_the_desk(desk, is_open=True)
    desk.links.close()
    wait_until(lambda: connection.ending is not None)
    passage.leave(REST, only_listens=False)
    assert way.did == ["open", "stay"]
    link.close()


@pytest.mark.parametrize(
    ("before", "after", "texts"),
    [
        (b"", b"hello\n", ["hello"]),
        (b"hel", b"lo\n", ["hello"]),
        (b"one\ntw", b"o\nthree\n", ["two", "three"]),
        (SMILE[:2], SMILE[2:] + b"\n", [SMILE.decode()]),
    ],
)
def test_a_decoder_goes_on_where_another_one_was(
    before: bytes, after: bytes, texts: list[str]
) -> None:
    first, second = MessageDecoder(), MessageDecoder()
    first.feed(before, 0.0)
    second.go_on_with(first.rest, first.encoding, 10.0)
    assert [each.text for each in second.feed(after, 10.1)] == texts


def test_a_text_without_its_end_that_was_shown_stays_shown_once() -> None:
    first, second = MessageDecoder(), MessageDecoder()
    first.feed(b"hello", 0.0)
    assert [each.text for each in first.expire(1.0)] == ["hello"]
    second.go_on_with(first.rest, first.encoding, 10.0)
    # The end of the line is the end of what was shown.
    assert second.feed(b"\n", 10.0) == []
    assert [each.text for each in second.feed(b"more\n", 10.0)] == ["more"]


def test_a_cut_character_is_completed_by_the_next_worker() -> None:
    first, second = MessageDecoder(), MessageDecoder()
    first.feed(b"hi" + SMILE[:2], 0.0)
    assert [each.text for each in first.expire(1.0)] == ["hi"]
    second.go_on_with(first.rest, first.encoding, 10.0)
    said = [*second.feed(SMILE[2:], 10.1), *second.feed(b"\n", 10.2)]
    assert [each.text for each in said] == [SMILE.decode()]


def test_what_is_unfinished_becomes_a_message_in_the_next_worker() -> None:
    first, second = MessageDecoder(), MessageDecoder()
    first.feed(b"hello", 0.0)
    second.go_on_with(first.rest, first.encoding, 10.0)
    due = second.deadline()
    assert due is not None
    assert due > 10.0
    assert [each.text for each in second.expire(due)] == ["hello"]


@pytest.mark.parametrize("only_listens", [True, False])
def test_the_state_of_a_call_is_the_same_on_the_other_side(only_listens: bool) -> None:
    state = CallState(bytes(range(256)), True, False, only_listens, "gbk")
    assert CallState.of_bytes(state.as_bytes()) == state
