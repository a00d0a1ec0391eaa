"""What the operator's lines do, without a socket and without a terminal."""

from collections.abc import Callable, Iterator, Sequence

import pytest

from manyhands.desk.call_io import Ending
from manyhands.desk.operator import Operator
from manyhands.desk.screens import ScreenLine
from manyhands.desk.switchboard import Call, Switchboard
from manyhands.desk.transcript import Transcript
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.desk.transcript_writer import TranscriptWriter


class Page:
    """A screen that is a list."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        self.lines += map(str, lines)

    show_soon = show

    def when_caught_up(self, source: int, then: Callable[[], object]) -> None:
        then()

    def tell(self, lines: Sequence[ScreenLine]) -> None:
        self.show(lines)

    def refresh(self) -> None:
        pass

    def is_typing(self) -> bool:
        return False


class Ear:
    """The other end of a line, which writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ending: Ending | None = None
        self.encoding = "utf-8"

    def say(self, text: str) -> bool:
        self.heard.append(text)
        return True

    def hang_up(self, ending: Ending) -> None:
        self.ending = ending


class Room:
    """A desk without a door: callers are put on the line by hand."""

    def __init__(self) -> None:
        self.page = Page()
        self.switchboard = Switchboard()
        self.writer = TranscriptWriter(Transcript(IN_MEMORY), self.page)
        self.operator = Operator(self.switchboard, self.writer, self.page)

    def caller(self, name: str | None = None) -> tuple[Call, Ear]:
        ear = Ear()
        call = self.switchboard.connect(ear, "127.0.0.1:4000", may_be_current=True)
        call.name = name
        return call, ear

    def types(self, *lines: str) -> str:
        """Carry out lines; return the last line shown."""
        for line in lines:
            self.operator.carry_out(line)
        return self.page.lines[-1]


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    with room.writer:
        yield room


def test_plain_text_answers_the_first_caller(room: Room) -> None:
    _, anna = room.caller("Anna")
    _, bob = room.caller("Bob")
    assert room.types("hello") == "[you to 1 Anna] hello"
    assert (anna.heard, bob.heard) == (["hello"], [])


@pytest.mark.parametrize("caller", ["2", "Bob", "bob", "02"])
def test_to_chooses_the_caller_to_answer(room: Room, caller: str) -> None:
    room.caller("Anna")
    _, bob = room.caller("Bob")
    assert room.types(f"/to {caller}") == "-- you are answering 2 Bob now"
    room.types("hello")
    assert bob.heard == ["hello"]


def test_a_caller_without_a_name_is_found_by_number_and_by_address(room: Room) -> None:
    call, _ = room.caller()
    assert room.switchboard.find("1") is call
    assert room.switchboard.find("127.0.0.1:4000") is call


def test_all_sends_the_line_to_every_caller(room: Room) -> None:
    ears = [room.caller()[1] for _ in range(3)]
    assert room.types("/all good morning") == "[you to all] good morning"
    assert [ear.heard for ear in ears] == [["good morning"]] * 3


def test_a_line_that_begins_with_a_slash_is_typed_with_two(room: Room) -> None:
    _, anna = room.caller("Anna")
    room.types("//quit")
    assert anna.heard == ["/quit"]


def test_pasted_lines_are_kept_and_shown_one_by_one(room: Room) -> None:
    _, anna = room.caller("Anna")
    room.types("one\ntwo\x1b[2J")
    assert room.page.lines[-2:] == ["[you to 1 Anna] one", r"[you to 1 Anna] two\x1b[2J"]
    assert anna.heard == ["one\ntwo\x1b[2J"]


def test_an_empty_line_says_nothing(room: Room) -> None:
    _, anna = room.caller("Anna")
    assert room.operator.carry_out("  ")
    assert anna.heard == []


def test_kick_says_so_to_the_caller_and_ends_the_call(room: Room) -> None:
    room.caller("Anna")
    _, bob = room.caller("Bob")
    room.operator.carry_out("/kick Bob")
    assert bob.heard == ["desk: the operator has ended the call"]
    assert bob.ending is Ending.KICKED


def test_quit_is_the_only_line_that_closes_the_desk(room: Room) -> None:
    assert room.operator.carry_out("/help")
    assert room.operator.carry_out("/nope")
    assert not room.operator.carry_out("/quit")


def test_closing_says_goodbye_to_every_caller(room: Room) -> None:
    ears = [room.caller()[1] for _ in range(3)]
    room.operator.close()
    late, late_ear = room.caller()
    assert [ear.heard for ear in ears] == [["desk: the desk is closing"]] * 3
    assert {ear.ending for ear in ears} == {Ending.DESK_CLOSED}
    assert late.came_too_late
    assert late_ear.heard == []  # the code that serves it says so


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("hello", "-- that was said to nobody: nobody is on the line"),
        ("/all hello", "-- that was said to nobody: nobody is on the line"),
        ("/to 3", "-- nobody on the line is 3; there is nobody"),
        ("/kick Anna", "-- nobody on the line is Anna; there is nobody"),
        ("/list", "-- nobody is on the line"),
        ("/to", "-- /to needs more: /to N"),
        ("/to \x1b[31m", r"-- nobody on the line is \x1b[31m; there is nobody"),
    ],
)
def test_what_cannot_be_done_is_one_clear_sentence(room: Room, line: str, sentence: str) -> None:
    assert room.types(line) == sentence


def test_a_name_that_two_callers_have_needs_a_number(room: Room) -> None:
    room.caller("Anna")
    room.caller("anna")
    assert room.types("/to Anna") == "-- 2 callers are called Anna: say which by number, 1, 2"


def test_when_the_current_caller_leaves_no_other_gets_the_line_being_typed(room: Room) -> None:
    anna, _ = room.caller("Anna")
    _, bob = room.caller("Bob")
    assert room.switchboard.disconnect(anna)
    assert room.types("a secret for Anna") == (
        "-- that was said to nobody: /to N chooses whom to answer; there is 2 Bob"
    )
    assert bob.heard == []


def test_unread_is_what_was_said_by_others_than_the_current_caller(room: Room) -> None:
    anna, _ = room.caller("Anna")
    bob, _ = room.caller("Bob")
    room.switchboard.spoke(anna, 1)
    room.switchboard.spoke(bob, 2)
    assert room.switchboard.status().unread == ("2 Bob (2)",)
    assert "2 unread" in room.types("/list")
    room.types("/to 2")
    assert room.switchboard.status().unread == ()


def test_what_is_said_to_all_leaves_the_unread_unread(room: Room) -> None:
    room.caller("Anna")
    bob, _ = room.caller("Bob")
    room.switchboard.spoke(bob, 1)
    room.types("/all one moment please")
    assert room.switchboard.status().unread == ("2 Bob (1)",)


def test_the_list_shows_the_callers_and_marks_the_current_one(room: Room) -> None:
    room.caller("Anna")
    room.caller()
    room.types("/list")
    anna, other = room.page.lines[-2:]
    assert anna.startswith("-- 1 Anna, from 127.0.0.1:4000, since ")
    assert anna.endswith(", you are answering")
    assert other.startswith("-- 2 127.0.0.1:4000, from 127.0.0.1:4000, since ")


def test_a_thousand_callers_are_not_all_named_in_a_sentence(room: Room) -> None:
    for _ in range(1000):
        room.caller("Anna")
    assert room.types("/to Bob").endswith("8 Anna, 992 more")


def test_bytes_that_are_no_text_are_replaced_before_they_reach_a_caller(room: Room) -> None:
    _, anna = room.caller("Anna")
    room.types("caf\udce9")
    assert anna.heard == ["caf\ufffd"]


def test_a_number_that_no_caller_can_have_finds_none(room: Room) -> None:
    room.caller("Anna")
    number = "9" * 5000
    assert room.types(f"/to {number}") == f"-- nobody on the line is {number}; there is 1 Anna"
    assert room.types("/to 001") == "-- you are answering 1 Anna now"


def test_the_status_names_no_more_unread_callers_than_a_prompt_has_room_for(room: Room) -> None:
    for _ in range(200):
        call, _ = room.caller()
        room.switchboard.spoke(call, 1)
    status = room.switchboard.status()
    assert status.on_the_line == 200
    assert 20 < len(status.unread) <= 100


def test_the_first_of_many_simultaneous_callers_becomes_the_current_one(room: Room) -> None:
    calls = [room.switchboard.connect(Ear(), "somewhere", may_be_current=n > 1) for n in range(5)]
    assert room.switchboard.current is calls[2]
