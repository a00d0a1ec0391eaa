"""What a desk keeps of its calls, whatever happens to it, to its disk and to its readers."""

import os
import re
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from manyhands.desk.transcript import Transcript
from manyhands.desk.transcript_reader import TranscriptReader
from tests.desk.kit import MANYHANDS, Desk, environment

from .kit import endings, kept


def test_a_killed_desk_has_kept_every_line_that_it_had_shown(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as anna, desk.call() as bob:
        for number in range(100):
            anna.says(f"/name Anna\nAnna {number} 你好😀\n")
            bob.says(f"Bob {number}\n")
            desk.enters(f"answer {number}")
        desk.shows("Bob 50")
        desk.process.kill()
        desk.ends()
    shown = [line for line in desk.output if line.startswith("[")]
    (anna_kept, bob_kept) = kept(tmp_path)
    assert len(shown) > 50
    for line in shown:
        text = line.partition("] ")[2]
        assert ("in", text) in anna_kept + bob_kept or ("out", text) in anna_kept + bob_kept
    assert endings(tmp_path) == [None, None]


def test_the_transcript_can_be_read_while_the_desk_writes_it(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        caller.says("hello\n")
        desk.shows("hello$")
        command = [*MANYHANDS, "transcript", "--transcript", str(tmp_path / "transcript.sqlite")]
        output = subprocess.check_output(command, env=environment(tmp_path), text=True)
        assert " < hello\n" in output
        assert "still on the line" in output


def test_a_closed_pipe_after_the_transcript_is_no_traceback(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        # Far more than a pipe holds.
        caller.says("".join(f"{number:01000}\n" for number in range(500)))
        desk.shows("00499$")
    command = [*MANYHANDS, "transcript", "--transcript", str(tmp_path / "transcript.sqlite")]
    with subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


HANGS = """
import os, sys, time
from manyhands.cli import command
from manyhands.desk import commit_queue, transcript, transcript_file

def hang():
    while os.path.exists(sys.argv[-1] + ".hangs"):
        time.sleep(0.01)

def connect(path, connect=transcript_file.connect):
    hang()
    database = connect(path)
    database.set_progress_handler(hang, 1)
    return database

transcript_file.connect, commit_queue.SLOW, transcript.SLOW = connect, 0.2, 0.2
command()
"""
"""A desk on a disk that answers nothing as long as a file is there."""


def ends_on(desk: Desk, gate: Path | None) -> None:
    """End a desk whose disk hangs; where there is a gate, after the disk has answered again."""
    if gate is not None:
        gate.unlink()
        desk.shows("^-- the transcript is written again; lines that were not kept: 0$")
    desk.process.terminate()
    assert desk.ends() == 0


@pytest.mark.parametrize("recovers", [True, False], ids=["for a while", "until the end"])
def test_a_disk_that_hangs_silences_no_desk_and_delays_no_end(
    tmp_path: Path, engine: str, recovers: bool
) -> None:
    file = tmp_path / "transcript.sqlite"
    gate = tmp_path / "transcript.sqlite.hangs"
    program = [sys.executable, "-c", HANGS]
    words = ["--engine", engine, "--transcript", str(file)]
    with Desk(tmp_path, *words, program=program) as desk, desk.takes_a_call() as anna:
        gate.touch()
        anna.says("one\n")
        desk.shows(r"^-- the transcript cannot be written \(its disk does not answer\): ")
        with desk.takes_a_call() as bob:
            bob.says("two\n")
            desk.shows(r"two$")
            desk.enters("/to 2", "I hear you")
            assert bob.hears() == "I hear you"
            ends_on(desk, gate if recovers else None)
    if recovers:
        assert sorted(said for call in kept(tmp_path) for said in call if said[0] != "notice") == [
            ("in", "one"),
            ("in", "two"),
            ("out", "I hear you"),
        ]
    else:
        assert desk.output[-2:] == ["-- lines that were not kept: 5", "the desk is closed"]


@pytest.mark.parametrize("recovers", [True, False], ids=["for a while", "until the end"])
def test_a_disk_that_hangs_at_the_start_keeps_no_desk_from_opening(
    tmp_path: Path, recovers: bool
) -> None:
    file = tmp_path / "transcript.sqlite"
    gate = tmp_path / "transcript.sqlite.hangs"
    gate.touch()
    program = [sys.executable, "-c", HANGS]
    with (
        Desk(tmp_path, "--transcript", str(file), program=program) as desk,
        desk.takes_a_call() as anna,
    ):
        anna.says("one\n")
        desk.shows(r"^-- the transcript cannot be written \(its disk does not answer\): ")
        desk.shows(r"one$")
        ends_on(desk, gate if recovers else None)
    if recovers:
        assert kept(tmp_path)[0][0] == ("in", "one")


def test_a_full_disk_is_told_to_the_operator_and_the_conversation_goes_on(
    tmp_path: Path, engine: str
) -> None:
    def fill_the_disk_soon() -> None:
        # Python ignores SIGXFSZ, so a write beyond the limit fails with EFBIG, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    with (
        Desk(tmp_path, "--engine", engine, preexec_fn=fill_the_disk_soon) as desk,
        desk.call() as caller,
    ):
        for number in range(200):
            caller.says(f"{number:4000}\n")
        desk.shows(
            r"^-- the transcript cannot be written \(.*\): what is said is kept when it can be$"
        )
        desk.shows(r" 199$")
        desk.enters("I hear you", "/quit")
        assert [caller.hears(), caller.hears()] == ["I hear you", "desk: the desk is closing"]
        assert desk.ends() == 0
    told = re.findall(r"lines that were not kept: (\d+)", "\n".join(desk.output))
    (there,) = kept(tmp_path)
    assert len(there) + sum(map(int, told)) == 200 + len(["I hear you", "the desk is closing"])


def test_the_operator_is_told_when_the_transcript_is_written_again(
    desk: Desk, tmp_path: Path
) -> None:
    with desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        with sqlite3.connect(tmp_path / "transcript.sqlite", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            caller.says("meanwhile\n")
            desk.shows("the transcript cannot be written .*locked")
            desk.shows("meanwhile$")
            other.execute("ROLLBACK")
        # The desk has waited a second for the other program, and its fibers have not.
        assert not [line for line in desk.output if "has held up all other fibers" in line]
        desk.shows("the transcript is written again; lines that were not kept: 0$")
        caller.says("after\n")
        desk.shows("after$")
    assert kept(tmp_path)[0] == [("in", "before"), ("in", "meanwhile"), ("in", "after")]


@pytest.mark.parametrize("what", ["moved", "removed", "replaced"])
def test_a_transcript_that_is_moved_is_told_and_what_is_said_goes_into_a_new_one(
    desk: Desk, tmp_path: Path, what: str
) -> None:
    path, old = tmp_path / "transcript.sqlite", tmp_path / "old.sqlite"
    with desk.call() as caller:
        caller.says("/name Anna\nbefore\n")
        desk.shows("before$")
        if what == "removed":
            path.unlink()
        elif what == "replaced":
            another = tmp_path / "another.sqlite"
            Transcript(str(another)).close()
            another.rename(path)
        else:
            path.rename(old)
        caller.says("after\n")
        desk.shows(
            "^-- the transcript was moved or removed: what is said from now on is in a new file"
        )
        desk.shows("after$")
        caller.says("byebye\n")
        assert caller.hears() == "byebye"
        desk.shows("has left: said byebye$")
    assert [text for _, text in kept(tmp_path)[0]] == ["after", "byebye", "byebye"]
    with TranscriptReader(str(path)) as reader:
        (conversation,) = reader.conversations()
        assert (conversation.number, conversation.name) == (1, "Anna")
    if what == "moved":
        with TranscriptReader(str(old)) as reader:
            (conversation,) = reader.conversations()
            assert [message.text for message in conversation.messages] == ["before"]


def test_a_transcript_whose_folder_is_gone_is_written_again_when_there_is_one(
    tmp_path: Path, engine: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    arguments = ("--engine", engine, "--transcript", str(folder / "t.sqlite"))
    with Desk(tmp_path, *arguments) as desk, desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        folder.rename(tmp_path / "elsewhere")
        caller.says("meanwhile\n")
        desk.shows("^-- the transcript cannot be written .*No such file or directory")
        desk.shows("meanwhile$")
        folder.mkdir()
        desk.shows("^-- the transcript is written again; lines that were not kept: 0$")
    with TranscriptReader(str(folder / "t.sqlite")) as reader:
        (conversation,) = reader.conversations()
    assert [message.text for message in conversation.messages] == ["meanwhile"]


def test_a_transcript_that_is_emptied_under_the_desk_is_put_aside(
    desk: Desk, tmp_path: Path
) -> None:
    with desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        os.truncate(tmp_path / "transcript.sqlite", 0)
        caller.says("after\n")
        desk.shows(
            r"^-- the transcript is damaged \(the file has been emptied\): it is .*\.damaged-"
        )
        desk.shows("^-- the transcript is written again; lines that were not kept: 0$")
        desk.enters("/quit")
        assert desk.ends() == 0
    assert kept(tmp_path)[0][0] == ("in", "after")


def test_the_transcript_is_in_the_data_folder_by_default(tmp_path: Path) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0"]
    subprocess.run(command, input=b"/quit\n", env=environment(tmp_path), check=True)
    assert (tmp_path / "data" / "manyhands" / "transcript.sqlite").is_file()
