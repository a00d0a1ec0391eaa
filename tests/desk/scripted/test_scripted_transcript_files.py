"""What a desk does when its transcript, or a file beside it, is changed under its hands."""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from manyhands.desk.transcript import Transcript
from tests.desk.kit import Desk

from .kit import kept


def _remove(*ends: str) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        for end in ends:
            Path(f"{path}{end}").unlink()

    return remove


@pytest.mark.parametrize(
    "change",
    [_remove("-wal"), _remove("-shm"), _remove("-wal", "-shm")],
    ids=["the log", "its index", "both"],
)
def test_a_file_that_is_removed_beside_the_transcript_takes_nothing_with_it(
    desk: Desk, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    with desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        change(tmp_path / "transcript.sqlite")
        caller.says("after\n")
        desk.shows("^-- a file beside the transcript was removed: what was in it is kept$")
        desk.shows("after$")
        desk.process.kill()
        desk.ends()
    assert kept(tmp_path) == [[("in", "before"), ("in", "after")]]


def test_an_index_that_is_cut_kills_no_desk(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        for number in range(3):
            caller.says(f"{number}\n")
            desk.shows(rf"\] {number}$")
            os.truncate(tmp_path / "transcript.sqlite-shm", 0)
        desk.enters("/quit")
        assert desk.ends() == 0
    assert kept(tmp_path)[0][:3] == [("in", "0"), ("in", "1"), ("in", "2")]


@pytest.mark.parametrize("size", [0, 100])
def test_a_log_that_is_cut_is_told_and_a_new_file_is_begun(
    desk: Desk, tmp_path: Path, size: int
) -> None:
    with desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        os.truncate(tmp_path / "transcript.sqlite-wal", size)
        caller.says("after\n")
        desk.shows(r"^-- the transcript is damaged \(its write-ahead log has been emptied\): ")
        desk.shows("^-- the transcript is written again; lines that were not kept: 0$")
        desk.process.kill()
        desk.ends()
    assert kept(tmp_path) == [[("in", "after")]]


def _change(path: Path, *orders: str) -> None:
    with sqlite3.connect(path, isolation_level=None, timeout=20) as another:
        for order in orders:
            another.execute(order)
    another.close()


def test_a_table_that_another_program_removes_takes_nothing_with_it(
    desk: Desk, tmp_path: Path
) -> None:
    with desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        _change(tmp_path / "transcript.sqlite", "DROP TABLE messages")
        caller.says("after\n")
        desk.shows(r"^-- the transcript cannot be written \(no such table: messages\): ")
        desk.shows("after$")
        desk.enters("/quit")
        assert desk.ends() == 0
    assert "-- the transcript is written again; lines that were not kept: 0" in desk.output
    assert kept(tmp_path)[0][0] == ("in", "after")


def test_a_call_that_another_program_removes_is_kept_with_its_next_line(
    desk: Desk, tmp_path: Path
) -> None:
    with desk.call() as caller:
        caller.says("/name Anna\nbefore\n")
        desk.shows("before$")
        tables = ("messages", "calls", "sessions")
        _change(tmp_path / "transcript.sqlite", *(f"DELETE FROM {table}" for table in tables))
        caller.says("after\n")
        desk.shows("after$")
        desk.process.kill()
        desk.ends()
    assert kept(tmp_path) == [[("in", "after")]]


def test_what_a_transcript_refuses_again_and_again_is_told_once(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        _change(
            tmp_path / "transcript.sqlite",
            "CREATE TRIGGER refuse BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        for number in range(20):
            caller.says(f"{number}\n")
            desk.shows(rf"\] {number}$")
        desk.enters("/quit")
        assert desk.ends() == 0
    told = [line for line in desk.output if line.startswith("-- ") and "kept" in line]
    assert told == [
        "-- the transcript does not take what was said (no): it is not kept",
        "-- lines that were not kept: 21",
    ]


def test_a_transcript_that_is_locked_at_the_start_is_written_when_it_is_free(
    tmp_path: Path, engine: str
) -> None:
    path = tmp_path / "transcript.sqlite"
    Transcript(str(path)).close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("BEGIN EXCLUSIVE")
        with Desk(tmp_path, "--engine", engine) as desk, desk.call() as caller:
            caller.says("early\n")
            desk.shows(r"^-- the transcript cannot be written \(database is locked\): ")
            desk.shows("early$")
            another.execute("ROLLBACK")
            desk.shows("^-- the transcript is written again; lines that were not kept: 0$")
            caller.says("late\n")
            desk.shows("late$")
    assert kept(tmp_path)[0][:2] == [("in", "early"), ("in", "late")]
