"""Which thread or fiber calls, in which hub of gevent's, and for which task.

gevent is looked for among the modules that are loaded, and never imported: most programs do without.
"""

import contextlib
import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from manyhands.runtime.unpatched import is_patched_by_eventlet, native_thread_id

_Served = list[Any]
"""A task, the identity of the thread that serves it, and the fiber that does, if there are fibers; empty when
that is over."""

_served: "ContextVar[_Served | None]" = ContextVar("served", default=None)
"""What is served in this context. Fibers carry their task themselves: a context for each would be felt.

A context is copied: into threads (`asyncio.to_thread`, and with `-X thread_inherit_context=1` of Python 3.14
every new one) and into fibers of gevent's. So it says who serves the task as well: a copy does not.
"""


def begin_serving(task: Any) -> "Token[_Served | None]":
    """Note that the caller serves a task from now on; `end_serving` takes what this returns."""
    fiber = None if sys.modules.get("greenlet") is None else _current_fiber()
    return _served.set([task, get_ident(), fiber])


def end_serving(begun: "Token[_Served | None]") -> None:
    """Note that the caller serves the task no longer; nor does the next thread that gets its identity."""
    served = _served.get()
    if served is not None:
        served.clear()  # copies of the context have this very list
    _served.reset(begun)


def hub_of_fiber() -> Any:
    """Return the hub of the fiber that calls. None for a thread without a hub, and for the hub itself.

    What waits may let this hub run the other fibers meanwhile.
    """
    hub = hub_of_thread()
    return None if hub is None or _current_fiber() is hub else hub


def is_in_the_hub() -> bool:
    """Tell whether the caller runs in a hub itself, as signal handlers may: there it must not wait."""
    hub = hub_of_thread()
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
    return task_of_fiber() or _task_of_context()


def _task_of_context() -> Any:
    served = _served.get()
    if not served:
        return None
    task, thread, fiber = served
    is_server = thread == get_ident() and (fiber is None or fiber is _current_fiber())
    return task if is_server else None


def is_main_thread() -> bool:
    """Tell whether the caller is the program's main thread, which alone may handle signals."""
    current, main = threading.current_thread(), threading.main_thread()
    # eventlet has another object for it.
    return current is main or (current.name == main.name and is_patched_by_eventlet("thread"))


def is_threading_patched() -> bool:
    """Tell whether `gevent.monkey`, or eventlet, has made fibers of the program's threads."""
    monkey = sys.modules.get("gevent.monkey")
    return (monkey is not None and monkey.is_module_patched("threading")) or is_patched_by_eventlet(
        "thread"
    )


def hub_of_thread() -> Any:
    """Return the hub of the calling thread; None where there is none."""
    local = sys.modules.get("gevent._hub_local")
    return None if local is None else local.get_hub_if_exists()


def _current_fiber() -> Any:
    return sys.modules["greenlet"].getcurrent()
