"""What a signal's handler raises in the middle of a send, such as KeyboardInterrupt."""

import signal
import socket
import threading
from types import FrameType
from typing import Any

import pytest

from manyhands.connections.gated_sockets import make_outbox
from manyhands.connections.outbox import Outbox
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
            if is_flushed and not is_interrupted:
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
