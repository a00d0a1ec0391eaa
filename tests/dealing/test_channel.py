"""One end of a channel: each lane has a bound of its own, and one that overflows costs the others nothing."""

import contextlib
import select
import signal
import socket
import tracemalloc
from collections.abc import Iterator

import pytest

from manyhands.dealing import channel as module
from manyhands.dealing.channel import LATEST, Channel, Lane, Terms
from tests.support.interrupts import interrupted
from tests.support.waiting import PATIENCE


class Watched:
    """What tells that the other end reads: here the test does."""

    def __init__(self) -> None:
        self.has_threads = True
        self.watched: list[Channel] = []

    def watch(self, outbox: Channel) -> None:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        self.watched.append(outbox)

    def forget(self, outbox: Channel) -> None:
        self.watched = []


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, other = socket.socketpair()
    with ours, other:
        ours.setblocking(False)
        other.settimeout(PATIENCE)
        yield ours, other


def lane(most: int = 1000, size: int = 1_000_000, when_behind: str = "drop_new") -> Lane:
    return Lane(lambda: Terms(most, size, when_behind))


def attached(
    watched: Watched, ends: tuple[socket.socket, socket.socket], filled: bool = False
) -> Channel:
    """A channel, whose other end does not read if it is filled."""
    made = Channel(watched)
    if filled:
        with contextlib.suppress(BlockingIOError):
            while ends[0].send(b"\0" * 10_000):
                pass
    made.attach(ends[0])
    return made


def taken(channel: Channel, other: socket.socket) -> bytes:
    """Read at the other end until nothing more comes, and nothing waits."""
    heard = bytearray()
    while True:
        while select.select([other], [], [], 0)[0]:
            heard += other.recv(100_000)
        before = len(heard)
        channel.flush()
        if not select.select([other], [], [], 0)[0] and len(heard) == before:
            return bytes(heard).lstrip(b"\0")


def test_what_is_put_before_there_is_a_socket_waits_and_goes_out_in_its_order(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made, pieces, messages = Channel(watched), lane(), lane()
    for number in range(5):
        assert made.put(b"piece %d " % number, pieces)
        assert made.put(b"message %d " % number, messages)
        assert made.say(b"answer %d " % number)
    made.attach(ends[0])
    expected = b"".join(b"piece %d message %d answer %d " % (n, n, n) for n in range(5))
    assert taken(made, ends[1]) == expected
    assert made.put(b"at once", pieces)
    assert ends[1].recv(100) == b"at once"


def test_what_overflows_in_one_lane_costs_nothing_in_another(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made = attached(watched, ends, filled=True)
    first, oldest, newest = lane(), lane(3, when_behind="drop_oldest"), lane(3)
    assert made.put(b"begun ", first)  # has its turn
    for number in range(5):
        assert made.put(b"old %d " % number, oldest)
        assert made.put(b"new %d " % number, newest) is (number < 3)
        assert made.say(b"answer %d " % number)
    assert (oldest.missed, newest.missed, made.control.missed) == (2, 2, 0)
    heard = taken(made, ends[1]).decode().split(" ")
    assert sorted(zip(heard[1:-1:2], heard[2:-1:2], strict=True)) == [
        *[("answer", str(n)) for n in range(5)],
        *[("new", str(n)) for n in range(3)],
        *[("old", str(n)) for n in range(2, 5)],
    ]
    assert (oldest.size, newest.size, made.unsent) == (0, 0, 0)


def test_nothing_goes_out_after_what_was_said_later_be_older_frames_dropped_meanwhile(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made = attached(watched, ends, filled=True)
    made.put(b"begun ", lane())
    messages = lane(2, 50, "drop_oldest")
    for frame in (b"a ", b"b ", b"long enough to drop the others .......... ", b"c ", b"d "):
        assert made.put(frame, messages)
    assert made.say(b"closed ")
    assert taken(made, ends[1]) == b"begun c d closed "
    assert messages.missed == 3


def test_each_put_tells_whether_it_was_the_one_that_had_frames_dropped(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made = attached(watched, ends, filled=True)
    assert made.put(b"begun ", lane())
    oldest, newest = lane(2, when_behind="drop_oldest"), lane(2)
    assert [made.put_and_tell(b"old", oldest) for _ in range(3)] == [(True, False)] * 2 + [
        (True, True)
    ]
    assert [made.put_and_tell(b"new", newest) for _ in range(3)] == [(True, False)] * 2 + [
        (False, True)
    ]
    made.end()
    assert made.put_and_tell(b"late", newest) == (False, False)


def test_a_frame_of_any_length_may_wait_where_no_other_does(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made = attached(watched, ends, filled=True)
    made.put(b"begun ", lane())
    short = lane(10, 10)
    assert made.put(b"x" * 100, short)
    assert not made.put(b"y", short)


def test_of_frames_that_say_all_that_is_known_the_latest_waits(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made, missed = attached(watched, ends, filled=True), Lane(lambda: LATEST)
    made.put(b"begun ", lane())
    for number in range(1000):
        assert made.put(b"missed %d " % number, missed)
    assert taken(made, ends[1]) == b"begun missed 999 "


def test_a_lane_that_drops_what_is_old_grows_no_further(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made, prices = attached(watched, ends, filled=True), lane(10, when_behind="drop_oldest")
    made.put(b"begun ", lane())
    tracemalloc.start()
    try:
        for _ in range(20_000):
            made.put(b"price", prices)
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_a_peer_that_takes_no_answers_fails_the_channel_which_says_so(
    watched: Watched, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONTROL", Terms(10, 1000, "close"))
    made = attached(watched, ends, filled=True)
    while made.say(b"answer"):
        assert made.control.size <= 1000
    assert made.is_over
    assert "does not read what it has asked for" in made.failure
    assert not made.put(b"more", lane())
    # Both ends read the end of it.
    assert ends[0].recv(1) == b""
    while data := ends[1].recv(1_000_000):
        assert data.strip(b"\0answer") == b""


def test_a_channel_that_fails_before_its_socket_comes_ends_that(
    watched: Watched, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONTROL", Terms(10, 1000, "close"))
    made = Channel(watched)
    while made.say(b"answer"):
        pass
    made.attach(ends[0])
    assert ends[1].recv(1) == b""


def test_a_channel_that_cannot_be_watched_fails_and_says_why(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    watched.has_threads = False
    made = attached(watched, ends, filled=True)
    assert not made.put(b"piece", lane())
    assert "can't start new thread" in made.failure
    assert ends[0].recv(1) == b""


def test_a_channel_whose_other_end_has_gone_is_over_and_has_not_failed(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made = attached(watched, ends)
    ends[1].sendall(b"the last words")
    ends[1].close()
    assert not made.put(b"piece", lane())
    assert made.is_over
    assert not made.failure
    assert ends[0].recv(100) == b"the last words"


def test_an_interrupt_of_frames_that_go_out_whole_changes_nothing(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made, pieces = attached(watched, ends), lane()
    for _ in interrupted(lambda: (made.put(b"x" * 100, pieces), ends[1].recv(1_000_000)), 50):
        assert (made.is_over, made.failure) == (False, "")
    made.put(b"later", pieces)
    assert taken(made, ends[1]).lstrip(b"x") == b"later"


@pytest.mark.parametrize("filled", [False, True])
def test_an_alarm_that_raises_a_timeout_is_not_taken_for_the_other_end_s(
    watched: Watched, ends: tuple[socket.socket, socket.socket], filled: bool
) -> None:
    class Alarming(socket.socket):
        """Has an alarm fall due with its first send."""

        def send(self, *_: object) -> int:
            raise TimeoutError

    made = Channel(watched)
    if filled:
        made.put(b"piece", lane())
    with Alarming(fileno=ends[0].detach()) as alarming:
        if not filled:
            made.attach(alarming)
        with pytest.raises(TimeoutError):
            made.attach(alarming) if filled else made.put(b"piece", lane())
        assert made.is_over is filled
        assert ("interrupted" in made.failure) is filled


def test_what_interrupts_a_send_cannot_send_on_the_same_channel_and_is_told_so(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    made = attached(watched, ends, filled=True)
    made.put(b"begun ", lane())
    told: list[str] = []

    def terms() -> Terms:
        with pytest.raises(RuntimeError) as raised:
            made.put(b"in between ", lane())
        told.append(str(raised.value))
        return Terms(1000, 1_000_000, "drop_new")

    assert made.put(b"piece ", Lane(terms))
    assert "has interrupted a send" in told[0]
    assert taken(made, ends[1]) == b"begun piece "


def test_an_interrupt_in_the_middle_of_a_frame_ends_the_channel_and_leaves_no_lock(
    watched: Watched, ends: tuple[socket.socket, socket.socket]
) -> None:
    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    count = 0
    try:
        while count < 30:
            ours, other = socket.socketpair()
            with ours, other:
                ours.setblocking(False)
                made, pieces = attached(watched, (ours, other)), lane()
                try:
                    # Within the `try`: it may come as soon as it is set.
                    signal.setitimer(signal.ITIMER_REAL, 0.001)
                    while True:
                        made.put(b"x" * 1000, pieces)
                except Interrupted:
                    count += 1
                if made.is_over:
                    assert "interrupted" in made.failure
                else:
                    # It came between two frames: all that were begun go on.
                    assert len(taken(made, other)) % 1000 == 0
                made.end()  # the lock is free
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
