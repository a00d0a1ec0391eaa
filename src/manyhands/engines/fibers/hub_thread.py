"""Where fibers live: a thread with a hub, which is there for as long as anybody lives in it."""

import itertools
import threading
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
from gevent import monkey

from manyhands.engines.fibers import interrupts
from manyhands.engines.fibers.foreign_threads import native_thread
from manyhands.engines.fibers.poller import Poller
from manyhands.engines.fibers.watchdog import Watchdog
from manyhands.runtime.unpatched import brief_lock

_numbers = itertools.count(1)


class Home:
    """A thread in which fibers run, with its hub and its poller.

    In a program whose threads gevent has made fibers (`gevent.monkey`) it is one more of these, and the
    hub is that of the thread they all share.

    Parameters
    ----------
    watchdog
        Makes what watches over the hub, once the home is there.

    Notes
    -----
    Thread-safe, but for what says otherwise. The exit of the interpreter does not wait for the thread, which
    therefore has to be ended (`end`).
    """

    hub: Any
    poller: Poller
    _watchdog: Watchdog | None = None

    def __init__(self, watchdog: Callable[["Home"], Watchdog] | None = None) -> None:
        self._lock = brief_lock()
        self._is_gone = False
        self._residents = 1  # whoever makes it
        # Of conversations; touched in the thread of the fibers alone, so without the lock.
        self._fibers = 0
        self.has_ended = False
        """Whether nobody can move in any more."""

        self._is_ready = threading.Event()
        self._failure: BaseException | None = None
        # Then the hub, and the thread of the operating system, are those of the whole program.
        self._is_shared = monkey.is_module_patched("threading")
        self._thread = self._begin()
        self._is_ready.wait()
        if self._failure is not None:
            raise self._failure
        try:
            self._watchdog = None if watchdog is None else watchdog(self)
        except BaseException:
            self._send_all_away()  # nobody will ever live there
            raise

    def _begin(self) -> Any:
        if self._is_shared:
            # A `Thread` takes locks of gevent's, which a signal that comes just then would leave taken.
            return gevent.spawn(self._live)
        name = f"manyhands-fibers-{next(_numbers)}"
        thread = threading.Thread(target=self._live, name=name, daemon=True)
        thread.start()
        return thread

    def is_here(self) -> bool:
        """Tell whether the caller runs in this home's thread."""
        is_here: bool = self.poller.thread == native_thread()
        return is_here

    def move_in(self) -> bool:
        """Have the thread stay until `move_out`; return False when it has ended already."""
        with self._lock:
            if not self.has_ended:
                self._residents += 1
            return not self.has_ended

    def move_out(self) -> None:
        """Let the thread end when nobody else is there. For its own fibers."""
        with self._lock:
            self._residents -= 1
        self._look_whether_empty()

    def fiber_begins(self) -> None:
        """Note that one more conversation lives here. At home."""
        self._fibers += 1

    def fiber_ends(self) -> None:
        """Note that one conversation less lives here. At home."""
        self._fibers -= 1
        self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        # Not whenever the last conversation has ended: while an accept loop lives here, that is nothing.
        if self._is_empty():
            self._may_be_empty.set()

    def end_if_empty(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, unless somebody lives there, or it is the caller's own.

        At most for `timeout` seconds: its hub waits for what `blocking` has under way.
        """
        with self._lock:
            self.has_ended = self.has_ended or self._is_empty()
            has_ended = self.has_ended
        if has_ended and (self._is_shared or not self.is_here()):
            # Again: a signal may have come between the last one's move and its word of it.
            self.call(self._may_be_empty.set)
            self._thread.join(timeout)

    def end(self, timeout: float) -> None:
        """End the thread, whoever lives there; wait for that at most `timeout` seconds.

        Of a thread that all fibers of the program share there is nothing to end.
        """
        if self._is_shared or self.is_here():
            return
        self._send_all_away()
        self._thread.join(timeout)

    def _send_all_away(self) -> None:
        with self._lock:
            self.has_ended = True
        self.call(self._may_be_empty.set)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have `function` called in the hub, soon, unless the hub has gone. It must not block."""
        loop = self.hub.loop
        if self.is_here():
            loop.run_callback(function, *arguments)
            return
        with self._lock:
            if not self._is_gone:
                loop.run_callback_threadsafe(function, *arguments)

    def _live(self) -> None:
        try:
            self.hub = gevent.get_hub()
            self.poller = Poller(self.hub)
            self._may_be_empty = gevent.event.Event()
        except BaseException as failure:  # noqa: BLE001 - raised in the thread that wants the home
            self._failure = failure
            return
        finally:
            self._is_ready.set()
        is_cleared_away = False
        while not is_cleared_away:
            try:
                self._wait_until_empty()
                self._clear_away()
                is_cleared_away = True
            except BaseException as failure:
                # In a program whose threads are fibers, what a signal raises may come out here.
                if not interrupts.hand_over(failure, self.hub):
                    raise
        if not self._is_shared:
            self.hub.destroy(destroy_loop=True)

    def _wait_until_empty(self) -> None:
        while not self.has_ended:
            self._may_be_empty.wait()
            self._may_be_empty.clear()
            with self._lock:
                self.has_ended = self.has_ended or self._is_empty()

    def _clear_away(self) -> None:
        """Give back what the thread had. Once more does no harm."""
        if self._watchdog is not None:
            self._watchdog.close()
        with self._lock:
            self._is_gone = True
        self.poller.close()

    def _is_empty(self) -> bool:
        return not self._residents and not self._fibers
