"""Waiting in a fiber for what gevent does not know: until a descriptor is ready, or until a try succeeds."""

import select
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gevent.socket import wait_read, wait_write

from manyhands.runtime.caller import hub_of_fiber
from manyhands.runtime.unpatched import original

Result = TypeVar("Result")

FIRST_PAUSE = 0.0005
"""Seconds until a fiber tries again; then twice as long each time."""

LONGEST_PAUSE = 0.02
"""Short enough for a client not to feel it, and 50 tries a second cost next to nothing."""

_new_poll: Any = original(select, "poll")

_WAITS = {select.POLLIN: wait_read, select.POLLOUT: wait_write}


def is_fiber() -> bool:
    """Tell whether the caller may let fibers run; else it blocks its thread alone, or is the hub itself."""
    return hub_of_fiber() is not None


def is_ready(descriptor: int, event: int) -> bool:
    """Tell whether a descriptor can be read, or written to (`POLLIN`, `POLLOUT`), or has failed."""
    poll = _new_poll()
    poll.register(descriptor, event)
    return bool(poll.poll(0))


def wait_until_ready(descriptor: int, event: int) -> None:
    """Wait in a fiber until a descriptor can be read or written to."""
    # Again after each wait: another fiber may have been quicker. From the last look on no other one runs.
    while not is_ready(descriptor, event):
        _WAITS[event](descriptor)


def try_until(attempt: Callable[[], Result], is_done: Callable[[Result], Any]) -> Result:
    """Try again and again, ever more seldom, until the result is one."""
    pause = FIRST_PAUSE
    while not is_done(result := attempt()):
        time.sleep(pause)  # of gevent's
        pause = min(2 * pause, LONGEST_PAUSE)
    return result
