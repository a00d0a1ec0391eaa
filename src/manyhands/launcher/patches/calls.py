"""Calls of the system that wait for a signal or for a shell: a fiber that makes one lets the others run."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from manyhands.launcher.patches.waiting import is_fiber
from manyhands.runtime.locks import try_until
from manyhands.runtime.unpatched import put_in_place

_plain_system, _plain_sigwait = os.system, signal.sigwait
_plain_sigwaitinfo, _plain_sigtimedwait = signal.sigwaitinfo, signal.sigtimedwait


def _sigwait(sigset: Any) -> Any:
    return signal.Signals(_take_signal(sigset).si_signo) if is_fiber() else _plain_sigwait(sigset)


def _sigwaitinfo(sigset: Any, /) -> Any:
    return _take_signal(sigset) if is_fiber() else _plain_sigwaitinfo(sigset)


def _sigtimedwait(sigset: Any, timeout: float, /) -> Any:
    if not is_fiber() or timeout <= 0:
        return _plain_sigtimedwait(sigset, timeout)
    return _take_signal(sigset, time.monotonic() + timeout)


def _take_signal(sigset: Any, deadline: float = math.inf) -> Any:
    """Take a pending signal of a set; None after the deadline."""
    taken: list[Any] = []

    def attempt() -> bool:
        taken[:] = [_plain_sigtimedwait(sigset, 0)]
        return taken[0] is not None

    # Blocked meanwhile, else it would end the process between two looks, or call its handler.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, sigset)
    try:
        try_until(attempt, deadline)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return taken[0]


def _system(command: Any) -> int:
    if not is_fiber():
        return _plain_system(command)
    sys.audit("os.system", os.fsencode(command))
    # The child has what a shell of system(3) would have.
    process = subprocess.Popen(  # noqa: S602 - what the program asks for
        command, shell=True, close_fds=False, restore_signals=False
    )
    with _without_keyboard_signals():
        status = process.wait()
    return -status if status < 0 else status << 8


@contextlib.contextmanager
def _without_keyboard_signals() -> Iterator[None]:
    """Leave Ctrl-C to the program that runs in the terminal meanwhile (system(3))."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def patch_calls() -> None:
    """Have waits for signals and for shells let other fibers run."""
    put_in_place(signal, "sigwait", _sigwait)
    put_in_place(signal, "sigwaitinfo", _sigwaitinfo)
    put_in_place(signal, "sigtimedwait", _sigtimedwait)
    put_in_place(os, "system", _system)
