"""A desk whose operator is a script on standard input, with real callers."""

import re
import resource
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manyhands.desk.archive import Archive
from tests.desk.kit import ENGINES, MANYHANDS, PATIENCE, Caller, Desk, environment, running


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """What calls are served in."""
    name: str = request.param
    return name


@pytest.fixture
def desk(tmp_path: Path, engine: str) -> Iterator[Desk]:
    with Desk(tmp_path, "--engine", engine) as desk:
        yield desk


def kept(home: Path) -> list[list[tuple[str, str]]]:
    """Return what the transcript has of each call."""
    with Archive(str(home / "transcript.sqlite")) as archive:
        return [[(m.direction, m.text) for m in c.messages] for c in archive.conversations()]


def endings(home: Path) -> list[str | None]:
    with Archive(str(home / "transcript.sqlite")) as archive:
        return [conversation.ending for conversation in archive.conversations()]


def test_a_script_of_five_lines_that_sends_and_receives_gets_the_operators_answer(
    desk: Desk,
) -> None:
    with desk.call() as caller:
        caller.says("hello")  # and no newline
        desk.shows(r"^\[1 127\.0\.0\.1:\d+\] hello$")
        desk.enters("hello yourself")
        assert caller.socket.recv(1024) == b"hello yourself\n"


def test_each_caller_is_answered_and_hears_nothing_of_the_others(desk: Desk) -> None:
    with desk.call() as anna, desk.call() as bob:
        anna.says("/name Anna\n")
        bob.says("/name Bob\n")
        desk.shows("is called Anna")
        desk.shows("is called Bob")
        desk.enters("/to Anna", "hello Anna", "/to Bob", "hello Bob", "/all hello both")
        assert [anna.hears(), anna.hears()] == ["hello Anna", "hello both"]
        assert [bob.hears(), bob.hears()] == ["hello Bob", "hello both"]


def test_byebye_is_answered_and_ends_the_call(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        caller.says("hello\r\n ByeBye \r\nwhat comes later is not heard\n")
        assert [caller.hears(), caller.hears()] == ["byebye", ""]
        desk.shows(r"has left: said byebye$")
    desk.enters("/quit")
    assert desk.ends() == 0
    assert kept(tmp_path) == [[("in", "hello"), ("in", " ByeBye "), ("notice", "byebye")]]


def test_telnet_is_understood(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says("hello\r\n")
        assert desk.shows(r"\] hello")[0] == "] hello"
        assert [line for line in desk.output if line.endswith("\\r")] == []


def test_bytes_that_are_no_utf8_are_shown_replaced_and_the_caller_is_told_once(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says(b"caf\xe9\n")
        desk.shows("\\] caf\ufffd$")
        caller.says(b"na\xefve\n")
        desk.shows("\\] na\ufffdve$")
        desk.enters("got it")
        assert caller.hears() == "desk: some of what you sent is not UTF-8 and is shown as \ufffd"
        assert caller.hears() == "got it"


def test_a_line_that_is_too_long_gets_an_error_line_and_ends_the_call(
    tmp_path: Path, engine: str
) -> None:
    with Desk(tmp_path, "--engine", engine, "--max-line", "100") as desk, desk.call() as caller:
        caller.says("x" * 100 + "\n")
        desk.shows("x{100}$")
        # More than the desk reads: closing upon it must not take the error line back.
        caller.says("one before\n" + "y" * 1_000_000)
        assert caller.hears() == "desk: a line may have 100 bytes; this call is ended"
        assert caller.hears() == ""
        desk.shows("one before$")
        desk.shows("has left: sent a line that is too long$")


def test_the_default_limit_of_a_line_is_8_kib(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says("x" * 8192 + "\n")
        desk.shows("x{8192}$")
        caller.says("x" * 8193)
        assert "8192" in caller.hears()


def test_nothing_that_a_caller_sends_reaches_the_terminal_as_a_command(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says("/name \x1b[31mEve\n\x1b]0;title\x07 \x9b2J \u202eevil \t\r.\n")
        desk.shows(r"\] \\x1b\]0;title\\x07 \\x9b2J \\u202eevil \\t\\r\.$")
        assert caller.hears().startswith("desk: a name has 1 to 32 printable characters")
    output = "".join(desk.output)
    assert output.isprintable()


def test_a_caller_who_is_kicked_is_told_so(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        caller.says("hello\n")
        desk.shows("hello$")
        desk.enters("/kick 1")
        assert [caller.hears(), caller.hears()] == ["desk: the operator has ended the call", ""]
        desk.shows("has left: kicked$")
    assert endings(tmp_path) == ["kicked"]


def test_a_greeting_is_said_to_everybody_who_calls(tmp_path: Path) -> None:
    with Desk(tmp_path, "--greeting", "Welcome 你好") as desk, desk.call() as caller:
        assert caller.hears() == "Welcome 你好"


def test_a_caller_that_vanishes_in_mid_line_is_heard_to_its_last_byte(
    desk: Desk, tmp_path: Path
) -> None:
    caller = desk.call()
    caller.says("I was just about to sa")
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    desk.shows("has called in")
    caller.socket.close()  # with a reset, as of a machine that crashes
    desk.shows("I was just about to sa$")
    desk.shows("has left: the connection was lost$")
    assert endings(tmp_path) == ["the connection was lost"]


def test_a_caller_that_hangs_up_has_left_at_once(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says("hello\n")
    desk.shows("has left: hung up$")
    assert not any("only listens" in line for line in desk.output)


def test_a_caller_that_has_only_stopped_talking_is_still_answered(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says("what time is it?")
        caller.socket.shutdown(socket.SHUT_WR)
        desk.shows("has stopped talking and only listens$")
        assert caller.hears().startswith("desk: you have stopped talking")
        desk.enters("noon")
        assert caller.hears() == "noon"
        desk.enters("/kick 1")
        assert [caller.hears(), caller.hears()] == ["desk: the operator has ended the call", ""]


def test_a_caller_that_does_not_read_is_cut_off_and_holds_up_nobody(
    tmp_path: Path, engine: str
) -> None:
    with (
        Desk(tmp_path, "--engine", engine, "--outbox", "50000") as desk,
        desk.call() as deaf,
        desk.call() as other,
    ):
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        other.says("/name other\n")
        desk.shows("is called other")
        for number in range(600):
            desk.enters(f"/all {number:01000}")
            assert int(other.hears()) == number
        desk.shows(r"^-- 1 \S+ has left: did not read what was said to it$")
        assert endings(tmp_path) == ["did not read what was said to it", None]


def test_the_operator_is_told_that_there_is_nobody_to_answer_when_the_current_caller_leaves(
    desk: Desk,
) -> None:
    with desk.call() as anna, desk.call() as bob:
        desk.shows("^-- 2 .* has called in")
        anna.says("byebye\n")
        desk.shows("^-- nobody is being answered now; /to N chooses, there is 2 ")
        desk.enters("for Anna only", "/to 2", "hello Bob")
        desk.shows("^-- that was said to nobody: /to N chooses whom to answer; there is 2 ")
        assert bob.hears() == "hello Bob"


def test_the_end_of_the_input_leaves_the_desk_open_for_those_on_the_line(desk: Desk) -> None:
    with desk.call() as talking, desk.call() as listening, desk.call() as late:
        listening.socket.shutdown(socket.SHUT_WR)
        desk.shows("only listens")
        desk.process.stdin.close()
        assert listening.hears().startswith("desk: you have stopped talking")
        assert listening.hears() == ""  # nobody is there to answer any more
        late.socket.shutdown(socket.SHUT_WR)
        assert late.hears().startswith("desk: you have stopped talking")
        assert late.hears() == ""
        talking.says("still here\nbyebye\n")
        assert talking.hears() == "byebye"
        desk.shows("still here$")
        assert desk.ends() == 0
    assert desk.output[-1] == "the desk is closed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_desk_politely(desk: Desk, tmp_path: Path, number: int) -> None:
    with desk.call() as caller:
        caller.says("hello\n")
        desk.shows("hello$")
        desk.process.send_signal(number)
        assert [caller.hears(), caller.hears()] == ["desk: the desk is closing", ""]
        assert desk.ends() == 0
    assert desk.output[-1] == "the desk is closed"
    assert endings(tmp_path) == ["the desk closed"]


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
        caller.says("".join(f"line {number}\n" for number in range(20_000)))
        desk.shows("line 19999$")
    command = [*MANYHANDS, "transcript", "--transcript", str(tmp_path / "transcript.sqlite")]
    with subprocess.Popen(
        command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


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
        desk.shows(r"^-- the transcript cannot be written \(.*\): what is said is not kept$")
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
        caller.says("after\n")
        desk.shows("the transcript is written again; lines that were not kept: 1$")
        desk.shows("after$")
    assert kept(tmp_path)[0][0] == ("in", "before")
    assert ("in", "after") in kept(tmp_path)[0]


def test_more_callers_than_the_soft_limit_of_descriptors_can_call(
    tmp_path: Path, engine: str
) -> None:
    def lower_the_soft_limit() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    with Desk(tmp_path, "--engine", engine, preexec_fn=lower_the_soft_limit) as desk:
        callers = [desk.call() for _ in range(150)]
        desk.shows("^-- 150 .* has called in$")
        for caller in callers:
            caller.socket.close()


def test_a_desk_on_a_unix_path_and_on_a_port_at_once(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "desk.sock"
    with (
        Desk(tmp_path, "--engine", engine, "--bind", f"unix://{path}") as desk,
        desk.call() as over_tcp,
    ):
        over_tcp.says("over TCP\n")
        desk.shows("over TCP$")
        with Caller(str(path), socket.AF_UNIX) as over_path:
            over_path.says("over a path\n")
            desk.shows(r"^\[2 .*\] over a path$")
            desk.enters("/to 2", "hello")
            assert over_path.hears() == "hello"
        desk.shows("^-- 2 .* has left: hung up$")
        desk.enters("/quit")
        assert desk.ends() == 0
    assert not path.exists()


def test_when_the_reader_of_the_output_goes_the_desk_closes_politely(tmp_path: Path) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with running(command, tmp_path) as process:
        invitation = list(iter(process.stdout.readline, b"/help says what you can do\n"))
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", invitation[0])[1])
        process.stdout.close()
        with Caller(("127.0.0.1", port)) as caller:
            assert caller.hears() == "desk: the desk is closing"
        assert process.wait(PATIENCE) == 128 + signal.SIGPIPE
        assert process.stderr.read() == b""


def test_who_waits_to_be_accepted_when_the_desk_closes_is_told_so(
    desk: Desk, tmp_path: Path
) -> None:
    # A desk that has no time just now: its callers connect, and wait in the kernel's backlog.
    desk.process.send_signal(signal.SIGSTOP)
    waiting = [desk.call() for _ in range(50)]
    desk.process.send_signal(signal.SIGTERM)
    desk.process.send_signal(signal.SIGCONT)
    for caller in waiting:
        with caller:
            assert [caller.hears(), caller.hears()] == ["desk: the desk is closing", ""]
    assert desk.ends() == 0
    assert endings(tmp_path) == ["the desk closed"] * 50


def test_an_order_that_is_unfinished_when_the_desk_is_stopped_is_not_carried_out(
    desk: Desk,
) -> None:
    with desk.call() as caller:
        desk.shows("has called in")
        desk.enters("/list\nhalf a sent", end="")
        desk.shows("you are answering$")
        desk.process.send_signal(signal.SIGTERM)
        assert caller.hears() == "desk: the desk is closing"


def test_an_order_that_is_unfinished_at_the_end_of_the_input_is_carried_out(desk: Desk) -> None:
    with desk.call() as caller:
        desk.shows("has called in")
        desk.process.stdin.write(b"/list\nlast words")
        desk.process.stdin.close()
        assert caller.hears() == "last words"


def test_an_endless_line_on_standard_input_is_a_mistake_and_not_a_memory_hog(
    desk: Desk,
) -> None:
    with desk.call() as caller:
        desk.shows("has called in")
        desk.process.stdin.write(b"hello\n" + b"x" * 1_048_577)
        desk.process.stdin.close()
        assert [caller.hears(), caller.hears()] == ["hello", "desk: the desk is closing"]
        assert desk.ends() == 2
    assert desk.output[-1] == "manyhands: a line of the input is longer than 1048576 bytes"


def test_a_desk_that_is_started_without_any_input_opens_and_closes(tmp_path: Path) -> None:
    command = " ".join([*MANYHANDS, "chat --bind 127.0.0.1:0 --transcript :memory: <&-"])
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env=environment(tmp_path), check=True
    )
    assert done.stdout.endswith("the desk is closed\n")
    assert done.stderr == ""


def test_an_output_that_knows_no_chinese_gets_backslashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with Desk(tmp_path) as desk, desk.call() as caller:
        caller.says("你好\n")
        desk.shows(r"\] \\u4f60\\u597d$")
        command = [*MANYHANDS, "transcript", "--transcript", str(tmp_path / "transcript.sqlite")]
        assert rb"\u4f60\u597d" in subprocess.check_output(command, env=environment(tmp_path))


def refused(tmp_path: Path, *arguments: str) -> str:
    """Run a command that is refused; return the sentence."""
    done = subprocess.run(
        [*MANYHANDS, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("manyhands: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def tasks(desk: Desk) -> int:
    """Count the threads of a desk."""
    return len(list(Path(f"/proc/{desk.process.pid}/task").iterdir()))


@pytest.mark.parametrize(
    ("arguments", "engine"),
    [([], "fibers"), (["--engine", "fibers"], "fibers"), (["--engine", "threads"], "threads")],
)
def test_calls_are_served_in_fibers_unless_somebody_says_otherwise(
    tmp_path: Path, arguments: list[str], engine: str
) -> None:
    with Desk(tmp_path, *arguments) as desk:
        callers = [desk.call() for _ in range(30)]
        desk.shows("^-- 30 .* has called in$")
        assert (tasks(desk) > 30) is (engine == "threads")
        for caller in callers:
            caller.socket.close()


def test_an_output_that_nobody_reads_holds_up_no_other_caller(tmp_path: Path, engine: str) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0", "--transcript", ":memory:"]
    with running([*command, "--engine", engine, "--greeting", "Welcome"], tmp_path) as process:
        invitation = list(iter(process.stdout.readline, b"/help says what you can do\n"))
        port = int(re.search(rb"127\.0\.0\.1:(\d+)", invitation[0])[1])
        address = ("127.0.0.1", port)
        with Caller(address) as talking, Caller(address) as listening:
            assert [talking.hears(), listening.hears()] == ["Welcome", "Welcome"]
            # Until neither the pipe, nor the desk, nor the kernel takes any more.
            fill(talking.socket)
            for _ in range(20):
                with Caller(address) as other:
                    assert other.hears() == "Welcome"
            process.stdin.write(b"/all hello\n")
            process.stdin.flush()
            assert listening.hears() == "hello"
            while process.stdout.readline() != b"[you to all] hello\n":
                pass


def fill(connection: socket.socket) -> None:
    """Send lines until the peer has taken none for a while."""
    connection.setblocking(False)
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    while poll.poll(500):
        connection.send(b"another line\n" * 100)


def test_a_transcript_that_another_program_locks_holds_up_no_other_caller(
    tmp_path: Path,
) -> None:
    with Desk(tmp_path, "--engine", "fibers") as desk, desk.call() as caller:
        caller.says("before\n")
        desk.shows("before$")
        with sqlite3.connect(tmp_path / "transcript.sqlite", isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")
            caller.says("meanwhile\n")
            desk.shows("the transcript cannot be written .*locked")
            desk.shows("meanwhile$")
            other.execute("ROLLBACK")
        # An event that the operator sees, unless other fibers could run while the desk waited for a second.
        assert not [line for line in desk.output if "has held up all other fibers" in line]


def test_a_port_in_use_is_named_in_one_sentence(desk: Desk, tmp_path: Path) -> None:
    arguments = ["--bind", f"127.0.0.1:{desk.port}", "--transcript", ":memory:"]
    sentence = refused(tmp_path, "chat", *arguments)
    assert f"cannot listen on 127.0.0.1:{desk.port}" in sentence
    assert "in use" in sentence


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--bind", "udp://127.0.0.1:0"], "a desk listens on tcp:// or unix:// addresses"),
        (["--bind", "nonsense"], "'nonsense' is not an address"),
        (["--max-line", "0"], "--max-line must be a whole number"),
        (["--outbox", "lots"], "--outbox must be a whole number"),
        (["--engine", "processes"], "--engine must be threads or fibers, not 'processes'"),
        (
            ["--transcript", "/proc/none/t.sqlite"],
            "cannot write the transcript /proc/none/t.sqlite",
        ),
        (["--transcript", sys.executable], "cannot write the transcript"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], why: str) -> None:
    assert why in refused(tmp_path, "chat", *arguments)


def test_the_transcript_is_in_the_data_folder_by_default(tmp_path: Path) -> None:
    command = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0"]
    subprocess.run(command, input=b"/quit\n", env=environment(tmp_path), check=True)
    assert (tmp_path / "data" / "manyhands" / "transcript.sqlite").is_file()
