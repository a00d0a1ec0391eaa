"""Which thread or fiber calls, in which hub of gevent's, and for which task.

gevent is looked for among the modules that are loaded, and never imported: most programs do without.
"""

import contextlib
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from manyhands.runtime.unpatched import native_thread_id

task_of_context: "ContextVar[Any]" = ContextVar("task", default=None)
"""The task served in this context. Fibers carry theirs themselves: a context for each would be felt."""


def hub_of_fiber() -> Any:
    """Return the hub of the fiber that calls. None for a thread without a hub, and for the hub itself.

    What waits may let this hub run the other fibers meanwhile.
    """
    hub = _hub_of_thread()
    return None if hub is None or _current_fiber() is hub else hub


def is_in_the_hub() -> bool:
    """Tell whether the caller runs in a hub itself, as signal handlers may: there it must not wait."""
    hub = _hub_of_thread()
    return hub is not None and _current_fiber() is hub


def call_in_hub(hub: Any, function: Callable[[], object]) -> None:
    """Have a hub call `function` soon, which must not wait there; do nothing when the hub has gone.

    Thread-safe; signal handlers may call it.
    """
    loop = hub.loop
    if loop is None:
        return
    is_here = hub.thread_ident == native_thread_id()
    with contextlib.suppress(ValueError):  # the hub's own thread destroys the loop just now
        # From another thread the loop has to be woken too, which costs a system call.
        (loop.run_callback if is_here else loop.run_callback_threadsafe)(function)


def current_thread_or_fiber() -> object:
    """Return the fiber that calls; in a program without fibers, the thread."""
    # Every thread of a program with greenlets is in one, be it the one that stands for the thread itself.
    return threading.current_thread() if sys.modules.get("greenlet") is None else _current_fiber()


def task_of_fiber() -> Any:
    """Return the task that an engine gave the calling fiber; None for any other fiber, and for threads."""
    if "manyhands.engines.fibers.engine" not in sys.modules:
        return None
    return getattr(_current_fiber(), "task", None)


def current_task() -> Any:
    """Return the task that the caller serves; in a thread of `blocking`, that of the fiber that waits."""
    return task_of_fiber() or task_of_context.get()


def is_threading_patched() -> bool:
    """Tell whether `gevent.monkey` has made fibers of the program's threads."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and monkey.is_module_patched("threading")


def _hub_of_thread() -> Any:
    local = sys.modules.get("gevent._hub_local")
    return None if local is None else local.get_hub_if_exists()


def _current_fiber() -> Any:
    return sys.modules["greenlet"].getcurrent()
