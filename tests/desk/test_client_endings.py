"""How a call ends for the client, whichever of its two threads notices first."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from manyhands.desk.call_io import CallIO
from manyhands.desk.client import CallFailed, Client
from manyhands.desk.screens import ScreenLine
from manyhands.model.addresses import parse

BOUND = 100_000
"""Bytes that may wait for the desk."""


class Typed:
    """A keyboard on which these lines are typed; then the person waits for `stop`."""

    def __init__(self, *lines: str) -> None:
        self._lines = lines
        self.shown: list[str] = []
        self.is_stopped = threading.Event()

    def attend(self, carry_out: Callable[[str], bool]) -> bool:
        if all(carry_out(line) for line in self._lines):
            self.is_stopped.wait(20)
        return False

    def show(self, lines: Sequence[ScreenLine], source: int | None = None) -> None:
        self.shown += [line.text for line in lines]

    def tell(self, lines: Sequence[ScreenLine]) -> None:
        self.show(lines)

    def refresh(self) -> None:
        pass

    def is_typing(self) -> bool:
        return False

    def stop(self) -> None:
        self.is_stopped.set()


class SlowToReturn(CallIO):
    """A line whose `say` returns when the desk's answer, and its hanging up, have been heard already."""

    keyboard: Typed

    def say(self, text: str) -> bool:
        is_said = super().say(text)
        assert self.keyboard.is_stopped.wait(20)
        return is_said


@pytest.fixture
def desk() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The desk's end of a call, which the test plays, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        yield ours, theirs


def answer_goodbye(desk: socket.socket) -> None:
    assert desk.recv(100) == b"byebye\n"
    desk.sendall(b"byebye\n")
    desk.shutdown(socket.SHUT_WR)


def talk(line: CallIO, keyboard: Typed) -> None:
    Client(line, keyboard, parse("127.0.0.1:8008")).talk(silence=0)


def test_a_goodbye_that_is_answered_before_it_has_been_said_is_no_failure(
    desk: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = desk
    line, keyboard = SlowToReturn(theirs, BOUND), Typed("byebye")
    line.keyboard = keyboard
    answering = threading.Thread(target=answer_goodbye, args=(ours,))
    answering.start()
    talk(line, keyboard)
    answering.join()
    assert keyboard.shown == ["byebye"]


def test_a_goodbye_among_pasted_lines_is_a_goodbye(
    desk: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = desk
    keyboard = Typed("see you\nbyebye")
    ours.sendall(b"byebye\n")
    ours.shutdown(socket.SHUT_WR)
    talk(CallIO(theirs, BOUND), keyboard)
    assert ours.recv(100) == b"see you\nbyebye\n"


def test_a_desk_that_hangs_up_is_a_failure_though_the_client_would_have_said_goodbye(
    desk: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = desk
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(
        CallFailed, match=r"^the desk at tcp://127\.0\.0\.1:8008 has ended the call$"
    ):
        talk(CallIO(theirs, BOUND), Typed())


def test_what_cannot_be_said_any_more_is_a_failure_and_no_goodbye(
    desk: tuple[socket.socket, socket.socket],
) -> None:
    # The line is known to be dead before the hearing thread has found out how it died.
    ours, theirs = desk

    class Dead(CallIO):
        def say(self, text: str) -> bool:
            return False

    class Leaving(Typed):
        def attend(self, carry_out: Callable[[str], bool]) -> bool:
            carry_out("hello")
            ours.close()
            return False

    with pytest.raises(CallFailed):
        talk(Dead(theirs, BOUND), Leaving())
