"""What a signal's handler raises in the middle of a send, such as KeyboardInterrupt."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from manyhands.connections.gated_sockets import gate, make_outbox
from manyhands.connections.outbox import Outbox
from manyhands.runtime.caller import is_main_thread
from tests.support.interrupt_points import interrupted_at_each_point
from tests.support.interrupts import Interrupted, interrupted
from tests.support.waiting import PATIENCE


class Patient:
    """Terms by which very much may wait."""

    def outbox_terms(self) -> tuple[int, str]:
        return 100_000_000, "close"

    def fell_behind(self, waiting: int, *, is_over: bool) -> None:
        raise AssertionError


def is_usable(outbox: Outbox) -> bool:
    """Tell whether another thread gets through, as the one that writes for all has to."""
    thread = threading.Thread(target=outbox.flush, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()


@pytest.mark.parametrize("is_behind", [False, True])
def test_an_exception_of_a_signal_s_handler_leaves_no_outbox_locked(is_behind: bool) -> None:
    made: list[tuple[socket.socket, socket.socket, Outbox]] = []

    def begin() -> None:
        ours, peer = socket.socketpair()
        made.append((ours, peer, make_outbox(ours, Patient())))
        if is_behind:
            made[-1][2].put(bytes(1_000_000))

    begin()
    for _ in interrupted(lambda: made[-1][2].put(b"tick\n"), 150):
        ours, peer, outbox = made.pop()
        assert is_usable(outbox)
        outbox.end()
        ours.close()
        peer.close()
        begin()
    for ours, peer, outbox in made:
        outbox.end()
        ours.close()
        peer.close()


@pytest.fixture
def _raising() -> Any:
    def raise_it(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, raise_it)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("_raising")
@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_piece_of_which_it_is_not_known_how_much_has_gone_out_is_the_last(
    is_flushed: bool,
) -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.settimeout(PATIENCE)
        is_interrupted = False

        def send(data: bytes | memoryview, flags: int) -> int:
            # Nor in the thread of the writer, which tries as well: signals come to this one.
            if is_flushed and not (is_interrupted and is_main_thread()):
                raise BlockingIOError
            sent = ours.send(data[:3], flags)
            # As if it came in the system's call: Python looks for signals after that.
            signal.raise_signal(signal.SIGUSR1)
            return sent

        outbox = Outbox(send, ours.fileno(), Patient())
        if is_flushed:
            outbox.put(b"piece")
        is_interrupted = True
        with pytest.raises(Interrupted):
            outbox.flush() if is_flushed else outbox.put(b"piece")
        assert outbox.is_over
        assert is_usable(outbox)
        assert not outbox.put(b"another")
        # The client cannot take what follows for the rest of the piece.
        assert peer.makefile("rb").read() == b"pie"
        assert ours.recv(1) == b""
        outbox.end()


Pair = tuple[socket.socket, socket.socket, Outbox]


@pytest.fixture
def pairs() -> Iterator[Callable[[], Pair]]:
    """What makes connections with an outbox and a gate, each with its peer."""
    made: list[Pair] = []

    def make() -> Pair:
        ours, peer = socket.socketpair()
        peer.settimeout(PATIENCE)
        made.append((ours, peer, make_outbox(ours, Patient())))
        gate(ours)
        return made[-1]

    yield make
    for ours, peer, _ in made:
        ours.close()
        peer.close()


WRITES: list[Callable[[socket.socket], object]] = [
    lambda sock: sock.sendall(b"line\n"),
    lambda sock: sock.send(b"line\n"),
    lambda sock: sock.send(b"line\n", socket.MSG_DONTWAIT),
    lambda sock: sock.sendmsg([b"li", b"ne\n"]),
]


@pytest.mark.parametrize("write", WRITES)
def test_whenever_a_write_is_interrupted_the_connection_is_there_and_free_for_pieces(
    pairs: Callable[[], Pair], write: Callable[[socket.socket], object]
) -> None:
    def begin() -> Callable[[], object]:
        made.append(pairs())
        return lambda: write(made[-1][0])

    made: list[Pair] = []
    for _ in interrupted_at_each_point(begin):
        _, peer, outbox = made[-1]
        assert is_usable(outbox)
        assert not outbox.is_over
        assert outbox.wait_until_sent(0)
        assert outbox.put(b"piece")
        assert peer.recv(100).removeprefix(b"line\n") == b"piece"
    assert len(made) > 10


def test_whenever_a_write_is_interrupted_that_waits_for_its_place_the_pieces_go_out(
    pairs: Callable[[], Pair],
) -> None:
    def begin() -> Callable[[], object]:
        ours, _, outbox = pair = pairs()
        made.append(pair)
        assert outbox.put(bytes(1_000_000))
        ours.settimeout(0.0)
        return lambda: write(ours)

    def write(sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            sock.sendall(b"line\n")

    made: list[Pair] = []
    for _ in interrupted_at_each_point(begin):
        _, peer, outbox = made[-1]
        assert is_usable(outbox)
        assert not outbox.is_over
        got = 0
        while got < 1_000_000:
            got += len(peer.recv(1_000_000))
        assert outbox.wait_until_sent(PATIENCE)
    assert len(made) > 10


@pytest.mark.parametrize("is_behind", [False, True])
def test_an_interrupt_before_a_piece_is_begun_changes_nothing(
    pairs: Callable[[], Pair], is_behind: bool
) -> None:
    def begin() -> Callable[[], object]:
        made.append(pairs())
        if is_behind:
            made[-1][2].put(bytes(1_000_000))
        return lambda: made[-1][2].put(b"piece")

    made: list[Pair] = []
    for point in interrupted_at_each_point(begin):
        ours, peer, outbox = made[-1]
        assert is_usable(outbox)
        # At its first points it is called, and gets the lock.
        assert point > 2 or not outbox.is_over
        if outbox.is_over:
            assert outbox.missed >= is_behind
            assert ours.recv(1) == b""
        else:
            ends = threading.Thread(target=ours.shutdown, args=(socket.SHUT_WR,))
            ends.start()
            got = peer.makefile("rb").read()
            ends.join(PATIENCE)
            assert got.removesuffix(b"piece") == bytes(1_000_000 * is_behind)
    assert len(made) > 3


def test_pieces_that_wait_when_a_send_is_interrupted_are_counted(
    pairs: Callable[[], Pair],
) -> None:
    is_interrupted = False

    def send(data: bytes | memoryview, flags: int) -> int:
        if is_interrupted:
            raise Interrupted
        raise BlockingIOError

    ours, _, _ = pairs()
    outbox = Outbox(send, ours.fileno(), Patient())
    for _ in range(5):
        assert outbox.put(b"piece")
    is_interrupted = True
    with pytest.raises(Interrupted):
        outbox.flush()
    assert outbox.is_over
    assert outbox.missed == 5
    outbox.end()


@pytest.mark.parametrize("is_behind", [False, True])
def test_what_a_finalizer_sends_in_the_middle_of_a_send_is_refused(
    pairs: Callable[[], Pair], is_behind: bool
) -> None:
    refusals: list[str] = []

    def send(data: bytes | memoryview, flags: int) -> int:
        # As if the collector ran just here.
        for act in (lambda: outbox.put(b"another"), lambda: outbox.begin_write(0.0)):
            with pytest.raises(RuntimeError) as refusal:
                act()
            refusals.append(str(refusal.value))
        return ours.send(data, flags)

    ours, peer, _ = pairs()
    outbox = Outbox(send, ours.fileno(), Patient(), is_held=is_behind)
    assert outbox.put(b"piece")
    outbox.release()
    assert len(refusals) == 2
    assert "in the middle of a send" in refusals[0]
    assert is_usable(outbox)
    assert peer.recv(100) == b"piece"
    outbox.end()


def test_an_end_in_the_middle_of_a_send_is_the_end(pairs: Callable[[], Pair]) -> None:
    def send(data: bytes | memoryview, flags: int) -> int:
        sent = ours.send(data[:3], flags)
        outbox.end()
        return sent

    ours, _, _ = pairs()
    outbox = Outbox(send, ours.fileno(), Patient())
    assert not outbox.put(b"piece")
    assert (outbox.is_over, outbox.waiting) == (True, 0)
    assert is_usable(outbox)
