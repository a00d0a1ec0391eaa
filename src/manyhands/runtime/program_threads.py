"""Starting a thread of the program's from one of the system's: a fiber, where gevent has made them fibers."""

import sys
import threading
from collections.abc import Callable
from functools import partial

Start = Callable[[Callable[[], object]], object]
"""Calls a function, which may wait, in a thread of its own; nothing waits for its end."""


def program_threads() -> Start:
    """Return what starts a thread of the program's, from any thread. To be called in one of the program's.

    Returns
    -------
    callable
        Raises `RuntimeError` when the system has no thread left.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return start_thread
    import gevent  # noqa: PLC0415 - it is loaded

    # A `Thread` that another thread starts would be a fiber of that one's, which has no hub that turns.
    return partial(gevent.get_hub().loop.run_callback_threadsafe, gevent.spawn)


def start_thread(function: Callable[[], object]) -> None:
    """Call a function in a thread, where threads are the system's."""
    # Not one that gets no signals: the function may fork, and its child would inherit that.
    threading.Thread(target=function, daemon=True).start()
