"""What signal handlers raise, in a program whose threads gevent has made fibers: it goes to the main code.

Python calls a signal handler wherever the main thread is at that moment, which under `gevent.monkey` may be
any fiber. A `KeyboardInterrupt` that is raised there ends one connection, or is swallowed by its ``except:``;
the program that has to end, or that waits for its alarm, never hears of it. On threads it is the main code's.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from manyhands.runtime.caller import current_thread_or_fiber, hub_of_thread
from manyhands.runtime.unpatched import put_in_place


class _ForMainCode:
    """A signal handler of the program, called in any fiber; what it raises is raised in the main code."""

    __slots__ = ("handler",)

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        hub = _hub_of_caller()
        if hub is None:
            return self.handler(number, frame)
        if current_thread_or_fiber() is hub:
            # All fibers wait. The hub itself must not, but a handler may: it starts threads, or prints.
            sys.modules["gevent"].spawn(self._call, hub, number)
        else:
            # At once, as it would come on threads.
            self._call(hub, number)
        return None

    def _call(self, hub: Any, number: int) -> None:
        main, fiber = _main_code.greenlet, current_thread_or_fiber()
        is_nested = fiber in _handling
        _handling.add(fiber)
        try:
            self.handler(number, main.gr_frame)  # the frame that it would see on threads
        except BaseException as failure:
            if _is_end_of_fiber(failure):
                raise  # thrown into the fiber, while the handler waited in it
            # Not by a switch from here: the fiber may hold a lock of the system, and the main code that wants
            # it would stop the only thread.
            hub.loop.run_callback(_throw, main, failure)
        finally:
            if not is_nested:
                _handling.discard(fiber)


_handling: set[object] = set()
"""The fibers in which a signal handler runs."""


class _MainCode:
    """Whose code is the program's main code: in a copy of the process, the code that forked it."""

    def __init__(self) -> None:
        self.greenlet: Any = None
        self.is_looked_after = False
        self.is_alone = False
        """Whether the main code alone may set signal handlers, as on threads."""

    def note(self) -> None:
        self.greenlet = current_thread_or_fiber()
        if not self.is_looked_after:
            while self.greenlet.parent is not None:
                self.greenlet = self.greenlet.parent


_main_code = _MainCode()


def _hub_of_caller() -> Any:
    """Return the hub that the caller's fiber belongs to, or is; None of the main code and its coroutines."""
    hub: Any = hub_of_thread()
    fiber: Any = current_thread_or_fiber()
    while hub is not None and fiber is not None and fiber is not _main_code.greenlet:
        if fiber is hub:
            return hub
        fiber = fiber.parent
    return None


def _is_end_of_fiber(failure: BaseException) -> bool:
    return isinstance(failure, sys.modules["greenlet"].GreenletExit)


def _throw(fiber: Any, failure: BaseException) -> None:
    if not fiber.dead:
        fiber.throw(type(failure), failure, failure.__traceback__)


def throw_at_next_wait(failure: BaseException) -> None:
    """Have an exception raised in the calling fiber where it waits next, since its C code raises none."""
    hub_of_thread().loop.run_callback(_throw, current_thread_or_fiber(), failure)


_set_handler, _get_handler = signal.signal, signal.getsignal


def _own(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _ForMainCode) else handler


def _for_main_code(handler: Any) -> Any:
    return _ForMainCode(handler) if callable(handler) else handler


def _set_signal(signalnum: Any, handler: Any) -> Any:
    is_main = not _main_code.is_alone or _hub_of_caller() is None
    if not is_main and current_thread_or_fiber() not in _handling:
        # A handler's alarm, say, would be raised in the main code. On threads it hears that it cannot be set.
        raise ValueError("signal only works in main thread of the main interpreter")
    return set_handler(signalnum, handler)


def set_handler(signalnum: Any, handler: Any) -> Any:
    """Set a signal handler, as `signal.signal` does, in whichever fiber."""
    return _own(_set_handler(signalnum, _for_main_code(handler)))


def _get_signal(signalnum: Any) -> Any:
    return _own(_get_handler(signalnum))


def raise_in_main_code(*, alone: bool = False) -> None:
    """Have what signal handlers raise from now on raised in the main code. For the main thread.

    `signal.signal` and `signal.getsignal` go on giving the program its own handlers. With `alone` the main
    code alone may set one, and signal handlers themselves.
    """
    global _set_handler, _get_handler
    if _main_code.is_looked_after:
        return
    _main_code.note()
    _main_code.is_looked_after, _main_code.is_alone = True, alone
    os.register_at_fork(after_in_child=_main_code.note)
    _set_handler, _get_handler = signal.signal, signal.getsignal
    put_in_place(signal, "signal", _set_signal)
    put_in_place(signal, "getsignal", _get_signal)
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            set_handler(number, handler)
