"""What turns a program of threads into one of fibers, before it is loaded: `gevent.monkey`, and forks.

A forked copy of a process has only the thread that forked. The copy of gevent's loop has all fibers, and
would go on with them: what sleeps in a handler of the original would answer its client from the copy too. So
the copy's loop is rid of what it has inherited.
"""

import gc
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from gevent.socket import wait_read
from greenlet import getcurrent


def patch() -> None:
    """Have all that waits in this process let fibers run, but those of a process that it was forked from."""
    monkey.patch_all()
    # What gevent leaves alone, and programs wait with while their servers run in threads.
    signal.pause = _pause
    os.wait = _wait
    os.register_at_fork(after_in_child=_leave_fibers_behind)
    # The hub hands it to the program's main code, whose matter it is, and would have told of it before.
    Hub.NOT_ERROR = (*Hub.NOT_ERROR, KeyboardInterrupt)


def _pause() -> None:
    """Wait until a signal handler has run, as `signal.pause` does."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            wait_read(reader.fileno())
        finally:
            signal.set_wakeup_fd(before)


def _wait() -> tuple[int, int]:
    """Wait for a child, as `os.wait` does."""
    return os.waitpid(-1, 0)


def _leave_fibers_behind() -> None:
    hub = get_hub_if_exists()
    if hub is None or hub.loop is None or _only_starts_a_program(sys._getframe()):
        return
    loop: Any = hub.loop
    for callback in loop._callbacks:
        callback.stop()
    waits = tuple(type(wait) for wait in (loop.timer(0), loop.io(0, 1), loop.idle()))
    for watcher in gc.get_objects():
        if isinstance(watcher, waits) and watcher.active and watcher.loop is loop:
            watcher.stop()
    forker: Any = getcurrent()
    if hasattr(forker, "rawlink"):
        # The end of a copy's only thread is that of the process.
        forker.rawlink(_end)


def _end(_greenlet: object) -> None:
    os._exit(0)


def _only_starts_a_program(frame: FrameType | None) -> bool:
    """Tell whether a copy is one of `subprocess`: it waits for nothing, and to look around takes time."""
    while frame is not None and frame.f_globals.get("__name__") != "gevent.subprocess":
        frame = frame.f_back
    return frame is not None
