"""The way up to the parent: channels come whole, handlers never wait for it, and wakes are passed over."""

import _socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from manyhands import StreamRequestHandler
from manyhands.dealing import child_side
from manyhands.dealing.child_side import ChildSide
from manyhands.dealing.frames import FrameReader, Kind, pack
from manyhands.dealing.uplink import Uplink
from manyhands.testing import serving, wait_until
from tests.support.waiting import PATIENCE


@pytest.fixture
def uplink() -> Iterator[Uplink]:
    with closing(Uplink()) as made:
        yield made


def fill(uplink: Uplink) -> int:
    """Pass up so many channels that no more are taken; return how many."""
    count = 0
    while True:
        ours, other = _socket.socketpair()
        with closing(ours), closing(other):
            if not uplink.send(count, other):
                return count
        count += 1


def test_channels_come_up_with_their_numbers_and_wakes_are_passed_over(uplink: Uplink) -> None:
    ours, other = _socket.socketpair()
    with closing(ours), closing(other):
        uplink.wake()
        assert uplink.send(2**64 - 1, other)
        uplink.wake()
    received = uplink.receive()
    assert received is not None
    number, channel = received
    assert number == 2**64 - 1
    with closing(channel):
        assert channel.recv(1) == b""  # the other end, which is closed
    assert uplink.receive() is None


def test_a_full_uplink_takes_no_more_until_it_is_read(uplink: Uplink) -> None:
    count = fill(uplink)
    assert count > 40
    uplink.wake()  # does not wait
    for number in range(count):
        received = uplink.receive()
        assert received is not None
        assert received[0] == number
        received[1].close()
    assert uplink.receive() is None
    assert fill(uplink) == count


def test_use_is_noted_by_a_word_that_is_forgotten_with_what_came_before(uplink: Uplink) -> None:
    assert not uplink.was_used
    assert uplink.say_that_it_was_used()
    assert not uplink.say_that_it_was_used()
    assert uplink.was_used
    assert uplink.forget_use()
    assert not uplink.was_used
    fill(uplink)
    assert not uplink.forget_use()


def test_what_is_told_while_the_uplink_is_full_waits_and_its_teller_does_not(
    uplink: Uplink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_side, "ANSWERS_WITHIN", 0.2)

    class Silent(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read()

    with serving(Silent) as under_test, under_test.connect():
        wait_until(lambda: under_test.server.connections)
        (connection,) = under_test.server.connections.values()
        half = ChildSide(connection, uplink, lambda: None)
        count = fill(uplink)
        told: list[Any] = []
        teller = threading.Thread(target=lambda: told.append(half.tell("red", b"hello", None)))
        teller.start()
        # Nothing answers, so it waits as for a parent that is stopped, and no longer.
        teller.join(PATIENCE)
        assert told == [0]
        monkeypatch.setattr(child_side, "ANSWERS_WITHIN", PATIENCE)
        for _ in range(count):
            received = uplink.receive()
            assert received is not None
            received[1].close()
        hello: Any = None

        def has_come() -> bool:
            nonlocal hello
            hello = hello or uplink.receive()
            return hello is not None

        wait_until(has_come)
        number, channel = hello
        assert number == connection.number
        frames, reader = [], FrameReader()
        channel.settimeout(PATIENCE)
        with closing(channel):
            while not frames:
                frames = reader.feed(channel.recv(1000), 1000)
            (frame,) = frames
            assert (frame.kind, frame.body) == (Kind.TELL, b"\0\3redhello")
            # The answer to what is asked next is its own, and a late one is nobody's.
            asker = threading.Thread(target=lambda: told.append(half.tell("red", b"again", None)))
            asker.start()
            (again,) = reader.feed(channel.recv(1000), 1000)
            channel.sendall(pack(Kind.ANSWER, 9, b"", frame.request))
            channel.sendall(pack(Kind.ANSWER, 3, b"", again.request))
            asker.join(PATIENCE)
            assert told == [0, 3]
        half.close_copies()
