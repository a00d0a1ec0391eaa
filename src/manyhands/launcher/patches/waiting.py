"""Waiting in a fiber for what gevent does not know: a descriptor, or a call that blocks."""

import select
from collections.abc import Callable
from typing import Any, TypeVar

from gevent.socket import wait_read, wait_write

from manyhands.runtime.caller import hub_of_fiber
from manyhands.runtime.locks import Latch
from manyhands.runtime.unpatched import original, start_native_thread

Result = TypeVar("Result")

# Looked up once, not each time as in `runtime.sockets`: every read and write of a program asks.
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


def call_in_native_thread(
    function: Callable[..., Result], undo: Callable[[Result], object] | None, *arguments: object
) -> Result:
    """Call a function in a thread of the system's, and wait for it in a fiber.

    Parameters
    ----------
    function, *arguments
        What to call. What it raises is raised.
    undo
        Called with the result when the fiber has given up waiting, because of an exception that was thrown
        into it. Without it the fiber does not give up, as in a call into C that takes no notice of signals.
    """
    results: list[Result] = []
    failures: list[BaseException] = []
    is_over = Latch()
    is_given_up = False

    def run() -> None:
        try:
            results.append(function(*arguments))
        except BaseException as failure:  # noqa: BLE001 - raised in the fiber
            failures.append(failure)
        is_over.set()
        if is_given_up and undo is not None and results:
            undo(results.pop())

    start_native_thread(run, name="manyhands-waiting")
    try:
        is_over.wait()
    except BaseException:
        is_given_up = True
        if undo is None:
            is_over.wait()
        raise
    if failures:
        raise failures[0]
    return results[0]
