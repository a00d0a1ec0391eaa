"""What wakes a thread, by signals too."""

import contextlib
import signal
import socket
import sys

import pytest

from manyhands.runtime.wakeup import WakeUp


def test_a_full_pipe_of_the_program_s_makes_no_signal_an_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    came: list[int] = []
    reader, writer = socket.socketpair()
    before = signal.signal(signal.SIGUSR2, lambda number, _: came.append(number))
    with reader, writer, WakeUp() as wakeup:
        writer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                writer.send(b"." * 1000)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            with wakeup.woken_by_signals():
                signal.raise_signal(signal.SIGUSR2)
        finally:
            assert signal.set_wakeup_fd(-1) == writer.fileno()
            signal.signal(signal.SIGUSR2, before)
    assert came == [signal.SIGUSR2]
    assert raised == []
