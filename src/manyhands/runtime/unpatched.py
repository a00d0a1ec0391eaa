"""The system's own threads, locks and calls, whatever `gevent.monkey` or eventlet has put in their place.

Both are looked for among the modules that are loaded, and never imported: most programs do without.
"""

import _signal  # type: ignore[import-not-found]  # no stubs
import _thread
import importlib
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading


def original(module: ModuleType, name: str) -> Any:
    """Return what a module of the standard library has by that name before it is patched.

    gevent's `os.close`, for one, closes at the next turn of its loop; it takes `select.epoll` away, and
    eventlet `select.poll` too.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module.__name__, name)
    patcher = sys.modules.get("eventlet.patcher")
    return getattr(module if patcher is None else patcher.original(module.__name__), name)


def is_patched_by_eventlet(part: str) -> bool:
    """Tell whether eventlet has patched a part of the program, such as `thread` or `select`."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched(part))


def are_waits_patched() -> bool:
    """Tell whether threads of the program, or its waits in `select`, are not the system's."""
    # Most programs have loaded neither, and are asked often.
    monkey = sys.modules.get("gevent.monkey")
    is_patched_by_gevent = monkey is not None and (
        monkey.is_module_patched("select") or monkey.is_module_patched("threading")
    )
    return is_patched_by_gevent or (
        "eventlet.patcher" in sys.modules
        and (is_patched_by_eventlet("thread") or is_patched_by_eventlet("select"))
    )


def green_selectors() -> "ModuleType | None":
    """Return the module with the selectors that the program's threads need, where these are no threads.

    None where the standard library's will do: the system's waits are right for the system's threads, and in a
    program that is patched as a whole `selectors` is too.
    """
    if is_patched_by_eventlet("thread") or is_patched_by_eventlet("select"):
        return importlib.import_module("eventlet.green.selectors")
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return None
    return (
        None if monkey.is_module_patched("select") else importlib.import_module("gevent.selectors")
    )


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


_EVERY_SIGNAL = frozenset(signal.valid_signals())

_started: dict[int, str] = {}
"""The names of the threads of `start_native_thread` by their identities; of an ended one it is empty."""


def start_native_thread(function: Callable[..., object], *arguments: object, name: str) -> None:
    """Call a function in a new thread of the system's, which gets no signals.

    The thread is not in `threading.enumerate`, and the exit of the interpreter does not wait for it. Its name
    is for `native_thread_names`.

    Raises
    ------
    RuntimeError
        When the system has no thread left.
    """

    def run() -> None:
        identity = native_thread_id()
        _started[identity] = name
        try:
            function(*arguments)
        finally:
            # The system may give the next thread the same identity.
            _started[identity] = ""

    # The system gives a signal to any thread that lets it. Python's handlers run in the main thread alone,
    # which might sleep on; and a program that waits for a signal has blocked it in its own threads. So the
    # thread is born with all of them blocked: it inherits the mask (pthread_sigmask(3)).
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _EVERY_SIGNAL)
    try:
        original(_thread, "start_new_thread")(run, ())
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def native_thread_names() -> dict[int, str]:
    """Return the names of the threads of `start_native_thread` that are there, by their identities."""
    return {identity: name for identity, name in _started.copy().items() if name}


def count_other_threads() -> int:
    """Return how many threads the program has, without those of `start_native_thread`.

    `threading` lists these too once they have asked which thread they are, as `logging` does for each record.
    """
    import threading  # noqa: PLC0415 - the thread that imports it first is taken for the main thread

    return sum(
        not (type(each).__name__ == "_DummyThread" and each.ident in _started)
        for each in threading.enumerate()
    )


class Builtin(staticmethod):  # type: ignore[type-arg]  # takes none at run time
    """A function in the place of one of C, which as a class's attribute is no method either.

    Programs have such attributes: ``open = io.open``, ``sleep = time.sleep``.
    """

    def __init__(self, function: Callable[..., Any], module: ModuleType, name: str) -> None:
        super().__init__(function)
        self.__name__ = self.__qualname__ = name
        self.__module__ = module.__name__
        self.__doc__ = getattr(module, name).__doc__

    def __reduce__(self) -> str:
        return self.__name__  # pickled by name, for pools of processes

    def __repr__(self) -> str:
        return f"<built-in function {self.__name__}>"


def put_in_place(module: ModuleType, name: str, ours: Callable[..., Any]) -> None:
    """Put a function of ours in the place of a module's, under its name and with its documentation."""
    setattr(module, name, Builtin(ours, module, name))
