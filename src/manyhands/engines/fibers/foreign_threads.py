"""Waiting for a descriptor outside the thread of its fibers, or beside a fiber that waits for it too."""

import errno
import os
import select
from typing import Any

import gevent
from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Waiter
from gevent.timeout import Timeout

native_thread_id = monkey.get_original("_thread", "get_ident")
"""As that of `runtime.unpatched`, which looks for gevent at each call. This one is called in each wait."""

_sleep = monkey.get_original("time", "sleep")
new_poll = monkey.get_original("select", "poll")

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

_GEVENTS = {READ: 1, WRITE: 2}  # libev's EV_READ and EV_WRITE


def cannot_watch(number: int) -> OSError:
    """Make the error of a descriptor that epoll does not take (epoll_ctl(2))."""
    reason = os.strerror(number)
    if number == errno.ENOSPC:
        reason += (
            ": the system watches no more descriptors for this user (fs.epoll.max_user_watches)"
        )
    return OSError(number, reason)


def pause_here(seconds: float) -> None:
    """Sleep, in the way in which the calling thread waits."""
    (_sleep if get_hub_if_exists() is None else gevent.sleep)(seconds)


def wait_in_foreign_thread(descriptor: int, event: int, timeout: float | None) -> None:
    """Wait for a descriptor of another thread's fibers, in the way in which the calling thread waits.

    Raises
    ------
    TimeoutError
        After `timeout` seconds.
    """
    hub = get_hub_if_exists()
    if hub is not None:
        # Of the caller's own hub: the loop and the epoll of the other thread are for that thread alone.
        DescriptorWait(hub, descriptor, event).wait(timeout)
        return
    poll = new_poll()
    poll.register(descriptor, event)  # poll and epoll name these two alike (poll(2), epoll_ctl(2))
    if not poll.poll(None if timeout is None else timeout * 1000):
        raise TimeoutError("timed out")


class DescriptorWait:
    """One wait for a descriptor, with a watcher of its own in the calling fiber's `hub`."""

    def __init__(self, hub: Any, descriptor: int, event: int) -> None:
        self._hub = hub
        self._waiter: Any = Waiter(hub)
        self._watcher = hub.loop.io(descriptor, _GEVENTS[event])

    def wait(self, timeout: float | None) -> None:
        """Wait until the descriptor is ready, or until `end`.

        Raises
        ------
        TimeoutError
            After `timeout` seconds.
        """
        try:
            # The argument is what `get` returns.
            self._watcher.start(self._waiter.switch, None)
            with Timeout.start_new(timeout, TimeoutError("timed out")):
                self._waiter.get()
        finally:
            self._watcher.close()

    def end(self) -> None:
        """Have the fiber go on, since the descriptor is about to be closed. For the hub's own thread."""
        # Soon, not now: the caller has to close the descriptor first.
        self._watcher.stop()
        self._hub.loop.run_callback(self._waiter.switch, None)
