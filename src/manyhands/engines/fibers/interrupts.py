"""Signals that come while a fiber runs, in a program whose main thread is that of the fibers.

Python runs a signal handler wherever the main thread is at that moment. Under `gevent.monkey` that may be any
fiber, and what the handler raises there (`KeyboardInterrupt`, or `SystemExit` by a ``sys.exit()`` on SIGTERM)
would end one conversation instead of reaching the program's main code.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

if TYPE_CHECKING:
    from concurrent.futures import Future


def hand_over(failure: BaseException, hub: Any) -> bool:
    """Raise in the main code what a signal has raised in the calling fiber; return whether one has.

    What a conversation raises by itself is its own, be it `SystemExit`, as in a thread.
    """
    is_meant_for_another = hub.main_hub and isinstance(getcurrent().parent, type(hub))
    if not is_meant_for_another or not _is_of_a_signal(failure):
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


# What becomes of what ends a fiber: handed to the thread that waits for it, or reported.


def fulfil(outcome: "Future[None]", loop: Callable[[], None]) -> None:
    """Run a loop to its end, and hand that to the thread that waits for the outcome."""
    try:
        loop()
    except BaseException as failure:  # noqa: BLE001 - raised in the thread that called `run`
        outcome.set_exception(failure)
    else:
        outcome.set_result(None)


def report() -> None:
    """Hand the exception that ended a fiber to where those of threads go."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
