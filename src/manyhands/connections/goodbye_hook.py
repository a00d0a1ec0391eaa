"""The `goodbye` hook of handlers, called once when their server begins to drain.

It runs while `handle` does, wherever that is, in a second worker: on threads a thread, on fibers a fiber, in
a forked handler's process a thread of that process. `finish` comes after its return, so what it sends goes
out before the connection closes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from manyhands.runtime.locks import acquire
from manyhands.runtime.wakeup import PollableLatch


class GoodbyeHook:
    """The `goodbye` of one handler: called once, and only while its `handle` runs.

    Parameters
    ----------
    handler
        An object with the method `goodbye`.
    """

    __slots__ = ("_handler", "_lock")

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        # Held from when the hook falls due until it has returned, and for good once `handle` has ended: a
        # drain that comes later finds it taken. Released in another thread than the one that took it, so no
        # RLock.
        self._lock = threading.Lock()

    def falls_due(self) -> bool:
        """Have `end` wait until `call` or `withdraw`; return False when `handle` has ended before."""
        return self._lock.acquire(blocking=False)

    def call(self) -> None:
        """Call `goodbye`; `handle_error` reports what it raises, unless it is the connection's `OSError`."""
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
        """Let `end` wait no longer: there was no worker to call the hook in."""
        self._lock.release()

    def end(self) -> None:
        """Note that `handle` has ended; wait for a `goodbye` that is due."""
        # Not `self._lock.acquire()`: on fibers that would block the thread, and with it the hook's own fiber.
        acquire(self._lock)


@contextmanager
def said_on_notice(goodbye: GoodbyeHook, notice: PollableLatch | None) -> Iterator[None]:
    """In a forked handler's process, have a thread call `goodbye` when the server gives notice of its drain.

    Where the system has no thread to give, the hook is not called. In every other process nothing happens:
    there the drain itself calls the hook.
    """
    if notice is None or not notice.is_inherited():
        yield
        return
    thread = threading.Thread(target=_call_on_notice, args=(goodbye, notice), daemon=True)
    # Without a thread it is not called: see above.
    with suppress(RuntimeError):
        thread.start()
    try:
        yield
    finally:
        # The drain also ends what the connection receives, so `handle` may return before the thread has
        # woken: the join lets `goodbye` have its turn. Without a notice the thread, a daemon, dies with the
        # process.
        if thread.ident is not None and notice.is_set():
            thread.join()


def _call_on_notice(goodbye: GoodbyeHook, notice: PollableLatch) -> None:
    notice.wait()
    if goodbye.falls_due():
        goodbye.call()
