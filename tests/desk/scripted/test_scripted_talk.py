"""A desk whose operator is a script on standard input, with real callers."""

import resource
import socket
import struct
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.desk.kit import Desk

from .kit import endings, kept


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
        assert caller.hears() == "desk: some of what you sent is not UTF-8 and cannot be read"
        assert caller.hears() == "got it"


def test_a_caller_from_chinese_windows_is_understood_once_the_operator_says_so(desk: Desk) -> None:
    with desk.call() as caller:
        caller.says("二号".encode("gbk"))
        desk.shows(
            "^-- 1 .* does not send UTF-8; in gbk this would be '二号': /encoding 1 gbk has it read so$"
        )
        # All that the desk says by itself is the same in every encoding.
        assert caller.hears().isascii()
        desk.enters("/encoding 1 gbk")
        desk.shows("^-- 1 .* is read and written in gbk$")
        caller.says("你好\n".encode("gbk"))
        desk.shows(r"\] 你好$")
        # An emoji has four bytes in GB 18030, at which a program of GBK fails.
        desk.enters("您好😀")
        assert caller.socket.recv(100).decode("gbk") == "您好?\n"
        caller.says(b"half:" + "再".encode("gbk")[:1])
        desk.shows(r"\] half:$")
        desk.shows("^-- 1 .* does not send GBK: /encoding 1 NAME has it read in another encoding$")
        assert caller.hears() == "desk: some of what you sent is not GBK and cannot be read"
        caller.says("byebye\r\n")
        assert caller.hears() == "byebye"


def test_what_a_caller_cannot_read_is_told_to_the_operator(tmp_path: Path, engine: str) -> None:
    arguments = ("--engine", engine, "--encoding", "latin-1", "--greeting", "Schön ☕")
    with Desk(tmp_path, *arguments) as desk, desk.takes_a_call() as caller:
        assert caller.socket.recv(100) == "Schön ?\n".encode("latin-1")
        caller.says("café\n".encode("latin-1"))
        desk.shows(r"\] café$")
        desk.enters("naïve ☕ 你")
        assert caller.socket.recv(100) == "naïve ? ?\n".encode("latin-1")
        desk.shows(r"^-- iso8859-1 has no ☕你: sent as \?\?$")
        desk.enters("/encoding 1 utf-16", "/encoding 1", "/encoding nobody gbk")
        desk.shows("^-- the encoding 'utf-16' is not for lines of text")
        desk.shows("^-- /encoding needs more: /encoding N NAME$")
        desk.shows("^-- nobody on the line is nobody")


def test_a_name_that_imitates_another_caller_is_refused_and_the_same_name_is_told(
    desk: Desk,
) -> None:
    with desk.takes_a_call() as anna, desk.takes_a_call() as eve:
        anna.says("/name Anna\n")
        desk.shows("is called Anna$")
        eve.says("/name \uff21\uff2e\uff2e\uff21\n/name \u3164\n/name [1 Anna]\n/name anna\n")
        assert eve.hears() == "desk: there is a caller with a name that looks the same"
        assert eve.hears() == "desk: a name may not have characters that cannot be seen"
        assert eve.hears() == "desk: a name may not have brackets"
        desk.shows("^-- 2 .* is called anna, and so is 1$")


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


def test_a_kicked_caller_is_told_so(desk: Desk, tmp_path: Path) -> None:
    with desk.call() as caller:
        caller.says("hello\n")
        desk.shows("hello$")
        desk.enters("/kick 1")
        assert [caller.hears(), caller.hears()] == ["desk: the operator has ended the call", ""]
        desk.shows("has left: kicked$")
    assert endings(tmp_path) == ["kicked"]


def test_every_caller_gets_the_greeting(tmp_path: Path) -> None:
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


def test_a_caller_that_does_not_read_is_cut_off_and_holds_up_no_other(
    tmp_path: Path, engine: str
) -> None:
    with (
        Desk(tmp_path, "--engine", engine, "--outbox", "50000") as desk,
        desk.takes_a_call() as deaf,
        desk.takes_a_call() as other,
    ):
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        other.says("/name other\n")
        desk.shows("is called other")
        for number in range(600):
            desk.enters(f"/all {number:01000}")
            assert int(other.hears()) == number
        desk.shows(r"^-- 1 \S+ has left: did not read what was said to it$")
        assert endings(tmp_path) == ["did not read what was said to it", None]


def test_the_operator_is_told_when_the_current_caller_leaves(
    desk: Desk,
) -> None:
    with desk.takes_a_call() as anna, desk.takes_a_call() as bob:
        anna.says("byebye\n")
        desk.shows("^-- nobody is being answered now; /to N chooses, there is 2 ")
        desk.enters("for Anna only", "/to 2", "hello Bob")
        desk.shows("^-- that was said to nobody: /to N chooses whom to answer; there is 2 ")
        assert bob.hears() == "hello Bob"


def test_out_of_descriptors_no_caller_is_lost_and_each_is_told_what_is_to_be_told(
    tmp_path: Path, engine: str
) -> None:
    def have_few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with (
        Desk(tmp_path, "--engine", engine, preexec_fn=have_few) as desk,
        desk.takes_a_call() as listener,
        desk.takes_a_call() as other,
        ExitStack() as crowd,
    ):
        for _ in range(40):
            crowd.enter_context(desk.call())
        desk.shows("Too many open files")
        listener.socket.shutdown(socket.SHUT_WR)
        desk.shows("^-- 1 .* has stopped talking and only listens$")
        other.says(b"caf\xe9\n")
        desk.shows(
            "^-- 2 .* does not send UTF-8: /encoding 2 NAME has it read in another encoding$"
        )
        desk.enters("/to 1", "hello", "/to 2", "hello")
        assert listener.hears().startswith("desk: you have stopped talking")
        assert listener.hears() == "hello"
        listener.socket.close()
        desk.enters("/to 1", "are you there?")
        desk.shows("^-- 1 .* has left: hung up$")
        assert not any("lost" in line for line in desk.output)


def test_a_client_writes_no_other_label_into_the_path_of_its_socket(
    tmp_path: Path, engine: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/desk"
        with (
            Desk(tmp_path, "--engine", engine, "--bind", f"unix://{path}") as desk,
            socket.socket(socket.AF_UNIX) as caller,
        ):
            caller.bind("\0x] hello [2 Bob")
            caller.connect(path)
            caller.sendall(b"pay me\n")
            desk.shows(r"^\[1 @x\\x5d hello \\x5b2 Bob\] pay me$")
