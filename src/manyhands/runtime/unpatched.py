"""What the standard library has by a name, whatever `gevent.monkey` has put in its place.

Asked without importing gevent into programs that do not.
"""

import _thread
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading


def original(module: ModuleType, name: str) -> Any:
    """Return what a module of the standard library has by that name.

    gevent's `os.close`, for one, closes at the next turn of its loop; it takes `select.epoll` away.
    """
    monkey = sys.modules.get("gevent.monkey")
    return getattr(module, name) if monkey is None else monkey.get_original(module.__name__, name)


def brief_lock() -> "threading.Lock":
    """Return a lock for what waits for nothing, and so lets no other fiber run meanwhile.

    gevent's own are taken by code in Python, which a signal may interrupt: what its handler raises there,
    such as `KeyboardInterrupt`, leaves the lock taken for ever. Python's own are taken in one step.
    """
    lock: threading.Lock = original(_thread, "allocate_lock")()
    return lock


def brief_rlock() -> "threading.RLock":
    """Return a lock as `brief_lock` does that the same thread may take again. All its fibers are the same."""
    lock: threading.RLock = original(_thread, "RLock")()
    return lock
