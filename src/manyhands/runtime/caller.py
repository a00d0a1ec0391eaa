"""What the calling thread has of gevent's, asked without importing gevent into programs that do not."""

import sys
import threading
from contextvars import ContextVar
from typing import Any

under_way: "ContextVar[Any]" = ContextVar("task", default=None)
"""The task that is served in this context; fibers do without, for a context for each would be felt."""


def hub_to_spare() -> Any:
    """Return the hub whose fibers can run while the caller waits; None where a wait holds up nobody else."""
    hub = _hub()
    return None if hub is None or _current() is hub else hub


def is_in_the_hub() -> bool:
    """Tell whether the caller runs in a hub itself, as signal handlers may there: it must not wait."""
    hub = _hub()
    return hub is not None and _current() is hub


def whoever() -> object:
    """Return what tells the calling thread, or the calling fiber, from all others."""
    return _current() if "greenlet" in sys.modules else threading.current_thread()


def carried_task() -> Any:
    """Return the task that the calling fiber carries, if it is one of an engine's."""
    if "manyhands.engines.fibers.engine" not in sys.modules:
        return None
    return getattr(_current(), "task", None)


def task_in_hand() -> Any:
    """Return the task that the caller serves, or whose fiber waits for what the caller does in a thread."""
    return carried_task() or under_way.get()


def has_threads_of_gevent() -> bool:
    """Tell whether `gevent.monkey` has made fibers of the program's threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")


def _hub() -> Any:
    local = sys.modules.get("gevent._hub_local")
    return None if local is None else local.get_hub_if_exists()


def _current() -> Any:
    return sys.modules["greenlet"].getcurrent()
