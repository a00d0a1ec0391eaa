"""How much a transcript holds: its size, and the age of what is in it."""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from manyhands.desk.switchboard import Call
from manyhands.desk.transcript import Direction, Transcript, as_text
from manyhands.desk.transcript_file import APPLICATION_ID
from manyhands.desk.transcript_limits import Limits, duration, size
from manyhands.desk.transcript_reader import TranscriptReader
from manyhands.desk.transcript_writer import TranscriptWriter
from manyhands.model.usage_errors import Mistake
from tests.desk.test_operator import Ear, Page
from tests.support import wait_until

TEXT = "x" * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transcript.sqlite"


def numbers(path: Path) -> list[int]:
    with TranscriptReader(str(path)) as reader:
        return [conversation.number for conversation in reader.conversations()]


def texts(path: Path) -> list[str]:
    with TranscriptReader(str(path)) as reader:
        return [message.text for call in reader.conversations() for message in call.messages]


def pages(path: Path) -> int:
    """Return the bytes of a transcript, without its write-ahead log."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint").fetchall()
    return path.stat().st_size


def calls(transcript: Transcript, count: int, lines: int = 100) -> None:
    for number in range(count):
        call = transcript.open_call(number, "somewhere")
        transcript.keep(Direction.IN, [(call, TEXT)] * lines)
        transcript.end_call(call, "hung up")


def test_the_oldest_calls_are_removed_when_the_size_is_reached(path: Path) -> None:
    with Transcript(str(path), Limits(max_size=2**20)) as transcript:
        for _ in range(5):
            calls(transcript, 10)
            while transcript.tidy():
                pass
        under_way = transcript.open_call(99, "somewhere")
        transcript.keep(Direction.IN, [(under_way, "still here")])
        assert pages(path) < 1.5 * 2**20
    assert numbers(path)[-2:] == [9, 99]
    assert texts(path)[-1] == "still here"


def test_what_was_said_first_in_a_call_under_way_goes_when_no_other_call_is_left(
    path: Path,
) -> None:
    with Transcript(str(path), Limits(max_size=2**20)) as transcript:
        call = transcript.open_call(1, "somewhere")
        for number in range(50):
            transcript.keep(Direction.IN, [(call, f"{number} {TEXT}")] * 100)
            transcript.tidy()
        assert pages(path) < 1.5 * 2**20
    assert numbers(path) == [1]
    assert texts(path)[-1] == f"49 {TEXT}"


def test_calls_of_a_desk_that_was_killed_long_ago_go_before_newer_ones(path: Path) -> None:
    long_ago = as_text(datetime.now(UTC) - timedelta(days=30))
    with Transcript(str(path)) as killed:
        call = killed.open_call(1, "somewhere", long_ago)
        killed.keep(Direction.IN, [(call, TEXT)] * 500, long_ago)
    with Transcript(str(path), Limits(max_size=2**20)) as transcript:
        calls(transcript, 6)
        transcript.tidy()
    with TranscriptReader(str(path)) as reader:
        assert [len(call.messages) for call in reader.conversations()] == [0, *[100] * 6]


def test_the_operator_is_told_when_the_size_is_reached(path: Path) -> None:
    page, call = Page(), Call(1, "somewhere", Ear())
    with (
        Transcript(str(path), Limits(max_size=2**18)) as transcript,
        TranscriptWriter(transcript, page) as writer,
    ):
        for _ in range(5):
            writer.said(Direction.IN, [(call, TEXT)] * 100)
    told = "-- the transcript has reached its size: the oldest calls are removed from it"
    # Once, though it is reached again and again.
    assert page.lines == [told]


def test_the_operator_is_told_of_a_log_that_another_program_keeps_growing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.desk.transcript_writer._LONG_LOG", 2**20)
    page, call = Page(), Call(1, "somewhere", Ear())
    with Transcript(str(path)) as transcript, TranscriptWriter(transcript, page) as writer:
        writer.keep(writer.opening(call))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM calls").fetchone()
            for _ in range(20):
                writer.said(Direction.IN, [(call, TEXT)] * 100)
    assert len(page.lines) == 2
    assert all(
        re.fullmatch(
            "-- another program reads the transcript, whose log cannot be emptied: it has [12] MB",
            line,
        )
        for line in page.lines
    )


def test_a_file_that_was_made_without_limits_shrinks_when_it_is_opened_with_some(
    path: Path,
) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA auto_vacuum = NONE")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("CREATE TABLE of_an_older_version (old)")
    with Transcript(str(path)) as transcript:
        calls(transcript, 30)
    assert path.stat().st_size > 3_000_000
    Transcript(str(path), Limits(max_size=2**20)).close()
    assert path.stat().st_size < 1.5 * 2**20
    assert numbers(path)[-1] == 29


@pytest.fixture
def old_and_new(path: Path) -> Iterator[Path]:
    """A transcript of a call of long ago, a long one, and one of today."""
    long_ago = as_text(datetime.now(UTC) - timedelta(days=100))
    with Transcript(str(path)) as transcript:
        old = transcript.open_call(1, "somewhere", long_ago)
        transcript.keep(Direction.IN, [(old, "then")] * 3000, long_ago)
        transcript.end_call(old, "hung up", long_ago)
        long = transcript.open_call(2, "somewhere", long_ago)
        transcript.keep(Direction.IN, [(long, "then")], long_ago)
        transcript.keep(Direction.IN, [(long, "now")])
        transcript.keep(Direction.IN, [(transcript.open_call(3, "somewhere"), "now")])
    return path


def test_what_is_too_old_is_removed_when_the_transcript_is_opened(old_and_new: Path) -> None:
    Transcript(str(old_and_new), Limits(keep=timedelta(days=90))).close()
    assert numbers(old_and_new) == [2, 3]
    assert texts(old_and_new) == ["now", "now"]


def test_a_desk_need_not_wait_until_all_that_is_too_old_is_removed(
    old_and_new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.desk.transcript.SLOW", 0.0)
    monkeypatch.setattr("manyhands.desk.transcript_limits._AT_ONCE", 10)
    monkeypatch.setattr("manyhands.desk.transcript_limits._LONGEST", 0.0)
    with Transcript(str(old_and_new), Limits(keep=timedelta(days=90))) as transcript:
        transcript.keep(Direction.IN, [(transcript.open_call(4, "somewhere"), "meanwhile")])
        assert texts(old_and_new)[-1] == "meanwhile"
        wait_until(lambda: texts(old_and_new) == ["now", "now", "meanwhile"])


def test_what_a_wrong_clock_has_left_hides_nothing_that_is_too_old(path: Path) -> None:
    past, future = (as_text(datetime.now(UTC) + timedelta(days=days)) for days in (-100, 9000))
    with Transcript(str(path)) as transcript:
        call = transcript.open_call(1, "somewhere", past)
        for at, text in [(future, "odd"), (past, "then"), (None, "now"), (future, "odd at last")]:
            transcript.keep(Direction.IN, [(call, text)] * 1500, at)
    Transcript(str(path), Limits(keep=timedelta(days=90))).close()
    assert set(texts(path)) == {"now", "odd at last"}


def test_what_is_not_too_old_stays(old_and_new: Path) -> None:
    Transcript(str(old_and_new), Limits(keep=timedelta(days=101))).close()
    assert len(texts(old_and_new)) == 3003


@pytest.mark.parametrize(
    ("text", "value"),
    [("256k", 2**18), ("100M", 100 * 2**20), ("2g", 2**31), ("1T", 2**40), ("300000", 300_000)],
)
def test_a_size_has_a_unit_or_is_in_bytes(text: str, value: int) -> None:
    assert size("--transcript-max-size", text) == value


@pytest.mark.parametrize(
    "text", ["", "k", "0", "255k", "-1G", "1.5G", "1 G", "1GB", "9" * 5000, "²G"]
)
def test_what_is_no_size_is_explained(text: str) -> None:
    with pytest.raises(Mistake, match="--transcript-max-size must be a size of at least 256k"):
        size("--transcript-max-size", text)


@pytest.mark.parametrize(
    ("text", "value"), [("90d", timedelta(90)), ("12h", timedelta(hours=12)), ("2W", timedelta(14))]
)
def test_a_time_to_keep_has_a_unit(text: str, value: timedelta) -> None:
    assert duration("--keep", text) == value


@pytest.mark.parametrize(
    "text", ["", "d", "90", "0d", "-1d", "1.5d", "40000d", "9" * 5000 + "d", "90 d"]
)
def test_what_is_no_time_to_keep_is_explained(text: str) -> None:
    with pytest.raises(Mistake, match="--keep must be a time"):
        duration("--keep", text)
