"""The fiber engine: a fiber for each connection, all of them in one thread."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from types import FrameType
from typing import Any

import gevent
from gevent import monkey
from greenlet import GreenletExit, getcurrent, greenlet

from manyhands.engines.engine import Engine, Task
from manyhands.engines.fibers.ends import (
    EndWaits,
    end_at_exit,
    is_exit_without_threads,
    report_failure,
    reporting_failure,
)
from manyhands.engines.fibers.hub_thread import HubThread, Watchdog
from manyhands.engines.fibers.selector import FiberSelector
from manyhands.engines.fibers.sockets import (
    PLAIN_ACCEPTS,
    FiberSocket,
    SocketWrapper,
    let_multiprocessing_send_them,
)
from manyhands.engines.fibers.tls_sockets import let_contexts_make_them, wrap
from manyhands.runtime import compiled
from manyhands.runtime.caller import current_task
from manyhands.runtime.socket_limits import Limits, limits_of
from manyhands.runtime.sockets import accept_at_once, identity, system_socket
from manyhands.runtime.thread_frames import current_frames

UNWIND_TIME = 0.5
"""Seconds that fibers get to unwind after their connections were cut off; then their waits are ended too."""

HUB_END_TIME = 0.5
"""Seconds that the exit of the interpreter gives to what it does not wait for, accept loops and the hub; and
that a `join` with an end gives to the hub, which waits for the threads of `blocking`."""

MEMORY_PAUSE = 0.1
"""Seconds until the next try to begin a fiber for which there was no memory."""

_frames_of_threads = monkey.get_original("sys", "_current_frames")


class Fiber(greenlet):
    """A fiber that carries a task."""

    __slots__ = ("is_daemon", "task")

    task: Task
    is_daemon: bool
    """Whether neither the exit of the interpreter nor the end of the server waits for it."""


class FibersEngine(Engine):
    """Gives each connection a fiber: plain, blocking code that lets others run while it waits.

    The fibers, and the accept loop that starts them, have a thread of their own, the `HubThread`. So they go
    on when the thread that called `serve_forever` has gone, as threads would. In a program whose threads
    gevent has made fibers, all of that is one thread.
    """

    name = "fibers"
    knows_its_callers = True
    wraps_sockets = True
    at_once = 64

    _hub_thread: HubThread | None = None

    def __init__(self) -> None:
        super().__init__()
        compiled.keep_frame_memory()
        self.forget()
        end_at_exit(self)

    def forget(self) -> None:
        """Begin anew: the copy does not have the thread of the fibers."""
        if self._hub_thread is not None:
            self._hub_thread.poller.forget()
        self._hub_thread = None
        self._lock = threading.Lock()  # for threads that start tasks and loops at the same time
        self._fibers: set[Fiber] = set()
        self._coming: set[Task] = set()  # from other threads
        self._arriving: deque[Task] = deque()
        self._end_waits = EndWaits()
        self._joiners: set[Fiber] = set()
        # How to stop each accept loop, and whether the interpreter's exit waits for it.
        self._loops: dict[Callable[[], None], bool] = {}
        self._sockets = SocketWrapper()
        # What each listener's connections inherit: asked once for each accept loop.
        self._limits: dict[Any, Limits | None] = {}
        self._is_at_exit = False

    # The thread of the fibers, and the accept loop in it.

    def _hold_hub_thread(self) -> HubThread:
        """Return the thread, made if need be; it stays until the caller, or a fiber, releases it."""
        with self._lock:
            if self._hub_thread is None or not self._hub_thread.hold():
                self._hub_thread = HubThread(self._make_watchdog)
            return self._hub_thread

    def _make_watchdog(self, hub_thread: HubThread) -> Watchdog:
        poller = hub_thread.poller
        return Watchdog(hub_thread.hub, poller.thread, lambda: self.hub_block_time, _served_by)

    def run(self, loop: Callable[[], None], stop: Callable[[], None]) -> None:
        """Run an accept loop in the hub thread, where handing over a connection switches no threads."""
        # In the one thread that there is, another loop on the same listeners could do no more than the first.
        while not self._claims_the_loop(stop):
            if self._is_at_exit:
                return  # nor can there be another hub thread: what runs in it could not be ended
            self._end_waits.wait(lambda: not self._loops)
        try:
            self._hold_hub_thread().run(loop, stop)
        except RuntimeError as error:
            # A daemon thread that came to it too late: nothing waits for what it would do.
            if not (threading.current_thread().daemon and is_exit_without_threads(error)):
                raise
        finally:
            self._loops.pop(stop, None)  # a copy of the process has forgotten it
            self._end_waits.notify()

    def _claims_the_loop(self, stop: Callable[[], None]) -> bool:
        with self._lock:
            is_free = not self._loops and not self._is_at_exit
            if is_free:
                # Exit waits for the thread that called, or not: here it is the same.
                self._loops[stop] = not threading.current_thread().daemon
        return is_free

    def selector(self) -> FiberSelector:
        """Return what the accept loop waits with in the hub thread."""
        assert self._hub_thread is not None  # noqa: S101 - it runs there
        self._limits.clear()
        return FiberSelector(self._hub_thread.poller)

    def beside(self, function: Callable[[], object]) -> None:
        """Call a function in a fiber of its own."""
        self._hold_hub_thread().spawn(partial(reporting_failure, function))

    def between_calls(self, task: Task, function: Callable[[], object]) -> bool:  # noqa: ARG002 - of all
        """Call it in the hub's thread: there no fiber is within a call that computes."""
        hub_thread = self._hub_thread
        if hub_thread is None:
            return False
        if hub_thread.is_current():
            function()
        else:
            hub_thread.call(function)
        return True

    def hub_delay(self, at_most: float) -> float | None:
        """Measure how long the hub takes until it does what another thread asks of it."""
        return None if self._hub_thread is None else self._hub_thread.delay(at_most)

    def hub_lateness(self) -> float | None:
        """Return how late the hub was lately."""
        return None if self._hub_thread is None else self._hub_thread.lateness()

    # Tasks: from `start`, through the hub, to their ends.

    def start(self, task: Task) -> None:
        """Serve `task` in a new fiber."""
        while self.limit is not None and not self.has_room():
            self._end_waits.wait(self.has_room)
        hub_thread = self._hub_thread
        if hub_thread is not None and hub_thread.is_current() and not hub_thread.is_ending:
            hub_thread.fibers += 1
            # One call for all that come before the loop turns.
            if not self._arriving:
                hub_thread.hub.loop.run_callback(self._begin_all, hub_thread)
            self._arriving.append(task)
            return
        self._coming.add(task)
        try:
            hub_thread = self._hold_hub_thread()
        except BaseException:
            self._coming.discard(task)  # the system has no thread left
            raise
        hub_thread.call(self._arrive, hub_thread, task)

    def _arrive(self, hub_thread: HubThread, task: Task) -> None:
        """Take a task in from another thread. Runs in the hub."""
        hub_thread.fibers += 1
        hub_thread.release()
        self._arriving.append(task)
        self._coming.discard(task)
        self._begin_all(hub_thread)

    def _begin_all(self, hub_thread: HubThread) -> None:
        """Start a fiber for each task that has arrived. Runs in the hub."""
        fiber: Fiber | None = None
        is_short = False
        try:
            while self._arriving:
                fiber = Fiber(self._carry, hub_thread.hub)
                fiber.task = self._arriving[0]
                fiber.is_daemon = self.daemon
                # In one of the two at any time, so that `tasks` and `running` miss none.
                self._fibers.add(fiber)
                self._arriving.popleft()
                fiber.switch(hub_thread, fiber.task)
                fiber = None
        except MemoryError:
            # There was none for a fiber, or for its first frame: then it has not begun.
            if fiber is not None and fiber in self._fibers:
                self._arriving.appendleft(fiber.task)
                self._fibers.discard(fiber)
            is_short = True
            hub_thread.call_later(MEMORY_PAUSE, partial(self._begin_all, hub_thread))
        finally:
            if self._arriving and not is_short:
                # Whatever was raised: the others are not forgotten.
                hub_thread.hub.loop.run_callback(self._begin_all, hub_thread)

    def _carry(self, hub_thread: HubThread, task: Task) -> None:
        """Serve a task to its end. Runs in its fiber; the watchdog knows it by this function's frame."""
        try:
            task.process_request_thread()
        except GreenletExit:
            return
        except BaseException:  # noqa: BLE001 - as of a thread's
            report_failure()
        finally:
            if not hub_thread.poller.is_open:
                # The handler has forked, and this is the copy, which has no loop to go on with: like a
                # thread's, it ends with the handler.
                os._exit(0)
            fiber: Any = getcurrent()
            if fiber in self._fibers:  # else it was abandoned
                was_full = self.limit is not None and not self.has_room()
                self._fibers.discard(fiber)
                if was_full or self._end_waits.latches:
                    self._note_room(was_full)
            hub_thread.fibers -= 1
            hub_thread.notice_disuse()

    def _note_room(self, was_full: bool) -> None:
        """Tell what waits that there is a task less."""
        self._end_waits.notify()
        if was_full:
            self.on_room()

    # Sockets that let other fibers run.

    def accept(self, listener: Any) -> tuple[Any, Any]:
        """Accept one connection: in the hub thread, as a fiber's from the start."""
        hub_thread = self._hub_thread
        # A listener with an `accept` of its own (TLS, a program's class) is asked for what that returns.
        is_plain = getattr(type(listener), "accept", None) in PLAIN_ACCEPTS
        if not is_plain or hub_thread is None or not hub_thread.is_current():
            return super().accept(listener)
        descriptor, address = accept_at_once(listener)
        accepted = FiberSocket(*identity(listener), descriptor, poller=hub_thread.poller)
        if listener not in self._limits:
            self._limits[listener] = limits_of(system_socket(listener))
        if (limits := self._limits[listener]) is not None:
            accepted.channel.limits = limits  # the kernel hands them on
        return accepted, address

    def adopt(self, request: Any) -> Any:
        """Return a request as something whose waits let other fibers run. Called by its task."""
        if type(request) is FiberSocket:
            return request  # it was accepted as one
        assert self._hub_thread is not None  # noqa: S101 - the task runs there
        return self._sockets.wrap(request, self._hub_thread.poller)

    def tls_wrapper(self) -> Callable[..., Any] | None:
        """Return what makes cooperative TLS connections, in the hub thread; None where all are so already."""
        hub_thread = self._hub_thread
        if hub_thread is None or not hub_thread.is_current() or monkey.is_module_patched("ssl"):
            return None
        return partial(wrap, poller=hub_thread.poller)

    def release(self) -> None:
        """Give back the descriptors that were made for datagram listeners which have been closed."""
        self._sockets.release()

    # What is under way.

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way."""
        begun = (fiber.task for fiber in self._fibers.copy())
        return [*begun, *self._arriving.copy(), *self._coming.copy()]

    def _fibers_of(self, task: Task) -> set[Fiber]:
        """Return the fiber of a task, if it has begun and has not ended."""
        # A copy, made in one step: fibers come and go in their thread, and the caller may be in another.
        return {fiber for fiber in self._fibers.copy() if fiber.task is task}

    def frames(self, tasks: Collection[Task]) -> dict[Task, FrameType]:
        """Return the frame on top of each task's fiber."""
        wanted = set(tasks)
        hub_thread = self._hub_thread
        running = None
        if hub_thread is not None:
            running = current_frames(_frames_of_threads).get(hub_thread.poller.thread)
        # The one that runs has no `gr_frame`: its frame is the one on top of the thread.
        # greenlet makes the frames of a fiber when it is asked for them: only of those that are wanted.
        fibers = [fiber for fiber in self._fibers.copy() if fiber.task in wanted]
        frames = ((fiber.task, fiber.gr_frame or running) for fiber in fibers)
        return {task: frame for task, frame in frames if frame is not None}

    def running(self) -> int:
        """Return how many connections are being served."""
        return len(self._fibers) + len(self._arriving) + len(self._coming)

    def reap(self) -> None:
        """Do nothing: a fiber that has ended has cleared itself away."""

    # Waiting for ends.

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no connection is being served, but for the one that the caller serves."""
        return self._join(timeout, self.running, lambda _: True)

    def join_workers(self) -> None:
        """Wait until no connection is being served, but for those of fibers that are daemons."""
        self._join(None, self._count_awaited, lambda fiber: not fiber.is_daemon)

    def _count_awaited(self) -> int:
        arriving = 0 if self.daemon else len(self._arriving) + len(self._coming)
        return sum(not fiber.is_daemon for fiber in self._fibers.copy()) + arriving

    def _join(
        self,
        timeout: float | None,
        count: Callable[[], int],
        is_counted: Callable[[Fiber], bool],
    ) -> bool:
        """Wait until `count` counts only callers of this, which would wait for each other."""
        deadline = None if timeout is None else time.monotonic() + timeout
        own = self._fibers_of(current_task())

        def is_over() -> bool:
            # A caller outside of the fibers waits for those that wait here too.
            return count() <= (sum(map(is_counted, self._joiners.copy())) if own else 0)

        self._joiners.update(own)
        try:
            self._end_waits.notify()  # there is one joiner more
            while not is_over():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._end_waits.wait(is_over, left)
        finally:
            self._joiners.difference_update(own)
        if self._hub_thread is not None:
            self._hub_thread.end_if_unused(None if deadline is None else HUB_END_TIME)
        return True

    def wait_at_exit(self) -> None:
        """Wait for the tasks and accept loops that the exit of the interpreter is to wait for."""

        def is_over() -> bool:
            return not self._count_awaited() and not any(self._loops.copy().values())

        while not is_over():
            self._end_waits.wait(is_over)

    def end_at_exit(self) -> None:
        """End the thread of the fibers, whatever is left in it."""
        deadline = time.monotonic() + HUB_END_TIME
        with self._lock:
            self._is_at_exit = True
        # What asks for the end of a loop later, at exit too, waits until it has come.
        for stop in self._loops.copy():
            stop()
        while self._loops and (left := deadline - time.monotonic()) > 0:
            self._end_waits.wait(lambda: not self._loops, left)
        if self._hub_thread is not None:
            self._hub_thread.end(max(0.0, deadline - time.monotonic()))

    # Ending tasks.

    def end(self, task: Task) -> None:
        """End a task: its connection at once and, where that does not end it, what it waits for."""
        super().end(task)
        self._throw_into(self._fibers_of(task))

    def cut_off(self) -> None:
        """End every task, as `end` does."""
        for task in self.tasks:
            super().end(task)
        self._throw_into(self._fibers.copy())

    def _throw_into(self, fibers: set[Fiber]) -> None:
        if self._hub_thread is not None:
            self._hub_thread.throw_later(GreenletExit, fibers, UNWIND_TIME)

    def abandon(self, task: Task) -> None:
        """Count a task no longer; its fiber ends when it will, even if that holds up the hub now."""
        was_full = self.limit is not None and not self.has_room()
        self._fibers.difference_update(self._fibers_of(task))
        if self._hub_thread is not None:
            self._hub_thread.call(self._note_room, was_full)


def _served_by(frame: FrameType | None) -> tuple[str, object]:
    """Return the handler's name and the client's address of the connection that a fiber's frame serves."""
    while frame is not None:
        if frame.f_code is FibersEngine._carry.__code__:
            task: Task = frame.f_locals["task"]
            return task.handler, task.client_address
        frame = frame.f_back
    return "the accept loop", "no client"


# gevent loads these when a hub is made, or makes use of them: too late for a program that has another root by
# then (chroot(2)).
for _setting in ("loop", "format_context", "threadpool", "resolver"):
    getattr(gevent.config, _setting)

if not monkey.is_module_patched("ssl"):
    let_contexts_make_them()
let_multiprocessing_send_them()
