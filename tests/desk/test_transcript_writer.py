"""What becomes of what is said when it cannot be written."""

import sqlite3
from pathlib import Path

import pytest

from manyhands.desk.switchboard import Call
from manyhands.desk.transcript import Direction, Transcript
from manyhands.desk.transcript_reader import TranscriptReader
from manyhands.desk.transcript_writer import TranscriptWriter
from tests.desk.test_operator import Ear, Page
from tests.support import wait_until
from tests.support.workers import Worker


def test_a_call_whose_beginning_was_not_kept_is_kept_with_its_next_line(
    tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.desk.transcript_file.BUSY_TIMEOUT", 0.1)
    path = tmp_path / "transcript.sqlite"
    page = Page()
    call = Call(1, "somewhere", Ear())
    with Transcript(str(path)) as transcript, TranscriptWriter(transcript, page) as writer:
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            worker.do(writer.keep, writer.opening(call))
            worker.do(writer.said, Direction.IN, [(call, "meanwhile")])
            other.execute("ROLLBACK")
        assert call.row is None
        # Though nothing more is said.
        written = "-- the transcript is written again; lines that were not kept: 0"
        wait_until(lambda: page.lines[-1] == written)
    with TranscriptReader(str(path)) as archive:
        (conversation,) = archive.conversations()
    assert [m.text for m in conversation.messages] == ["meanwhile"]


def test_what_is_more_than_may_wait_is_counted_and_told(
    tmp_path: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.desk.transcript_file.BUSY_TIMEOUT", 0.1)
    path = tmp_path / "transcript.sqlite"
    page = Page()
    call = Call(1, "somewhere", Ear())
    with (
        Transcript(str(path)) as transcript,
        TranscriptWriter(transcript, page, most_waiting=1000) as writer,
    ):
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            for number in range(20):
                worker.do(writer.said, Direction.IN, [(call, str(number))])
            for number in range(9):
                worker.do(writer.keep, writer.opening(Call(number, "somewhere", Ear())))
            other.execute("ROLLBACK")
        wait_until(lambda: "written again" in page.lines[-1])
    assert page.lines.count("-- too much waits for the transcript: what is said is not kept") == 1
    with TranscriptReader(str(path)) as archive:
        (conversation,) = archive.conversations()
    texts = [message.text for message in conversation.messages]
    assert texts == [str(number) for number in range(len(texts))]
    assert 0 < len(texts) < 20
    assert page.lines[-1].endswith(f"lines that were not kept: {20 - len(texts)}")


def test_a_call_that_was_opened_in_a_failed_commit_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "transcript.sqlite"
    call = Call(1, "somewhere", Ear())
    page = Page()
    with Transcript(str(path)) as transcript, TranscriptWriter(transcript, page) as writer:
        writer.said("nobody", [(call, "hello")])  # type: ignore[arg-type]  # opens the call, and fails
        assert call.row is None
        writer.said(Direction.IN, [(call, "half of a pair: \ud800")])
        assert "does not take what was said" in page.lines[-1]
        writer.said(Direction.IN, [(call, "hello again")])
    with TranscriptReader(str(path)) as archive:
        (conversation,) = archive.conversations()
    assert [m.text for m in conversation.messages] == ["hello again"]
