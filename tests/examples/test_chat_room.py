"""The chat room: names, rooms, private messages, and lines that are not for others."""

import importlib.util
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from manyhands.testing import deaf, half_close, reset, serving, wait_until
from tests.support import Program, python
from tests.support.waiting import PATIENCE

PROGRAM = Path(__file__).parents[2] / "examples" / "chat_room.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chat_room", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chat_room = loaded()


IN_THIS_PROCESS = pytest.mark.parametrize("under_test", ["threads", "fibers"], indirect=True)
"""For tests that look into their handlers, or reset a connection, of which no forked copy may be there."""


class Person:
    """A client, who hears whole lines."""

    def __init__(self, peer: socket.socket, name: str) -> None:
        peer.settimeout(PATIENCE)
        self.peer = peer
        self._lines = peer.makefile("r", encoding="utf-8", newline="\n")
        assert self.hears() == "Welcome. What is your name?"
        if name:
            self.says(name)
            assert [self.hears(), self.hears()] == [
                f"Hello {name}. /help says what you can do.",
                "You are in hall.",
            ]

    def says(self, *lines: str) -> None:
        self.peer.sendall("".join(f"{line}\n" for line in lines).encode())

    def hears(self) -> str:
        line = self._lines.readline()
        assert line.endswith("\n"), f"the end came after {line!r}"
        return line.removesuffix("\n")

    def answer(self, line: str) -> str:
        """Say a line, and hear one."""
        self.says(line)
        return self.hears()

    def breaks_off(self) -> None:
        self._lines.close()
        reset(self.peer)

    def hears_the_end(self) -> bool:
        return not self._lines.readline()


@pytest.fixture(params=["threads", "fibers", "processes"])
def under_test(request: pytest.FixtureRequest) -> Iterator[Any]:
    with serving(chat_room.ChatRoom, engine=request.param) as running:
        yield running


@pytest.fixture
def called(under_test: Any) -> Callable[[str], Person]:
    """What calls the room, as a person of a name."""
    return lambda name: Person(under_test.connect(), name)


def test_those_in_a_room_hear_each_other(called: Callable[[str], Person]) -> None:
    anna, ming = called("Anna"), called("小明")
    assert anna.hears() == "* 小明 has come"
    ming.says("你好", "", "hello :)")
    assert [anna.hears(), anna.hears()] == ["小明: 你好", "小明: hello :)"]
    assert ming.answer("/who") == "Anna, 小明"
    anna.says("/quit")
    assert ming.hears() == "* Anna has gone"
    assert anna.hears_the_end()
    assert ming.answer("/who") == "小明"


def test_a_room_is_heard_by_those_who_are_in_it_alone(called: Callable[[str], Person]) -> None:
    anna, bob, eve = called("Anna"), called("Bob"), called("Eve")
    for person, others in ((anna, ("Bob", "Eve")), (bob, ("Eve",))):
        assert [person.hears() for _ in others] == [f"* {other} has come" for other in others]
    assert anna.answer("/join #red") == "You are in red."
    assert bob.hears() == eve.hears() == "* Anna has left"
    assert bob.answer("/join red") == "You are in red."
    assert anna.hears() == "* Bob has come"
    assert eve.hears() == "* Bob has left"
    bob.says("for red alone")
    assert anna.hears() == "Bob: for red alone"
    assert eve.answer("/rooms") == "hall (1), red (2)"
    assert anna.answer("/join red") == "You are in red already."
    assert bob.answer("/leave") == "You are in hall."
    assert [anna.hears(), eve.hears()] == ["* Bob has left", "* Bob has come"]
    assert anna.answer("/leave") == "You are in hall."
    assert bob.answer("/rooms") == "* Anna has come"
    assert bob.hears() == "hall (3)"


def test_a_private_message_is_heard_by_one_alone(called: Callable[[str], Person]) -> None:
    anna, bob, eve = called("Anna"), called("Bob"), called("Eve")
    assert [anna.hears(), anna.hears(), bob.hears()] == [
        "* Bob has come",
        "* Eve has come",
        "* Eve has come",
    ]
    anna.says("/join red", "/msg bob it is  a secret", "/msg carl is this one here", "/leave")
    assert [anna.hears(), anna.hears(), anna.hears()] == [
        "You are in red.",
        "There is no carl here. /who names those in this room.",
        "You are in hall.",
    ]
    assert [bob.hears(), bob.hears()] == ["* Anna has left", "Anna (to you alone): it is  a secret"]
    assert [eve.hears(), eve.hears()] == ["* Anna has left", "* Anna has come"]


def test_a_name_is_taken_once_until_its_client_gives_it_up(called: Callable[[str], Person]) -> None:
    anna, other = called("Anna"), called("")
    assert other.answer("anna") == "The name anna is taken. Choose another one."
    assert other.answer("two words") == "A name has 1 to 20 letters, digits or underscores."
    assert other.answer("\uff21\uff2e\uff2e\uff21") == "The name ANNA is taken. Choose another one."
    other.says("Bob")
    assert [other.hears(), other.hears()] == [
        "Hello Bob. /help says what you can do.",
        "You are in hall.",
    ]
    assert anna.hears() == "* Bob has come"
    assert other.answer("/nick ANNA") == "The name ANNA is taken. Choose another one."
    assert anna.answer("/nick Eve") == "You are Eve now."
    assert other.hears() == "* Anna is Eve now"
    assert other.answer("/nick Anna") == "You are Anna now."
    assert other.answer("/nick ANNA") == "You are ANNA now."
    assert [anna.hears(), anna.hears()] == ["* Bob is Anna now", "* Anna is ANNA now"]
    assert anna.answer("/who") == "ANNA, Eve"
    anna.says("/msg anna hello", "/msg bob hello")
    assert other.hears() == "Eve (to you alone): hello"
    assert anna.hears().startswith("There is no bob here.")


def test_of_many_who_want_a_name_at_the_same_time_no_two_have_it(
    called: Callable[[str], Person], under_test: Any
) -> None:
    people = [called("") for _ in range(10)]
    for person in people:
        person.says("Anna")
    answers = Counter(person.hears() for person in people)
    assert answers["Hello Anna. /help says what you can do."] == 1
    assert answers["The name Anna is taken. Choose another one."] == 9
    assert len(under_test.server.members("owner anna")) == 1


@IN_THIS_PROCESS
def test_a_name_is_free_again_when_its_connection_has_broken(
    called: Callable[[str], Person], under_test: Any
) -> None:
    anna, bob = called("Anna"), called("Bob")
    assert anna.hears() == "* Bob has come"
    bob.breaks_off()
    assert anna.hears() == "* Bob has gone"
    wait_until(lambda: len(under_test.server.connections) == 1)
    called("Bob")
    assert anna.hears() == "* Bob has come"
    assert anna.answer("/rooms") == "hall (2)"


def test_help_comes_for_a_command_that_is_none(called: Callable[[str], Person]) -> None:
    anna = called("Anna")
    for line in ("/help", "/dance", "/join", "/join one two", "/msg bob"):
        anna.says(line)
        assert [anna.hears() for _ in chat_room.HELP.splitlines()] == chat_room.HELP.splitlines()
    assert anna.answer("/join a/b").startswith("The name of a room has 1 to 20")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x1b[31mred\n", "That line has control characters; it was told to no one."),
        ("\u202eright to left\n".encode(), "That line has control characters"),
        (b"caf\xe9\n", "That line is not UTF-8; it was told to no one."),
        (b"x" * 1001 + b"\n", "A line has at most 1000 bytes; yours was told to no one."),
        (b"x" * 1_000_000 + b"\n", "A line has at most 1000 bytes"),
    ],
)
def test_what_is_not_for_others_is_answered_and_the_next_line_is_heard(
    called: Callable[[str], Person], said: bytes, answer: str
) -> None:
    anna, bob = called("Anna"), called("Bob")
    assert anna.hears() == "* Bob has come"
    bob.peer.sendall(said)
    assert bob.hears().startswith(answer)
    bob.says("👩\u200d👧", "x" * 999)
    assert [anna.hears(), anna.hears()] == ["Bob: 👩\u200d👧", "Bob: " + "x" * 999]


def test_a_last_line_without_an_end_is_heard(called: Callable[[str], Person]) -> None:
    anna, bob = called("Anna"), called("Bob")
    assert anna.hears() == "* Bob has come"
    bob.peer.sendall(b"bye")
    half_close(bob.peer)
    assert [anna.hears(), anna.hears()] == ["Bob: bye", "* Bob has gone"]


@IN_THIS_PROCESS
@pytest.mark.parametrize(("pause", "is_slowed"), [(0.001, False), (10.0, True)])
def test_one_who_floods_the_room_is_slowed_down(
    called: Callable[[str], Person], monkeypatch: pytest.MonkeyPatch, pause: float, is_slowed: bool
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(chat_room, "PAUSE", pause)
    monkeypatch.setattr(chat_room, "blocking", lambda _, seconds: slept.append(seconds))
    anna, bob = called("Anna"), called("Bob")
    assert anna.hears() == "* Bob has come"
    bob.says(*map(str, range(10)))
    assert [anna.hears() for _ in range(10)] == [f"Bob: {number}" for number in range(10)]
    assert bob.answer("/who") == "Anna, Bob"
    assert (len(slept) >= 10 and slept[9] > 50) is is_slowed


def test_one_who_does_not_read_holds_up_no_other(
    called: Callable[[str], Person], under_test: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_room, "PAUSE", 0.0)
    under_test.server.outbox = 10_000
    anna, bob = called("Anna"), called("Bob")
    assert anna.hears() == "* Bob has come"
    with deaf(under_test.address, b"Deaf\n"):
        assert [anna.hears(), bob.hears()] == ["* Deaf has come"] * 2
        line, heard = "x" * 900, set()
        # That it has gone it does not say itself where its process was killed.
        while len(under_test.server.members("in hall")) == 3:
            bob.says(line)
            heard.add(anna.hears())
        assert heard <= {f"Bob: {line}", "* Deaf has gone"}
        assert f"Bob: {line}" in heard


def test_the_program_says_where_it_is_and_ends_with_ctrl_c() -> None:
    with Program([str(PROGRAM), "--bind", "tcp://127.0.0.1:0", "--engine", "fibers"]) as program:
        port = int(program.line().removeprefix("chat room on tcp://127.0.0.1:"))
        anna = Person(socket.create_connection(("127.0.0.1", port)), "Anna")
        assert anna.answer("/who") == "Anna"
        anna.peer.close()
        program.send(signal.SIGINT)
        assert (program.wait(), program.errors()) == (0, "")


def test_the_program_refuses_what_is_no_address_or_engine_in_one_sentence() -> None:
    for arguments in (["--bind", "nowhere"], ["--engine", "steam"]):
        done = python(str(PROGRAM), *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("chat_room.py: ")
        assert done.stderr.count("\n") == 1
