"""What becomes of what ends a fiber: handed to the thread that waits for it, or reported."""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Future


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
