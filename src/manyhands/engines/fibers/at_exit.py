"""The exit of the interpreter: it waits for fibers as it does for threads, then ends what is left of them.

Python waits for threads that are no daemons, or does not; but a thread with fibers may hold conversations of
either kind. So that thread is a daemon, and what exit has to wait for is waited for here. Then the thread is
ended: the interpreter cannot stop it, and would be taken down under fibers that still switch, which crashes.
"""

import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol


class _Engine(Protocol):
    def wait_at_exit(self) -> None: ...
    def end_at_exit(self) -> None: ...


_engines: "weakref.WeakSet[Any]" = weakref.WeakSet()


def look_after(engine: _Engine) -> None:
    """Have the exit of the interpreter wait for an engine's fibers, and end them."""
    _engines.add(engine)


def forbids_threads(error: RuntimeError) -> bool:
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
    # before ours would take away what conversations still need.
    register = getattr(threading, "_register_atexit", atexit.register)
    with contextlib.suppress(RuntimeError):  # we are imported at the exit itself
        register(function)


_call_before_threads_are_waited_for(_wait)
# The functions of the program may still ask a server to stop; those that it registers from now on run before.
atexit.register(_end)
