"""The thread of the fibers, with gevent's hub and the poller, and the watch over its turning."""

import itertools
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import CodeType, FrameType
from typing import Any

import gevent
import gevent.event
from gevent import monkey
from gevent.hub import Hub
from greenlet import greenlet

from manyhands.engines.fibers.foreign_threads import native_thread_id
from manyhands.engines.fibers.poller import Poller
from manyhands.model import lazy_events as events
from manyhands.model.event_hub import event_hub
from manyhands.runtime.locks import Latch
from manyhands.runtime.main_code import raise_in_main_code
from manyhands.runtime.thread_frames import current_frames
from manyhands.runtime.unpatched import brief_lock, start_native_thread
from manyhands.runtime.wakeup import WakeUp

_numbers = itertools.count(1)


_sleep = monkey.get_original("time", "sleep")
_frames_of_threads = monkey.get_original("sys", "_current_frames")

COMPUTES, WAITS_IN_C = "it computes", "it waits in C code"
"""The rows of the table in docs/drop-in.md that a `HubBlocked` event names."""

COMPUTING_SHARE = 0.1
"""The part of the time in which a fiber that computes has the processor, be the machine loaded. One that
waits has it for next to none."""

LOOKS_PER_LIMIT = 4
"""Looks within the time that is allowed: so much finer is the time that is told."""

LAST_LOOK = 0.1
"""Seconds that the end of a thread is waited for once more that has been waited for in vain."""

_ASLEEP: CodeType = Hub.run.__code__


class Watchdog:
    """Tells, as events, when a hub does not turn for longer than is allowed, and when it does again.

    A fiber holds up all the others in a C function, or in a long computation. A thread looks at the hub from
    outside, several times within the time that is allowed; so the fibers pay nothing for it. A hub whose loop
    has not turned since the last look is either asleep, and then the frame on top of its thread is its own,
    or it waits for the fiber whose frame is on top there.

    Parameters
    ----------
    hub : gevent.hub.Hub
        The hub to watch.
    thread : int
        The hub's thread.
    allowed : callable
        Returns the seconds that one fiber may take before it lets others run; None for as long as it
        likes. Asked at each look.
    served_by : callable
        Returns what a frame of the hub's thread serves: the name of the handler and the client's address.
    """

    def __init__(
        self,
        hub: Any,
        thread: int,
        allowed: Callable[[], float | None],
        served_by: Callable[[FrameType], tuple[str, object]],
    ) -> None:
        self._hub = hub
        self._thread = thread
        self._allowed = allowed
        self._served_by = served_by
        self._turn = -1
        self._since = time.monotonic()
        self._clock = time.pthread_getcpuclockid(thread)
        self._worked = time.clock_gettime(self._clock)
        self._blocking: tuple[str, object] | None = None
        self._is_closed = False
        start_native_thread(self._run, name="manyhands-hub-watchdog")

    def close(self) -> None:
        """Stop. Before the hub goes."""
        self._is_closed = True

    def _run(self) -> None:
        while not self._is_closed:
            allowed = self._allowed()
            _sleep((0.1 if allowed is None else allowed) / LOOKS_PER_LIMIT)
            # Between these two lines the interpreter lock is held, so the hub is there or it is closed.
            if not self._is_closed:
                self._look(time.monotonic(), allowed)

    def _look(self, now: float, allowed: float | None) -> None:
        # libev counts the turns of its loop anyway (`ev_iteration`), so the hub has no work with this.
        turn = self._hub.loop.iteration
        frame = None if turn != self._turn else current_frames(_frames_of_threads).get(self._thread)
        if frame is None or frame.f_code is _ASLEEP:
            self._goes_on(now)
            self._turn, self._since = turn, now
            self._worked = time.clock_gettime(self._clock)
        elif allowed is not None and now - self._since >= allowed and self._blocking is None:
            self._blocking = self._served_by(frame)
            stack = "".join(traceback.format_stack(frame))
            if event_hub.has_subscribers:
                seconds = now - self._since
                event_hub.emit(
                    events.HubBlocked(*self._blocking, seconds, stack, self._cause(seconds))
                )

    def _cause(self, seconds: float) -> str:
        worked = time.clock_gettime(self._clock) - self._worked
        return COMPUTES if worked >= COMPUTING_SHARE * seconds else WAITS_IN_C

    def _goes_on(self, now: float) -> None:
        if self._blocking is not None:
            if event_hub.has_subscribers:
                event_hub.emit(events.HubUnblocked(*self._blocking, now - self._since))
            self._blocking = None


class HubThread:
    """A thread in which fibers run, with its hub and its poller.

    It goes on for as long as it has users (`hold`, `release`) or fibers that carry tasks (`fibers`). In a
    program whose threads gevent has made fibers (`gevent.monkey`) it is one more of these, and the hub is
    that of the thread they all share.

    Parameters
    ----------
    watchdog
        Makes what watches over the hub, once that is there.

    Notes
    -----
    Thread-safe, but for what says otherwise. The exit of the interpreter does not wait for the thread, which
    therefore has to be ended (`end`).
    """

    hub: Any
    poller: Poller

    def __init__(self, watchdog: Callable[["HubThread"], Watchdog] | None = None) -> None:
        self.fibers = 0
        """How many fibers carry tasks here. Changed in this thread alone, so without the lock."""

        self.is_ending = False
        """Whether it takes no further users."""

        self.is_held_up = False
        """Whether its end was waited for in vain: a thread of `blocking` holds it up, or a fiber."""

        self._asked: float | None = None
        """When the look for `lateness` was begun that is under way."""

        self._lateness: float | None = None
        self._lock = brief_lock()
        self._users = 1  # the caller
        self._has_hub_gone = False
        self._watchdog: Watchdog | None = None
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
            self._ask_to_end()  # the caller never gets it
            raise

    def _begin(self) -> Any:
        if self._is_shared:
            # A `Thread` takes locks of gevent's, which a signal that comes just then would leave taken.
            return gevent.spawn(self._main)
        name = f"manyhands-fibers-{next(_numbers)}"
        # A daemon: the interpreter's exit waits for the fibers that count, not for their thread (`ends`).
        thread = threading.Thread(target=self._main, name=name, daemon=True)
        thread.start()
        return thread

    def is_current(self) -> bool:
        """Tell whether the caller runs in this thread."""
        is_current: bool = self.poller.thread == native_thread_id()
        return is_current

    def hold(self) -> bool:
        """Have the thread go on until `release`; return False when it is ending already."""
        with self._lock:
            if not self.is_ending:
                self._users += 1
            return not self.is_ending

    def release(self) -> None:
        """Let the thread end when nothing else needs it. In this thread."""
        with self._lock:
            self._users -= 1
        self.notice_disuse()

    def notice_disuse(self) -> None:
        """End soon if nothing needs the thread. In this thread, when it has one user or one fiber less."""
        # Not whenever the last fiber has ended: while an accept loop runs here, that is nothing.
        if not self.fibers and not self._users:
            self._may_be_unused.set()

    def end_if_unused(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, unless something needs it, or it is the caller's own.

        At most for `timeout` seconds: its hub waits for what `blocking` has under way.
        """
        with self._lock:
            self.is_ending = is_ending = self.is_ending or self._is_unused()
        if is_ending and (self._is_shared or not self.is_current()):
            # Again: a signal may have come between the last `release` and its notice.
            self.call(self._may_be_unused.set)
            self._join(timeout)

    def end(self, timeout: float) -> None:
        """End the thread, whatever runs in it; wait for that at most `timeout` seconds.

        Hardly at all if that was in vain before. Of a thread that all fibers of the program share there is
        nothing to end.
        """
        if self._is_shared or self.is_current():
            return
        self._ask_to_end()
        self._join(min(timeout, LAST_LOOK) if self.is_held_up else timeout)

    def _join(self, timeout: float | None) -> None:
        self._thread.join(timeout)
        self.is_held_up = not self._is_shared and self._thread.is_alive()

    def _ask_to_end(self) -> None:
        with self._lock:
            self.is_ending = True
        self.call(self._may_be_unused.set)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Have `function` called in the hub, soon, unless the hub has gone. It must not block."""
        loop = self.hub.loop
        if self.is_current():
            loop.run_callback(function, *arguments)
            return
        # The lock keeps the hub from going meanwhile: a call to a loop that was destroyed crashes.
        with self._lock:
            if not self._has_hub_gone:
                loop.run_callback_threadsafe(function, *arguments)

    def delay(self, at_most: float) -> float | None:
        """Measure how late the hub calls what another thread asks for: as `Engine.hub_delay`."""
        if self.is_ending or self.is_current():
            return None
        latch, asked = Latch(), time.monotonic()
        self.call(latch.set)
        latch.wait(at_most)
        return min(time.monotonic() - asked, at_most)

    def lateness(self) -> float | None:
        """Return how late the hub was lately, and have it looked at again: as `Engine.hub_lateness`."""
        if self.is_ending or self.is_current():
            return None
        asked, now = self._asked, time.monotonic()
        if asked is None:
            self._asked = now
            self.call(self._note_answer)
            return self._lateness
        return max(self._lateness or 0.0, now - asked)

    def _note_answer(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            self._lateness = time.monotonic() - asked

    def spawn(self, function: Callable[[], object]) -> None:
        """Run `function` in a fiber, soon, and `release` the thread then: the caller holds it for that."""

        def main() -> None:
            try:
                function()
            finally:
                self.release()

        self.call(lambda: greenlet(main, self.hub).switch())

    def throw_later(
        self, exception: type[BaseException], fibers: Iterable[greenlet], seconds: float
    ) -> None:
        """Have an exception raised in fibers, whatever they wait for, unless they have ended by then."""
        # Weakly, lest a fiber that ends at once be kept until then, with all that its frames have.
        self.call(self._start_throwing, exception, weakref.WeakSet(fibers), seconds)

    def _start_throwing(
        self, exception: type[BaseException], fibers: "weakref.WeakSet[greenlet]", seconds: float
    ) -> None:
        def throw() -> None:
            for fiber in list(fibers):
                if not fiber.dead:
                    fiber.throw(exception)

        self.call_later(seconds, throw)

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Have the hub call `function` after so many seconds. For the hub."""
        timer = self.hub.loop.timer(seconds)

        def act() -> None:
            timer.close()
            function()

        timer.start(act)

    def run(self, loop: Callable[[], None], stop: Callable[[], None]) -> None:
        """Run an accept loop here to its end, and `release` the thread: the caller holds it for that.

        Parameters
        ----------
        loop
            The loop. What it raises is raised.
        stop
            Ends the loop, from any thread.
        """
        if self.is_current():
            try:
                loop()
            finally:
                self.release()
            return
        outcome: Future[None] = Future()

        def main() -> None:
            try:
                loop()
            except BaseException as failure:  # noqa: BLE001 - raised in the thread that called `run`
                outcome.set_exception(failure)
            else:
                outcome.set_result(None)

        self.spawn(main)
        try:
            _wait_for(outcome)
        except BaseException:
            # Of the loop; or of the caller, such as KeyboardInterrupt, and then the loop still goes on.
            stop()
            outcome.exception()
            raise
        finally:
            self.end_if_unused()

    def _main(self) -> None:
        try:
            self.hub = gevent.get_hub()
            if self._is_shared and self.hub.main_hub:
                raise_in_main_code()
            self.poller = Poller(self.hub)
            self._may_be_unused = gevent.event.Event()
        except BaseException as failure:  # noqa: BLE001 - raised in the thread that wants this one
            self._failure = failure
            return
        finally:
            self._is_ready.set()
        self._wait_until_unused()
        self._clear_away()
        if not self._is_shared:
            # gevent keeps a hub's loop, with its descriptors, until it is told to destroy it.
            self.hub.destroy(destroy_loop=True)

    def _wait_until_unused(self) -> None:
        while not self.is_ending:
            self._may_be_unused.wait()
            # Before the look, lest a notice that comes in between be lost.
            self._may_be_unused.clear()
            with self._lock:
                self.is_ending = self.is_ending or self._is_unused()

    def _clear_away(self) -> None:
        """Give back what the thread had."""
        # The watchdog first: it reads the loop's counter, which must not be gone by then.
        if self._watchdog is not None:
            self._watchdog.close()
        with self._lock:
            self._has_hub_gone = True
        self.poller.close()

    def _is_unused(self) -> bool:
        return not self._users and not self.fibers


def _wait_for(outcome: "Future[None]") -> None:
    """Wait for the outcome of an accept loop, and raise what it raised."""
    if threading.current_thread() is threading.main_thread():
        # The handlers of signals run here alone, and the system does not wake this thread for a signal that
        # another one receives.
        with WakeUp() as wakeup, wakeup.woken_by_signals():
            outcome.add_done_callback(lambda _: wakeup.wake())
            wakeup.wait_until(outcome.done)
    outcome.result()
