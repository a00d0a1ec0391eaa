"""Turns a program of threads into one of fibers, before it is loaded: `gevent.monkey`, and what that leaves.

gevent leaves `multiprocessing` alone. Its queues and pools read from pipes in threads of their own, which are
fibers here, and they hold locks meanwhile that other fibers want: a wait that blocks the process never ends.

Nor does gevent clear up in a forked copy. That has only the thread that forked, but its copy of gevent's loop
has all fibers, and would run them: a handler of the original would answer its client from the copy too.
"""

import gc
import os
import queue
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, partialmethod
from importlib import metadata
from types import BuiltinFunctionType
from typing import Any

import gevent.os
from gevent import monkey
from gevent._hub_local import get_hub_if_exists, set_default_hub_class
from gevent.hub import Hub
from gevent.queue import SimpleQueue
from gevent.socket import wait_read, wait_write
from greenlet import getcurrent

LONGEST_LOCK_PAUSE = 0.02
"""Seconds between two tries to get a lock of another process: a semaphore wakes no fiber."""

LONGEST_DEAFNESS = 0.5
"""Seconds until a signal is heard that came when the loop had looked for signals, and was about to sleep."""


class WakefulHub(Hub):
    """gevent's hub, whose loop turns now and then though no fiber has anything to do.

    So a program whose threads all wait goes on waiting, perhaps for a signal, where gevent's own hub
    raises `LoopExit`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        if self.loop.default:  # that of the main thread, which is the one that hears signals
            self.stay_awake()

    def stay_awake(self) -> None:
        """Have the loop turn from now on."""
        self.loop.timer(LONGEST_DEAFNESS, LONGEST_DEAFNESS).start(lambda: None)


def patch() -> None:
    """Have all that waits in this process let fibers run, but those of a process that it was forked from."""
    # A queue of the standard library's waits with locks, which are gevent's then; gevent's own has neither
    # `maxsize` nor `mutex`. But one is C, and waits by itself. `subprocess` waits by pipes and for processes.
    with _plug_ins_read_once():
        monkey.patch_all(queue=False, signal=False, subprocess=False)
    queue.SimpleQueue = SimpleQueue  # type: ignore[misc, assignment]
    # What these import finds everything patched.
    from manyhands.launcher.children import leave_statuses_alone  # noqa: PLC0415
    from manyhands.launcher.patches import patch_what_is_left  # noqa: PLC0415
    from manyhands.runtime.unpatched import put_in_place  # noqa: PLC0415

    put_in_place(os, "close", _close)
    leave_statuses_alone()
    patch_what_is_left()
    # Programs wait with it while their servers run in threads.
    put_in_place(signal, "pause", _pause)
    _leave_unbound()
    os.register_at_fork(after_in_child=_leave_fibers_behind)
    set_default_hub_class(WakefulHub)
    # The hub raises it in the program's main code, and would print a traceback of its own before.
    Hub.NOT_ERROR = (*Hub.NOT_ERROR, KeyboardInterrupt)
    _patch_multiprocessing()


@contextmanager
def _plug_ins_read_once() -> Iterator[None]:
    """Read once what installed packages have for gevent, which reads the files of all of them at each event.

    With a hundred packages that takes 10 ms of processor time, and patching has five events.
    """
    read = metadata.entry_points
    metadata.entry_points = read().select
    try:
        yield
    finally:
        metadata.entry_points = read


def _leave_unbound() -> None:
    """Have functions of gevent's be no methods where those of C that they replace are none."""
    # What these import has to be patched before.
    from manyhands.runtime.unpatched import Builtin, put_in_place  # noqa: PLC0415

    for module in (os, select, signal, socket, time):
        for name, now in list(vars(module).items()):
            if not monkey.is_object_patched(module.__name__, name) or isinstance(now, Builtin):
                continue
            plain = monkey.get_original(module.__name__, name)
            if isinstance(plain, BuiltinFunctionType):
                put_in_place(module, name, now)


_close_now = monkey.get_original("os", "close")


def _close(fd: int) -> None:
    """Close a descriptor now, unless a fiber waits for it: then soon, after that has heard of it.

    gevent closes each when its loop has turned. Meanwhile a pipe that is closed still takes data, the number
    is not free (the lowest is what `open` and `dup` are to return), and what gets it would be closed instead.
    """
    hub = get_hub_if_exists()
    # It tells fibers that wait for the descriptor, and whether there are any.
    if hub is None or hub.loop is None or not hub.loop.closing_fd(fd):
        _close_now(fd)
        return
    gevent.os.close(fd)
    # A fiber that waits for the end of what is closed, such as the parent of a forked process for the last
    # copy of a pipe, would keep an idle loop from turning, for ever. A loop with one of these looks without
    # waiting (ev_idle in libev's manual).
    idle = hub.loop.idle()
    idle.start(idle.close)


def _pause() -> None:
    """Wait until a signal handler has run, as `signal.pause` does."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            wait_read(reader.fileno())
        finally:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    time.sleep(0)  # the handler may be about to run, in a fiber


def _leave_fibers_behind() -> None:
    hub = get_hub_if_exists()
    if hub is None or hub.loop is None:
        return
    loop: Any = hub.loop
    for callback in loop._callbacks:
        callback.stop()
    # gevent keeps no list of its watchers, so they are looked for among all objects.
    waits = tuple(type(wait) for wait in (loop.timer(0), loop.io(0, 1), loop.idle()))
    for watcher in gc.get_objects():
        if isinstance(watcher, waits) and watcher.active and watcher.loop is loop:
            watcher.stop()
    if isinstance(hub, WakefulHub):
        hub.stay_awake()
    forker: Any = getcurrent()
    if hasattr(forker, "rawlink"):
        # A fiber forked: its end is that of the copy, as the end of the only thread would be. The hub would
        # wait for fibers that are not there.
        forker.rawlink(_end)


def _end(_greenlet: object) -> None:
    os._exit(0)


def _patch_multiprocessing() -> None:
    """Have pipes and locks between processes wait in a way that lets fibers run."""
    # Not at the top: what these import has to be patched before.
    import multiprocessing  # noqa: PLC0415
    from multiprocessing.connection import Connection  # noqa: PLC0415
    from multiprocessing.synchronize import SemLock  # noqa: PLC0415

    connection: Any = Connection
    connection._recv = partialmethod(connection._recv, read=_read)
    connection._send = partialmethod(connection._send, write=_write)
    lock: Any = SemLock
    lock._make_methods = _make_methods
    lock.__enter__ = _acquire
    # From Python 3.14 on gevent chooses "fork", since a fork server does not wait as gevent has to. Here it
    # does, so the program has the default of its Python, and may choose, which it may do once.
    multiprocessing.set_start_method(None, force=True)


def _read(descriptor: int, size: int) -> bytes:
    wait_read(descriptor)
    return os.read(descriptor, size)


def _write(descriptor: int, data: Any) -> int:
    wait_write(descriptor)
    # A pipe that can be written to takes as much without blocking (pipe(7)).
    return os.write(descriptor, data[: select.PIPE_BUF])


def _make_methods(lock: Any) -> None:
    lock.acquire = partial(_acquire, lock)
    lock.release = lock._semlock.release


def _acquire(lock: Any, block: bool = True, timeout: float | None = None) -> bool:
    # `sem_wait` would block the whole process, so a fiber tries again and again, ever more seldom.
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.0005
    while not lock._semlock.acquire(False):
        if not block or (deadline is not None and time.monotonic() >= deadline):
            return False
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_LOCK_PAUSE)
    return True
