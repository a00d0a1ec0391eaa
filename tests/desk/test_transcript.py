"""The SQLite file: written by a desk, read by every program."""

import json
import os
import shlex
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pexpect
import pytest

from manyhands.cli import main
from manyhands.desk.transcript import Direction, NotKept, Transcript, as_text
from manyhands.desk.transcript_file import IN_MEMORY
from manyhands.desk.transcript_reader import Conversation, TranscriptReader, moment
from manyhands.model.usage_errors import Mistake

HARD_TEXT = "\x00 \x1b[31m 你好 😀 \u202e \x9b ' \" \\ \u2028"


def written(path: Path) -> list[int]:
    """Write two calls, one of them over; return their ids."""
    with Transcript(str(path)) as transcript:
        anna = transcript.open_call(1, "127.0.0.1:4000")
        bob = transcript.open_call(2, "[::1]:5000")
        transcript.name_call(anna, "Anna")
        transcript.keep(Direction.IN, [(anna, "hello"), (bob, HARD_TEXT)])
        transcript.keep(Direction.OUT, [(anna, "hi Anna")])
        transcript.keep(Direction.NOTICE, [(anna, "byebye")])
        transcript.end_call(anna, "said byebye")
        return [anna, bob]


def read(
    path: Path, caller: str | None = None, since: datetime | None = None
) -> list[Conversation]:
    with TranscriptReader(str(path)) as archive:
        return list(archive.conversations(caller, since))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transcript.sqlite"


def test_what_was_kept_is_read_back_word_for_word(path: Path) -> None:
    written(path)
    anna, bob = read(path)
    assert [(m.direction, m.text) for m in anna.messages] == [
        ("in", "hello"),
        ("out", "hi Anna"),
        ("notice", "byebye"),
    ]
    assert (anna.number, anna.name, anna.peer, anna.ending) == (
        1,
        "Anna",
        "127.0.0.1:4000",
        "said byebye",
    )
    assert anna.opened_at <= anna.messages[0].at <= str(anna.ended_at)
    assert bob.messages[0].text == HARD_TEXT
    assert (bob.name, bob.ended_at, bob.ending) == (None, None, None)


def test_a_reader_sees_each_line_as_soon_as_it_is_kept(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        call = transcript.open_call(1, "somewhere")
        for number in range(3):
            transcript.keep(Direction.IN, [(call, f"line {number}")])
            assert read(path)[0].messages[-1].text == f"line {number}"


def test_several_threads_write_at_once_and_lose_nothing(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        calls = [transcript.open_call(number, "somewhere") for number in range(8)]

        def say(call: int) -> None:
            for number in range(50):
                transcript.keep(Direction.IN, [(call, str(number))])

        threads = [threading.Thread(target=say, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for conversation in read(path):
        assert [m.text for m in conversation.messages] == [str(n) for n in range(50)]


def test_what_is_written_together_is_there_all_at_once(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        with transcript.together():
            call = transcript.open_call(1, "somewhere")
            transcript.keep(Direction.IN, [(call, "hello")])
            assert read(path) == []
        assert [m.text for m in read(path)[0].messages] == ["hello"]


def test_what_fails_together_leaves_nothing_behind(path: Path) -> None:
    with Transcript(str(path)) as transcript:

        def write_and_fail() -> None:
            with transcript.together():
                call = transcript.open_call(1, "somewhere")
                transcript.keep(Direction.IN, [(call, "hello")])
                transcript.keep("nobody", [(call, "hello")])  # type: ignore[arg-type]

        with pytest.raises(NotKept):
            write_and_fail()
        assert read(path) == []
        # Neither does the session, which began with that call and has to begin with this one.
        transcript.open_call(1, "somewhere")
        transcript.close_session()
    with sqlite3.connect(path) as database:
        assert database.execute(
            "SELECT COUNT(*) FROM sessions JOIN calls ON session_id = sessions.id "
            "WHERE closed_at IS NOT NULL"
        ).fetchone() == (1,)


def test_a_failure_of_another_kind_leaves_nothing_behind_either(path: Path) -> None:
    with Transcript(str(path)) as transcript:

        def stumble() -> None:
            with transcript.together():
                transcript.open_call(1, "somewhere")
                raise KeyError

        with pytest.raises(KeyError):
            stumble()
        transcript.open_call(2, "somewhere")
    assert [conversation.number for conversation in read(path)] == [2]


def test_a_look_at_the_files_gives_up_no_lock_of_sqlites(path: Path) -> None:
    """The kernel drops all locks of a process on a file when that closes any descriptor of it (fcntl(2))."""
    with Transcript(str(path)) as transcript:
        call = transcript.open_call(1, "somewhere")
        for number in range(3):
            transcript.look()
            transcript.keep(Direction.IN, [(call, str(number))])
        transcript.look()
        # What a program does that opens the transcript as the first one.
        take = "from fcntl import *; lockf(open(sys.argv[1], 'r+b'), LOCK_EX | LOCK_NB, 1, 128)"
        command = [sys.executable, "-c", f"import sys; {take}", f"{path}-shm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "BlockingIOError" in done.stderr


def test_two_desks_write_to_one_file(path: Path) -> None:
    with Transcript(str(path)) as one, Transcript(str(path)) as two:
        for transcript in (one, two):
            call = transcript.open_call(1, "somewhere")
            transcript.keep(Direction.IN, [(call, "hello")])
    assert [conversation.session for conversation in read(path)] == [1, 2]


@pytest.mark.parametrize(
    ("caller", "numbers"),
    [
        ("1", [1]),
        ("anna", [1]),
        ("127.0.0.1:4000", [1]),
        ("127.0.0.1", [1]),
        ("[::1]", [2]),
        ("127.0.0._", []),
        ("%", []),
        ("Bob", []),
        (None, [1, 2]),
    ],
)
def test_a_caller_is_found_by_number_name_and_address(
    path: Path, caller: str | None, numbers: list[int]
) -> None:
    written(path)
    assert [conversation.number for conversation in read(path, caller)] == numbers


def test_since_leaves_out_what_was_said_before(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        old, long_lasting = (transcript.open_call(number, "somewhere") for number in (1, 2))
        transcript.keep(Direction.IN, [(old, "then"), (long_lasting, "then")])
        now = datetime.now(UTC)
        transcript.keep(Direction.IN, [(long_lasting, "now")])
    (conversation,) = read(path, since=now)
    assert [message.text for message in conversation.messages] == ["now"]


NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(days=7)),
        ("2026-06-30T10:00:00Z", datetime(2026, 6, 30, 10, tzinfo=UTC)),
        ("2026-06-30T10:00+02:00", datetime(2026, 6, 30, 8, tzinfo=UTC)),
        ("2026-06-30", datetime(2026, 6, 30).astimezone()),
    ],
)
def test_a_time_is_so_long_ago_or_an_iso_time(text: str, meant: datetime) -> None:
    assert moment(text, NOW) == meant


@pytest.mark.parametrize("text", ["yesterday", "", "h", "-2h", "2 h", "2026-13-01", "9" * 30 + "d"])
def test_what_is_no_time_is_explained(text: str) -> None:
    with pytest.raises(Mistake, match="is no time: write 30m, 2h or 3d"):
        moment(text, NOW)


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        transcript.open_call(1, "somewhere")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Transcript(IN_MEMORY) as transcript:
        transcript.keep(Direction.IN, [(transcript.open_call(1, "somewhere"), "hello")])
    assert list(tmp_path.iterdir()) == []


def test_a_desk_without_a_caller_leaves_no_trace(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        transcript.close_session()
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (0,)


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE shopping (item TEXT)")


def newer_transcript(path: Path) -> None:
    Transcript(str(path)).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")


def older_transcript(path: Path) -> None:
    Transcript(str(path)).close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE calls DROP COLUMN ending")


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda path: path.write_text("Dear diary,\n" * 200), "file is not a database"),
        (foreign_database, "is an SQLite file, but no transcript of manyhands"),
        (newer_transcript, "was written by a newer manyhands"),
        (older_transcript, "no such column: ending"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, r"it is no file \(:memory: keeps nothing\)"),
        (lambda path: path.symlink_to("/dev/null"), r"it is no file \(:memory: keeps nothing\)"),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_left_alone(path: Path, prepare, why) -> None:
    prepare(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(Mistake, match=why) as caught:
        Transcript(str(path))
    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda path: None, "there is no transcript"),
        (lambda path: path.touch(), "is empty: no desk has written a transcript to it"),
        (lambda path: path.mkdir(), "it is no file"),
        (os.mkfifo, "it is no file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.write_text("Dear diary,\n" * 200), "file is not a database"),
        (foreign_database, "is an SQLite file, but no transcript of manyhands"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(path: Path, prepare, why) -> None:
    prepare(path)
    with pytest.raises(Mistake, match=why) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "file:" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "why"), [("x" * 300, "File name too long"), ("a\0b", "embedded null")]
)
def test_a_name_that_no_file_can_have_is_one_sentence(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(Mistake, match=why):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["file:x", "file:x?mode=memory", "a b?c#%41.sqlite"])
def test_a_name_is_a_name_whatever_it_would_mean_to_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path(name))
    assert [call.name for call in read(Path(name))] == ["Anna", None]
    assert (tmp_path / name).stat().st_size


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="No such file or directory"):
        Transcript(str(tmp_path / "nowhere" / "transcript.sqlite"))


def test_what_cannot_be_written_raises_and_what_was_written_stays(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        call = transcript.open_call(1, "somewhere")
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            transcript._database.execute("PRAGMA busy_timeout = 1")
            with pytest.raises(NotKept, match="locked"):
                transcript.keep(Direction.IN, [(call, "hello")])
            other.execute("ROLLBACK")
        transcript.keep(Direction.IN, [(call, "hello again")])
    assert [m.text for m in read(path)[0].messages] == ["hello again"]


def printed(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> str:
    assert main(["transcript", "--transcript", str(path), *arguments]) == 0
    return capsys.readouterr().out


def test_conversations_are_printed_with_control_characters_escaped(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path)
    output = printed(capsys, path)
    assert "== 1 Anna, 127.0.0.1:4000, " in output
    assert " < hello\n" in output
    assert " > hi Anna\n" in output
    assert " > desk: byebye\n" in output
    assert " -- said byebye\n" in output
    assert r"\x00 \x1b[31m 你好 😀 \u202e \x9b" in output
    assert "-- no end: still on the line, or the desk was killed" in output


def test_json_has_one_conversation_on_each_line_and_the_real_text(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path)
    output = printed(capsys, path, "--json")
    anna, bob = map(json.loads, output.splitlines())
    assert [message["text"] for message in anna["messages"]] == ["hello", "hi Anna", "byebye"]
    assert anna["ending"] == "said byebye"
    assert bob["messages"][0]["text"] == HARD_TEXT
    assert "\x9b" not in output
    assert "\u202e" not in output


def test_json_is_json_in_an_encoding_that_has_not_all_of_it(path: Path) -> None:
    written(path)
    with Transcript(str(path)) as transcript:
        transcript.keep(Direction.IN, [(transcript.open_call(3, "somewhere"), "你好 😀 é")])
    command = [sys.executable, "-m", "manyhands", "transcript", "--json", "--transcript", str(path)]
    for encoding in ("gbk", "ascii", "latin-1", "utf-8"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        output = subprocess.check_output(command, env=environment).decode(encoding)
        documents = [json.loads(line) for line in output.splitlines()]
        assert documents[-1]["messages"][0]["text"] == "你好 😀 é"


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_without_an_output_nothing_is_printed_and_nothing_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    written(path)
    # As in a program that was started with its output closed.
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["transcript", "--transcript", str(path), *form]) == 0


def test_a_row_at_a_terminal_that_looks_like_another_line_is_marked(path: Path) -> None:
    with Transcript(str(path)) as transcript:
        call = transcript.open_call(1, "somewhere", as_text(NOW))
        for other in (
            "12:00:00 > yes",
            "\u200b\uff11\uff12:00:00 > yes",
            "== 2 Bob",
            "-- hung up",
            "and so on",
        ):
            transcript.keep(
                Direction.IN, [(call, "x" * (80 - len("12:00:00 < ")) + other)], as_text(NOW)
            )
    command = [sys.executable, "-m", "manyhands", "transcript", "--transcript", str(path)]
    output, status = pexpect.run(shlex.join(command), withexitstatus=True, dimensions=(24, 80))
    assert status == 0
    assert output.decode().count("x⋮ ") + output.decode().count("x\u200b⋮ ") == 4
    assert "⋮" not in subprocess.check_output(command, text=True)


def test_caller_and_since_choose_what_is_printed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path)
    assert "Anna" not in printed(capsys, path, "--caller", "2")
    assert "Anna" in printed(capsys, path, "--since", "1h")
    assert printed(capsys, path, "--since", "2999-01-01") == ""


@pytest.mark.parametrize("caller", ["9" * 19, "9" * 5000, "no\udcfftext", "²"])
def test_a_caller_that_cannot_be_is_not_found(
    capsys: pytest.CaptureFixture[str], path: Path, caller: str
) -> None:
    written(path)
    assert printed(capsys, path, "--caller", caller) == ""


@pytest.mark.parametrize(
    "arguments",
    [["--since", "soon"], ["--transcript", "nowhere.sqlite"], ["--transcript", ""]],
)
def test_a_mistake_is_one_line_and_status_two(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    written(path)
    assert main(["transcript", "--transcript", str(path), *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("manyhands: ")
    assert output.err.count("\n") == 1


def test_a_transcript_in_a_folder_that_cannot_be_written_is_read(path: Path) -> None:
    written(path)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert len(read(path)) == 2
    finally:
        path.parent.chmod(0o700)


def damage(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA ignore_check_constraints = 1")
        database.execute(statement, values)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("UPDATE messages SET text = x'68ff69' WHERE id = 1", "< h\ufffdi"),
        ("UPDATE messages SET text = CAST(x'68ff69' AS TEXT) WHERE id = 1", "< h\ufffdi"),
        ("UPDATE messages SET text = 1.5 WHERE id = 1", "< hello"),
        ("UPDATE messages SET direction = 'sideways' WHERE id = 1", "> desk: hello"),
        ("UPDATE messages SET said_at = 'noon' WHERE id = 1", "??:??:?? < hello"),
        ("UPDATE messages SET said_at = '0001-01-01' WHERE id = 1", "< hello"),
        ("UPDATE calls SET opened_at = 'then' WHERE id = 1", "== 1 Anna, 127.0.0.1:4000, ??:??:??"),
        ("UPDATE calls SET opened_at = x'00', ended_at = x'00' WHERE id = 1", "-- no end"),
        ("UPDATE calls SET name = x'ff', peer = x'ff' WHERE id = 1", "== 1 \ufffd, \ufffd, "),
        ("UPDATE calls SET number = 'one' WHERE id = 1", "== 0 Anna"),
        ("UPDATE calls SET ending = x'1b' WHERE id = 1", r"-- \x1b"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_a_damaged_row_is_printed_as_far_as_it_can_be_read_and_told(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    statement: str,
    shown: str,
    form: tuple[str, ...],
) -> None:
    written(path)
    damage(path, statement)
    status = main(["transcript", "--transcript", str(path), *form])
    output = capsys.readouterr()
    # SQLite makes a text of a number, and the first day of all is a time.
    if "1.5" not in statement and "0001" not in statement:
        assert status == 1
        assert output.err == (
            "manyhands: some of the transcript is damaged: it is printed as far as it can be read\n"
        )
        assert form or shown in output.out
    assert "你好" in output.out


def test_a_damaged_name_does_not_hide_other_callers(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path)
    for name in ("x'ff'", "CAST(x'ff' AS TEXT)", "1.5", "''"):
        damage(path, f"UPDATE calls SET name = {name} WHERE id = 2")
        assert "Anna" in printed(capsys, path, "--caller", "anna")


def test_a_reader_that_stops_in_the_middle_lets_the_log_be_emptied(path: Path) -> None:
    """As one in a pager does, while a desk writes for hours."""
    written(path)
    with TranscriptReader(str(path)) as reader:
        conversations = reader.conversations()
        next(conversations)
        with sqlite3.connect(path) as database:
            (row,) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert row[0] == 0
        assert list(conversations)


def test_a_file_with_damaged_pages_is_one_sentence(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert main(["transcript", "--transcript", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"manyhands: cannot read the transcript {path}: ")
