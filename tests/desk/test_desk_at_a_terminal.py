"""The desk as a person uses it: a real terminal with the operator, and several callers at once."""

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from manyhands.desk.terminal import _History
from manyhands.desk.transcript_reader import TranscriptReader
from tests.desk.kit import MANYHANDS, Caller, Person, wait_for

OPEN_DESK = [*MANYHANDS, "chat", "--bind", "127.0.0.1:0"]


class Operator(Person):
    """An operator at a terminal with a desk."""

    def __init__(
        self, home: Path, *arguments: str, columns: int = 100, command: Sequence[str] = OPEN_DESK
    ) -> None:
        super().__init__([*command, *arguments], home, columns)
        self.sees("nobody on the line")
        found = re.search(r"the desk is open on tcp://127\.0\.0\.1:(\d+)", "".join(self.rows()))
        assert found is not None
        self.port = int(found[1])
        self.callers: list[Caller] = []

    def call(self, name: str) -> Caller:
        """Have a caller connect."""
        caller = Caller(("127.0.0.1", self.port))
        self.callers.append(caller)  # a socket without a reference would hang up
        caller.says(f"/name {name}\n")
        self.sees(f"is called {name}")
        return caller

    def prompt(self) -> list[str]:
        """Return the last two rows: the callers on the line, and the line being typed."""
        return self.text().splitlines()[-2:]

    def sees_prompt(self, status: str, typed: str) -> None:
        """Wait until the prompt is this."""
        wait_for(
            lambda: [row.strip() for row in self.prompt()] == [status, typed],
            lambda: f"{status!r}, {typed!r} at the end of\n{self.text()}",
        )


def wait_for_typed(operator: Operator, row: str) -> str:
    """Wait until the last row is this; return all rows."""
    return wait_for(
        lambda: (text := operator.text()).endswith(f"\n{row}") and text,
        lambda: f"{row!r} at the end of\n{operator.text()}",
    )


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    with Operator(tmp_path) as operator:
        yield operator


def kept(home: Path) -> dict[str | None, list[str]]:
    """Return what the transcript in the data folder has of each caller, by name."""
    with TranscriptReader(str(home / "data" / "manyhands" / "transcript.sqlite")) as archive:
        return {c.name: [m.text for m in c.messages] for c in archive.conversations()}


def endings(home: Path) -> list[str | None]:
    """Return how the calls in the transcript in the data folder have ended."""
    with TranscriptReader(str(home / "data" / "manyhands" / "transcript.sqlite")) as archive:
        return [conversation.ending for conversation in archive.conversations()]


def test_an_operator_talks_with_three_callers_at_once(operator: Operator, tmp_path: Path) -> None:
    anna, bob, wang = (operator.call(name) for name in ("Anna", "Bob", "王小明"))
    operator.sees_prompt("3 on the line", "1 Anna >")
    bob.says("hello from Bob\n")
    wang.says("你好 😀\nmore\n")
    anna.says("hello from Anna\n")
    operator.sees("[2 Bob] hello from Bob")
    operator.sees("[3 王小明] 你好 😀")
    operator.sees("[1 Anna] hello from Anna")
    operator.sees_prompt("3 on the line  unread: 2 Bob (1), 3 王小明 (2)", "1 Anna >")
    operator.enters("hello Anna")
    operator.enters("/to 王小明")
    operator.enters("你好吗? 😀")
    operator.sees_prompt("3 on the line  unread: 2 Bob (1)", "3 王小明 >")
    operator.enters("/to 2")
    operator.enters("hello Bob")
    operator.enters("/all goodbye 再见")
    assert [anna.hears(), anna.hears()] == ["hello Anna", "goodbye 再见"]
    assert [wang.hears(), wang.hears()] == ["你好吗? 😀", "goodbye 再见"]
    assert [bob.hears(), bob.hears()] == ["hello Bob", "goodbye 再见"]
    operator.enters("/quit")
    assert operator.leaves() == 0
    assert operator.text().endswith("the desk is closed")
    assert kept(tmp_path) == {
        "Anna": ["hello from Anna", "hello Anna", "goodbye 再见", "the desk is closing"],
        "Bob": ["hello from Bob", "hello Bob", "goodbye 再见", "the desk is closing"],
        "王小明": ["你好 😀", "more", "你好吗? 😀", "goodbye 再见", "the desk is closing"],
    }


def test_what_comes_in_never_tears_the_line_being_typed(operator: Operator) -> None:
    anna, bob = operator.call("Anna"), operator.call("Bob")
    typed = ""
    for number, character in enumerate("An answer that takes a while: 你好 😀 !"):
        operator.types(character)
        typed += character
        (anna, bob)[number % 2].says(f"line {number}\n")
        operator.sees(f"line {number}")
        shown = wait_for_typed(operator, f"1 Anna > {typed.rstrip()}")
        numbers = re.findall(r"^\[\d \w+\] line (\d+)$", shown, flags=re.MULTILINE)
        assert numbers == [str(n) for n in range(number + 1)]
    operator.enters("")
    assert anna.hears() == typed


@pytest.fixture
def swamped(tmp_path: Path) -> Iterator[Operator]:
    """An operator whose callers may say as much as they can."""
    with Operator(tmp_path, "--max-line-rate", "1000000") as operator:
        yield operator


def test_a_flood_leaves_the_operator_and_the_others_served(
    swamped: Operator, tmp_path: Path
) -> None:
    operator = swamped
    flooder, other = operator.call("Flo"), operator.call("Other")
    said: list[int] = []
    is_enough = threading.Event()

    def flood() -> None:
        """Say a thousand lines at a time: as long as it goes on, as many wait to be shown."""
        while not is_enough.is_set():
            lines = range(len(said), len(said) + 1000)
            said.extend(lines)
            flooder.says("".join(f"{number} flood\n" for number in lines))
            operator.sees(f"[1 Flo] {max(0, len(said) - 2000)} flood")

    flooding = threading.Thread(target=flood)
    flooding.start()
    operator.sees("[1 Flo] 500 flood")
    operator.enters("/to Other")
    for number in range(10):
        operator.enters(f"question {number}")
        assert other.hears() == f"question {number}"
        other.says(f"answer {number}\n")
        operator.sees(f"[2 Other] answer {number}")
    operator.types("still typing")
    wait_for_typed(operator, "2 Other > still typing")
    assert flooding.is_alive()
    is_enough.set()
    flooding.join()
    operator.sees(f"[1 Flo] {said[-1]} flood")
    shown = re.findall(r"^\[1 Flo\] (\d+) flood$", operator.text(), flags=re.MULTILINE)
    assert shown == [str(number) for number in said]
    assert operator.prompt()[1] == "2 Other > still typing"
    assert kept(tmp_path)["Flo"] == [f"{number} flood" for number in said]


def test_a_caller_that_vanishes_in_mid_line_is_heard_to_its_last_byte(operator: Operator) -> None:
    anna, bob = operator.call("Anna"), operator.call("Bob")
    bob.says("vanishing in mid-l")
    bob.socket.close()
    operator.sees("[2 Bob] vanishing in mid-l")
    operator.sees("-- 2 Bob has left: hung up")
    operator.enters("still there?")
    assert anna.hears() == "still there?"


def test_when_the_current_caller_leaves_the_line_being_typed_goes_to_no_other(
    operator: Operator,
) -> None:
    anna, bob = operator.call("Anna"), operator.call("Bob")
    operator.types("a secret for Anna")
    operator.sees("1 Anna > a secret for Anna")
    anna.says("byebye\n")
    operator.sees("-- nobody is being answered now; /to N chooses, there is 2 Bob")
    operator.sees_prompt("1 on the line", "> a secret for Anna")
    operator.call("Carl")  # a caller that comes while a line is being typed does not get it either
    operator.sees_prompt("2 on the line", "> a secret for Anna")
    operator.enters("")
    operator.sees(
        "-- that was said to nobody: /to N chooses whom to answer; there are 2 Bob, 3 Carl"
    )
    operator.enters("/to Bob")
    operator.sees_prompt("2 on the line", "2 Bob >")
    operator.types("\x1b[A\x1b[A")  # the line is not lost: it is in the history
    operator.sees("2 Bob > a secret for Anna")
    operator.types("\x03")
    operator.enters("hello Bob")
    assert bob.hears() == "hello Bob"


def test_a_caller_that_does_not_read_is_cut_off_and_the_operator_sees_why(tmp_path: Path) -> None:
    with Operator(tmp_path, "--outbox", "20000") as operator:
        deaf, other = operator.call("Deaf"), operator.call("Other")
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while "has left" not in operator.text():
            operator.enters(f"\x1b[200~/all {'x' * 3000}\x1b[201~")  # pasted
            assert other.hears() == "x" * 3000
        operator.sees("-- 1 Deaf has left: did not read what was said to it")


def test_a_desk_killed_at_once_has_kept_every_line_that_it_had_shown(
    operator: Operator, tmp_path: Path
) -> None:
    anna, bob = operator.call("Anna"), operator.call("Bob")
    for number in range(200):
        anna.says(f"Anna {number} 你好\n")
        bob.says(f"Bob {number} 😀\n")
    operator.enters("an answer")
    operator.sees("Bob 100")
    operator.child.kill(signal.SIGKILL)
    assert operator.leaves() == -signal.SIGKILL
    said = kept(tmp_path)
    shown = re.findall(r"^\[(?:you to )?\d (\w+)\] (.*)$", operator.text(), flags=re.MULTILINE)
    assert len(shown) > 100
    for name, text in shown:
        assert text in said[name]


def test_nothing_that_a_caller_sends_moves_the_cursor_or_colours_the_terminal(
    operator: Operator,
) -> None:
    eve = operator.call("Eve")
    eve.says("\x1b[2J\x1b[1;1H\x1b[31mred \x9b5A \x07\x08\u202e <b>&amp;{x} \ttab\n")
    operator.sees(r"[1 Eve] \x1b[2J\x1b[1;1H\x1b[31mred \x9b5A \x07\x08\u202e <b>&amp;{x} \ttab")
    assert b"\x1b[31m" not in operator.received
    assert b"\x1b[6n" not in operator.received  # whose answer would be taken for typing
    assert b"\x07" not in operator.received
    assert b"\x9b" not in operator.received.replace("盛".encode(), b"")


def test_lines_that_are_longer_than_the_terminal_is_wide_are_whole(tmp_path: Path) -> None:
    with Operator(tmp_path, columns=40) as operator:
        anna = operator.call("Anna")
        text = "".join(f"{number:03}" for number in range(100))
        anna.says(f"{text}\n")
        operator.sees("098099")  # longer than the number of a port or of a folder
        assert f"[1 Anna] {text}" in "".join(operator.rows())


def test_tab_completes_verbs_and_callers(operator: Operator) -> None:
    operator.call("Anna")
    bob = operator.call("Bob")
    operator.types("/t\t")
    operator.sees("1 Anna > /to")
    operator.types("Bo\t")
    operator.sees("1 Anna > /to Bob")
    operator.enters("")
    operator.enters("hello")
    assert bob.hears() == "hello"


def test_the_history_outlives_the_desk(tmp_path: Path) -> None:
    with Operator(tmp_path) as operator:
        operator.enters("/list")
        operator.sees("-- nobody is on the line")
        operator.enters("/quit")
        assert operator.leaves() == 0
    with Operator(tmp_path) as operator:
        operator.types("\x1b[A\x1b[A")
        operator.sees("> /list")


def test_a_history_whose_disk_does_not_answer_holds_up_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manyhands.desk.terminal._LONGEST_WRITE", 0.05)
    file = tmp_path / "history"
    os.mkfifo(file)  # to open it waits for a reader
    history = _History(str(file))
    history.append_string("one")
    history.append_string("two")
    assert history.get_strings() == ["one", "two"]
    with file.open() as reader:
        assert "+one" in reader.read()


def test_in_memory_keeps_no_history_either(tmp_path: Path) -> None:
    with Operator(tmp_path, "--transcript", ":memory:") as operator:
        operator.enters("/list")
        operator.enters("/quit")
        assert operator.leaves() == 0
    assert not (tmp_path / "data").exists()


def test_pasted_lines_are_said_one_by_one(operator: Operator) -> None:
    anna = operator.call("Anna")
    operator.types("\x1b[200~one\n/kick 1\nthree\x1b[201~")
    operator.enters("")
    assert [anna.hears(), anna.hears(), anna.hears()] == ["one", "/kick 1", "three"]


def test_ctrl_c_discards_the_line_and_then_closes_the_desk(operator: Operator) -> None:
    anna = operator.call("Anna")
    operator.types("not what I meant")
    operator.sees("> not what I meant")
    operator.types("\x03")
    operator.sees_prompt("1 on the line", "1 Anna >")
    operator.types("\x03")
    assert anna.hears() == "desk: the desk is closing"
    assert operator.leaves() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_desk_politely_even_while_a_line_is_being_typed(
    operator: Operator, number: int
) -> None:
    anna = operator.call("Anna")
    operator.types("unfinished")
    operator.sees("> unfinished")
    operator.child.kill(number)
    assert anna.hears() == "desk: the desk is closing"
    assert operator.leaves() == 0
    assert operator.text().endswith("the desk is closed")


def test_a_terminal_that_goes_away_closes_the_desk_politely(tmp_path: Path) -> None:
    window = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *OPEN_DESK]
    with Operator(tmp_path, command=window) as operator:
        anna = operator.call("Anna")
        operator.child.kill(signal.SIGKILL)  # the window, not the desk in it
        assert [anna.hears(), anna.hears()] == ["desk: the desk is closing", ""]
    wait_for(lambda: endings(tmp_path) == ["the desk closed"], lambda: "the desk to end")


@pytest.mark.parametrize("end", ["/quit\r", "\x04", "\x03"], ids=["quit", "ctrl-d", "ctrl-c"])
def test_the_terminal_is_left_as_it_was(tmp_path: Path, end: str) -> None:
    desk = " ".join(OPEN_DESK)
    script = f"echo before $(stty -g); {desk}; echo status $?; echo after $(stty -g); read line"
    with Person(["/bin/sh", "-c", script], tmp_path, columns=150) as person:
        person.sees("nobody on the line")
        person.types(end)
        person.sees("after")
        before = re.search("before (.*)", person.text())
        after = person.sees(f"after {before[1]}") if before else ""
        assert "status 0" in after
        assert person.received.count(b"\x1b[?2004h") == person.received.count(b"\x1b[?2004l")
        assert not person.screen.cursor.hidden


def test_ctrl_z_stops_the_desk_and_fg_goes_on_with_the_line(tmp_path: Path) -> None:
    shell = ["/bin/bash", "--norc", "--noprofile", "-i"]
    with Person(shell, tmp_path) as person:
        person.enters(" ".join([*OPEN_DESK, "--transcript", ":memory:"]))
        person.sees("nobody on the line")
        person.types("/li")
        person.sees("> /li")
        person.types("\x1a")
        person.sees("Stopped")
        person.enters("echo here is the $0")
        person.sees("here is the /bin/bash")
        person.enters("fg")
        person.sees("nobody on the line")
        person.enters("st")
        person.sees("-- nobody is on the line")


def test_what_is_told_at_the_end_is_seen(tmp_path: Path) -> None:
    code = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (150_000, 150_000)); "
    code += "from manyhands.cli import command; command()"
    desk = [sys.executable, "-c", code, *OPEN_DESK[len(MANYHANDS) :]]
    with Operator(tmp_path, command=desk) as operator:
        anna = operator.call("Anna")
        for number in range(60):
            anna.says(f"{number:04000}\n")
        operator.sees("-- the transcript cannot be written")
        operator.enters("/quit")
        assert operator.leaves() == 0
        assert re.search(r"-- lines that were not kept: \d+\nthe desk is closed$", operator.text())


def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    command = ["/usr/bin/env", "TERM=dumb", *OPEN_DESK]
    with Person(command, tmp_path) as operator:
        operator.sees("/help says")
        operator.enters("/list")
        operator.sees("-- nobody is on the line")
        operator.enters("/quit")
        assert operator.leaves() == 0
        assert b"\x1b" not in operator.received
