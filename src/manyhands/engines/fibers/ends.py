"""How fibers end: by an exception, and all of them at the program's exit.

An exception of a fiber's own is reported as a thread's is. What a signal handler raises comes to no fiber
(`runtime.main_code`).

The exit of Python waits for threads that are no daemons, or does not; but one thread may have fibers of
either kind. So that thread is a daemon, and what the exit has to wait for is waited for here. Then the thread
is ended: the interpreter cannot stop it, and would be taken down under fibers that still switch, which
crashes.
"""

import atexit
import contextlib
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from manyhands.runtime.error_reports import print_error
from manyhands.runtime.locks import Latch


def report_failure() -> None:
    """Hand the exception that ended a fiber to `threading.excepthook`, as a thread's.

    That of the standard library would hold up all fibers while standard error takes no more.
    """
    thread, hook = threading.current_thread(), threading.excepthook
    error = sys.exception()
    if hook is not threading.__excepthook__:
        hook(threading.ExceptHookArgs((*sys.exc_info(), thread)))
    elif error is not None and not isinstance(error, SystemExit):
        print_error(error, f"Exception in thread {thread.name}:\n")


def reporting_failure(function: Callable[[], object]) -> None:
    """Call a function; report what it raises, which would end the hub."""
    try:
        function()
    except BaseException:  # noqa: BLE001 - see above
        report_failure()


class EndWaits:
    """What waits for an end: of a task, or of an accept loop. Thread-safe.

    Without the lock of a `Condition`: a signal handler that closes its server may wait here too, and the
    thread that it interrupts might hold the lock.
    """

    def __init__(self) -> None:
        self.latches: set[Latch] = set()
        """One for each thread or fiber that waits."""

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until the next `notify`, at most `timeout` seconds, unless the condition is true already."""
        latch = Latch()
        # Before the look at the condition, lest its change go unnoticed.
        self.latches.add(latch)
        try:
            if not condition():
                latch.wait(timeout)
        finally:
            self.latches.discard(latch)

    def notify(self) -> None:
        """Have all that wait look again."""
        for latch in tuple(self.latches):
            latch.set()


class _Engine(Protocol):
    def wait_at_exit(self) -> None: ...
    def end_at_exit(self) -> None: ...


_engines: "weakref.WeakSet[Any]" = weakref.WeakSet()


def end_at_exit(engine: _Engine) -> None:
    """Have the exit of the interpreter wait for an engine's fibers, and end them."""
    _engines.add(engine)


def is_exit_without_threads(error: RuntimeError) -> bool:
    """Tell whether it was the exit of the interpreter because of which a thread could not be started.

    So it is on Python 3.12, from the end of the main thread on. The error has no class of its own there.
    """
    return str(error).endswith("at interpreter shutdown")


def _wait() -> None:
    for engine in list(_engines):
        engine.wait_at_exit()


def _end() -> None:
    for engine in list(_engines):
        engine.end_at_exit()


def _call_before_threads_are_waited_for(function: Callable[[], None]) -> None:
    # What `concurrent.futures` does for its workers. Later, among the functions of `atexit`, those that run
    # before ours would take away what handlers still need.
    register = getattr(threading, "_register_atexit", atexit.register)
    with contextlib.suppress(RuntimeError):  # this is imported at the exit itself
        register(function)


_call_before_threads_are_waited_for(_wait)
# The functions of the program may still ask a server to stop; those that it registers from now on run before.
atexit.register(_end)
