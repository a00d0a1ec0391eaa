"""Calls of the system that wait for a signal or for a shell: a fiber that makes one lets the others run.

And those that take the identity of a thread, which in a fiber is none that the system knows.
"""

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
from manyhands.runtime.caller import hub_of_thread
from manyhands.runtime.locks import try_until
from manyhands.runtime.main_code import set_handler
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import native_thread_id, original, put_in_place

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


_plain_pthread_kill, _plain_getcpuclockid = signal.pthread_kill, time.pthread_getcpuclockid
_threads_of_system = original(sys, "_current_frames")
_main_thread = native_thread_id()  # the one that patches


def _pthread_kill(thread_id: int, signalnum: int, /) -> None:
    _plain_pthread_kill(_thread_of(thread_id), signalnum)


def _pthread_getcpuclockid(thread_id: int, /) -> int:
    return _plain_getcpuclockid(_thread_of(thread_id))


def _thread_of(identity: int) -> int:
    """Return the thread of the system that a thread is, or that a fiber runs in.

    The C library takes it for the address of the thread (pthread_kill(3)); with a fiber's identity it waits
    for ever, all signals blocked, or crashes.
    """
    if identity in current_frames(_threads_of_system):
        return identity
    return native_thread_id() if hub_of_thread() is not None else _main_thread


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
        set_handler(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is signal.SIG_IGN:
                set_handler(number, signal.SIG_DFL if handler is None else handler)


def patch_calls() -> None:
    """Have waits for signals and for shells let other fibers run."""
    put_in_place(signal, "sigwait", _sigwait)
    put_in_place(signal, "sigwaitinfo", _sigwaitinfo)
    put_in_place(signal, "sigtimedwait", _sigtimedwait)
    put_in_place(os, "system", _system)
    put_in_place(signal, "pthread_kill", _pthread_kill)
    put_in_place(time, "pthread_getcpuclockid", _pthread_getcpuclockid)
