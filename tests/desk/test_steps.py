"""What the desk does about calls, step by step: alone, or those of several calls together."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from manyhands.desk.call_handler import Terms
from manyhands.desk.call_io import Ending
from manyhands.desk.messages import Message
from manyhands.desk.reception import Reception
from manyhands.desk.steps import StepRunner
from manyhands.desk.switchboard import Switchboard
from manyhands.desk.transcript import Transcript
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.desk.transcript_writer import Piece, TranscriptWriter
from tests.desk.test_operator import Ear, Page


class CountingWriter(TranscriptWriter):
    """Counts what is kept at once."""

    commits: list[int]

    def keep(self, *pieces: Piece) -> None:
        if pieces:
            self.commits.append(len(pieces))
        super().keep(*pieces)


class Desk(NamedTuple):
    reception: Reception
    runner: StepRunner
    page: Page
    commits: list[int]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk whose callers are put on the line by hand."""
    page, commits = Page(), []
    with Transcript(IN_MEMORY) as transcript, CountingWriter(transcript, page) as writer:
        writer.commits = commits
        reception = Reception(Switchboard(), writer, page, Terms(greeting="welcome"))
        yield Desk(reception, StepRunner(writer, page), page, commits)


def test_what_several_calls_say_is_kept_with_one_commit_and_then_shown(desk: Desk) -> None:
    reception, runner, page, commits = desk
    ears = [Ear() for _ in range(3)]
    calls = runner.run_together([reception.take(ear, f"peer{n}") for n, ear in enumerate(ears, 1)])
    assert [call.number for call in calls] == [1, 2, 3]
    assert commits == [3, 3]  # the calls, and the greetings
    said = [Message("hello"), Message("/name Anna")], [Message("one"), Message("two")], []
    steps = [reception.hear(call, some) for call, some in zip(calls, said, strict=True)]
    assert runner.run_together(steps) == [False, False, False]
    assert commits[2:] == [2, 1]  # the lines of two, and a name
    leaving = [reception.leave(call, Ending.HUNG_UP) for call in calls]
    assert runner.run_together(leaving) == [None, None, None]
    assert commits[4:] == [3]
    assert page.lines[3:6] == ["[2 peer2] one", "[2 peer2] two", "[1 peer1] hello"]
    assert page.lines[6] == "-- 1 peer1 is called Anna"
    assert [ear.heard for ear in ears] == [["welcome"]] * 3


def test_a_step_that_fails_fails_alone(desk: Desk) -> None:
    reception, runner, page, _ = desk

    class Broken(Ear):
        def say(self, text: str) -> bool:
            raise RuntimeError(text)

    results = runner.run_together([reception.take(Broken(), "one"), reception.take(Ear(), "two")])
    assert isinstance(results[0], RuntimeError)
    assert results[1].number == 2
    # Who could not be welcomed is not on the line.
    with pytest.raises(RuntimeError):
        runner.run(reception.take(Broken(), "three"))
    assert runner.run(reception.hear(results[1], [Message("byebye")]))
    assert page.lines[-1] == "[2 two] byebye"
    assert [call.number for call in reception._switchboard.calls] == [2]
