"""Which thread or fiber calls, in which hub of gevent's, and for which task.

gevent is looked for among the modules that are loaded, and never imported: most programs do without.
"""

import contextlib
import sys
import threading
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from manyhands.runtime.unpatched import is_patched_by_eventlet, native_thread_id

serving: dict[Any, Any] = {}
"""What each thread serves, by its identity, or each fiber, by itself: a task, or a `Turn`.

Fibers of the engine `fibers` carry theirs themselves. No context variable: a context is copied into what a
handler starts (`asyncio.to_thread`, fibers of gevent's, and with `-X thread_inherit_context=1` of Python 3.14
every thread), and that serves no task.
"""


class Turn:
    """What a thread serves in its turns, one after the other, where to make a task of each would be felt.

    A task is made when one is asked for. The thread sets `began_at`, then `made_of`; when the turn is over it
    resets that, and then, if the turn is watched, has it end.
    """

    __slots__ = ("_tasks", "began_at", "begun", "is_watched", "made_of", "thread")

    def __init__(self) -> None:
        self.begun: Any = None
        """What `end_serving` is to take when the turns are over."""

        self.thread = get_ident()
        self.began_at = 0.0
        """When the turn began, by `time.monotonic`."""

        self.made_of: tuple[Any, ...] | None = None
        """The class of the task that is under way, and what it is made of; None between two turns."""

        self.is_watched = False
        """Whether anything waits for the end of the turn, or has asked for its task."""

        # By the identity of what it is made of, which it keeps: so no other one can have that meanwhile.
        self._tasks: dict[int, tuple[object, Any]] = {}

    @property
    def task(self) -> Any:
        """The task that is under way, the same one whichever thread asks; None where there is none."""
        while (made_of := self.made_of) is not None:
            self.is_watched = True
            # It may have ended just before, unseen. If not, its thread will see that it is watched.
            if self.made_of is made_of:
                return self._task_of(made_of)
        return None

    def _task_of(self, made_of: tuple[Any, ...]) -> Any:
        known = self._tasks.get(id(made_of))
        if known is None:
            kind, *parts = made_of
            # `setdefault` is one step: of two threads that come first, both get the same.
            known = self._tasks.setdefault(id(made_of), (made_of, kind(self.began_at, *parts)))
        return known[1]

    def end(self) -> None:
        """Tell the task of a turn, if one was made, that it is over."""
        self.is_watched = False
        while self._tasks:
            _, (_, task) = self._tasks.popitem()
            task.end_turn()


def this_caller() -> Any:
    """Return what the calling thread, or fiber, is known by in `serving`."""
    return get_ident() if "greenlet" not in sys.modules else _current_fiber()


def begin_serving(task: Any) -> tuple[Any, Any]:
    """Note what the caller serves from now on, a task or its turns; `end_serving` takes what this returns."""
    caller = this_caller()
    begun = caller, serving.get(caller)
    serving[caller] = task
    return begun


def end_serving(begun: tuple[Any, Any]) -> None:
    """Note that the caller serves the task no longer, but what it served before, if anything."""
    caller, before = begun
    if before is None:
        serving.pop(caller, None)
    else:
        serving[caller] = before


def forget_others() -> None:
    """Forget, in a forked copy of the process, what others serve: most are in threads that it has not got."""
    own = {get_ident(), this_caller()}
    for other in [caller for caller in serving if caller not in own]:
        del serving[other]


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
    served = task_of_fiber() or _served_by_caller()
    return served.task if type(served) is Turn else served


def _served_by_caller() -> Any:
    if "greenlet" not in sys.modules:
        return serving.get(get_ident())
    fiber = _current_fiber()
    # What is no fiber's is the thread's own, which may have begun it before there were any.
    is_thread_itself = fiber.parent is None and fiber not in serving
    return serving.get(get_ident() if is_thread_itself else fiber)


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
