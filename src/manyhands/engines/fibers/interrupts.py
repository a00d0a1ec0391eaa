"""What ends a fiber: an exception of its own, reported as a thread's is, or one that a signal raised in it.

Python runs a signal handler wherever the main thread is at that moment. Under `gevent.monkey` that may be any
fiber, and what the handler raises there (`KeyboardInterrupt`, or `SystemExit` by a ``sys.exit()`` on SIGTERM)
would end one connection instead of reaching the program's main code.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from greenlet import getcurrent


def raise_in_main_code(failure: BaseException, hub: Any) -> bool:
    """Raise in the program's main code what a signal has raised in the calling fiber.

    Returns
    -------
    bool
        Whether a signal has. What a handler raises by itself is its own, be it `SystemExit`, as in a thread.
    """
    # Only the main thread runs signal handlers. Its main code has no parent, and gets the exception anyway.
    is_in_reach = hub.main_hub and isinstance(getcurrent().parent, type(hub))
    if not is_in_reach or not _is_of_a_signal(failure):
        return False
    hub.loop.run_callback(hub.handle_system_error, type(failure), failure, failure.__traceback__)
    return True


def _is_of_a_signal(failure: BaseException) -> bool:
    # Python's own handler of SIGINT is no function with a frame.
    return isinstance(failure, KeyboardInterrupt) or not _signal_handlers().isdisjoint(
        _codes(failure)
    )


def _signal_handlers() -> set[CodeType | None]:
    return {
        getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()
    } - {None}


def _codes(failure: BaseException) -> Iterator[CodeType]:
    traceback = failure.__traceback__
    while traceback is not None:
        yield traceback.tb_frame.f_code
        traceback = traceback.tb_next


def report_failure() -> None:
    """Hand the exception that ended a fiber to `threading.excepthook`, as a thread's."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def reporting(function: Callable[[], object]) -> None:
    """Call a function; report what it raises, which would end the hub."""
    try:
        function()
    except BaseException:  # noqa: BLE001 - see above
        report_failure()
