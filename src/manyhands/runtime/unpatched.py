"""The system's own threads, locks and calls, whatever `gevent.monkey` has put in their place.

gevent is looked for among the modules that are loaded, and never imported: most programs do without.
"""

import _thread
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading


def original(module: ModuleType, name: str) -> Any:
    """Return what a module of the standard library has by that name before `gevent.monkey` patches it.

    gevent's `os.close`, for one, closes at the next turn of its loop; it takes `select.epoll` away.
    """
    monkey = sys.modules.get("gevent.monkey")
    return getattr(module, name) if monkey is None else monkey.get_original(module.__name__, name)


def brief_lock() -> "threading.Lock":
    """Return a lock to hold for a few steps, in which no fiber waits for anything.

    gevent's own are taken by code in Python, which a signal may interrupt: what its handler raises there,
    such as `KeyboardInterrupt`, leaves the lock taken for ever. Python's own are taken in one step.
    """
    lock: threading.Lock = original(_thread, "allocate_lock")()
    return lock


def brief_rlock() -> "threading.RLock":
    """Return a lock as `brief_lock` does that the same thread may take again. All its fibers are the same."""
    lock: threading.RLock = original(_thread, "RLock")()
    return lock


def native_thread_id() -> int:
    """Return the identity of the calling thread of the system; gevent has one for each fiber."""
    identity: int = original(_thread, "get_ident")()
    return identity


def start_native_thread(function: Callable[..., object], *arguments: object) -> None:
    """Call a function in a new thread of the system's, which gets no signals.

    The thread is not in `threading.enumerate`, and the exit of the interpreter does not wait for it.

    Raises
    ------
    RuntimeError
        When the system has no thread left.
    """

    def run() -> None:
        # The system gives a signal to any thread that lets it. Python's handlers run in the main thread
        # alone, which might sleep on.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        function(*arguments)

    original(_thread, "start_new_thread")(run, ())


def put_in_place(module: ModuleType, name: str, ours: Any) -> None:
    """Put a function of ours in the place of a module's, under its name and with its documentation."""
    before = getattr(module, name)
    ours.__name__ = ours.__qualname__ = name
    ours.__doc__ = before.__doc__
    ours.__module__ = getattr(before, "__module__", module.__name__)
    setattr(module, name, ours)
