"""`goodbye`: how a handler is told that its server drains.

It runs beside `handle`, which may be anywhere, in a worker of the same kind: a thread; on fibers, a fiber; in
a forked handler's process, a thread of that process. `finish` waits for its end, so that what it says is said
before the connection closes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from manyhands.runtime.locks import acquire
from manyhands.runtime.wakeup import PollableLatch


class Farewell:
    """The goodbye of one handler: said once, and only while its `handle` runs.

    Parameters
    ----------
    handler
        What has the method `goodbye`.
    """

    __slots__ = ("_handler", "_lock")

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        # Held from when it is due until it was said, and for good once `handle` has ended.
        self._lock = threading.Lock()

    def falls_due(self) -> bool:
        """Have `end` wait until it was said; return False when it is too late to say it."""
        return self._lock.acquire(blocking=False)

    def say(self) -> None:
        """Call `goodbye`. What it raises is the server's `handle_error`'s, unless it is the connection's."""
        handler = self._handler
        try:
            handler.goodbye()
        except OSError:
            return  # the client is gone
        except Exception:  # noqa: BLE001 - whatever a handler raises is handle_error's
            handler.server.handle_error(handler.request, handler.client_address)
        finally:
            self._lock.release()

    def withdraw(self) -> None:
        """Let `end` wait no longer: nobody can say it."""
        self._lock.release()

    def end(self) -> None:
        """Note that `handle` has ended; wait for a goodbye that is due."""
        acquire(self._lock)


@contextmanager
def said_when_it_rings(farewell: Farewell, bell: PollableLatch | None) -> Iterator[None]:
    """Have a thread say a goodbye when the bell rings, in a process that the handler has to itself.

    Without one where no thread can be had.
    """
    if bell is None or not bell.is_inherited():
        yield
        return
    thread = threading.Thread(target=_say_when_it_rings, args=(farewell, bell), daemon=True)
    has_started = _has_started(thread)
    try:
        yield
    finally:
        # Or the handler might end on the end of its connection before the thread has woken.
        if has_started and bell.is_set():
            thread.join()


def _has_started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:
        return False  # no thread can be had
    return True


def _say_when_it_rings(farewell: Farewell, bell: PollableLatch) -> None:
    bell.wait()
    if farewell.falls_due():
        farewell.say()
