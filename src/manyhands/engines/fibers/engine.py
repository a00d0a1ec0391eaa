"""The fiber engine: a fiber for each conversation, all of them in one thread."""

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from types import FrameType
from typing import Any

from gevent import monkey
from greenlet import GreenletExit, getcurrent, greenlet

from manyhands.engines.engine import Engine, Task
from manyhands.engines.fibers import at_exit, interrupts, sockets, tls_sockets
from manyhands.engines.fibers.hub_thread import Home
from manyhands.engines.fibers.interrupts import fulfil, report
from manyhands.engines.fibers.selector import FiberSelector
from manyhands.engines.fibers.sockets import Adoption, FiberSocket
from manyhands.engines.fibers.watchdog import Watchdog
from manyhands.runtime import compiled
from manyhands.runtime.caller import current_task
from manyhands.runtime.locks import Latch

LAST_WORDS = 0.5
"""Seconds that fibers get to unwind after their connections were cut off; then their waits are ended too."""

LAST_TURNS = 1.0
"""Seconds that the exit of the interpreter gives to what it does not wait for, accept loops and the hub; and
that a `join` with an end gives to the hub, which waits for the threads of `blocking`."""


class Fiber(greenlet):
    """A fiber that carries a task."""

    __slots__ = ("is_daemon", "task")

    task: Task
    is_daemon: bool
    """Whether neither the exit of the interpreter nor the end of the server waits for it."""


class FibersEngine(Engine):
    """Gives each connection a fiber: plain, blocking code that lets others run while it waits.

    The fibers, and the accept loop that starts them, have a thread of their own, the *home*. So they go on
    when the thread that called `serve_forever` has gone, as threads would. In a program whose threads
    gevent has made fibers, all of that is one thread.
    """

    name = "fibers"
    knows_its_callers = True
    at_once = 64

    def __init__(self) -> None:
        super().__init__()
        compiled.keep_frame_memory()
        self.forget()
        at_exit.look_after(self)

    def forget(self) -> None:
        """Begin anew: the copy has not the thread that the fibers live in."""
        home = getattr(self, "_home", None)
        if home is not None:
            home.poller.forget()
        self._home: Home | None = None
        self._lock = threading.Lock()  # for whoever starts tasks from other threads
        self._fibers: set[Fiber] = set()
        self._coming: set[Task] = set()  # from other threads
        self._arriving: deque[Task] = deque()
        self._waiting: set[Latch] = set()
        self._joiners: set[Fiber] = set()
        self._loops: dict[
            Callable[[], None], bool
        ] = {}  # how to stop each; whether exit waits for it
        self._adoption = Adoption()
        self._is_over = False  # from the exit of the interpreter on

    def run(self, loop: Callable[[], None], stop: Callable[[], None]) -> None:
        """Run an accept loop in the home, where handing over a connection costs no switch of threads."""
        # In the one thread that there is, another loop on the same listeners could do no more than the first.
        while not self._claims_the_loop(stop):
            if self._is_over:
                return  # nor can there be another home: what runs in it could not be ended
            self._wait_for_an_end(None, lambda: not self._loops)
        try:
            self._run_at_home(loop, stop)
        except RuntimeError as error:
            # A daemon thread that came to it too late: nobody waits for what it would do.
            if not (threading.current_thread().daemon and at_exit.forbids_threads(error)):
                raise
        finally:
            self._loops.pop(stop, None)  # a copy of the process has forgotten it
            self._tell_joiners()

    def _claims_the_loop(self, stop: Callable[[], None]) -> bool:
        with self._lock:
            is_free = not self._loops and not self._is_over
            if is_free:
                # Exit waits for the thread that called, or not: here it is the same.
                self._loops[stop] = not threading.current_thread().daemon
        return is_free

    def _run_at_home(self, loop: Callable[[], None], stop: Callable[[], None]) -> None:
        home = self._enter()
        if home.is_here():
            try:
                self._run_here(home, loop)
            finally:
                home.move_out()
            return
        outcome: Future[None] = Future()
        home.call(self._spawn, home, lambda: fulfil(outcome, loop))
        try:
            outcome.result()
        except BaseException:
            # Of the loop; or of the caller, such as KeyboardInterrupt, and then the loop still goes on.
            stop()
            outcome.exception()
            raise
        finally:
            self._leave_home()

    def _run_here(self, home: Home, loop: Callable[[], None]) -> None:
        while True:
            try:
                loop()
            except BaseException as failure:
                if not interrupts.hand_over(failure, home.hub):
                    raise
            else:
                return

    def _enter(self) -> Home:
        with self._lock:
            if self._home is None or not self._home.move_in():
                self._home = Home(self._watchdog)
            return self._home

    def _watchdog(self, home: Home) -> Watchdog:
        return Watchdog(home.hub, home.poller.thread, lambda: self.patience, _served_by)

    def _spawn(self, home: Home, function: Callable[[], object]) -> None:
        """Run `function` in a fiber. Runs in the hub."""

        def live() -> None:
            try:
                function()
            finally:
                home.move_out()

        greenlet(live, home.hub).switch()

    def selector(self) -> FiberSelector:
        """Return what the accept loop waits with in the home."""
        assert self._home is not None  # noqa: S101 - it runs there
        return FiberSelector(self._home.poller)

    def start(self, task: Task) -> None:
        """Serve `task` in a new fiber."""
        while not self.has_room():
            self._wait_for_an_end(None, self.has_room)
        home = self._home
        if home is not None and home.is_here() and not home.has_ended:
            home.fiber_begins()
            # One call for all that come before the loop turns.
            if not self._arriving:
                home.hub.loop.run_callback(self._begin_all, home)
            self._arriving.append(task)
            return
        self._coming.add(task)
        home = self._enter()
        home.call(self._arrive, home, task)

    def _arrive(self, home: Home, task: Task) -> None:
        """Take a task in from another thread. Runs in the hub."""
        home.fiber_begins()
        home.move_out()
        self._arriving.append(task)
        self._coming.discard(task)
        self._begin_all(home)

    def _begin_all(self, home: Home) -> None:
        """Start a fiber for each task that has arrived. Runs in the hub."""
        try:
            while self._arriving:
                fiber = Fiber(self._carry, home.hub)
                fiber.task = self._arriving[0]
                fiber.is_daemon = self.daemon
                self._fibers.add(fiber)
                self._arriving.popleft()
                fiber.switch(home, fiber.task)
        finally:
            if self._arriving:
                # Out of memory, perhaps: the others are not forgotten.
                home.hub.loop.run_callback(self._begin_all, home)

    def _carry(self, home: Home, task: Task) -> None:
        try:
            task.process_request_thread()
        except GreenletExit:
            return
        except BaseException as failure:  # noqa: BLE001 - as of a thread's
            if not interrupts.hand_over(failure, home.hub):
                report()
        finally:
            if not home.poller.is_open:
                # The handler has forked, and this is the copy: like a thread's, it ends with the handler.
                os._exit(0)
            self._note_end(home)

    def _note_end(self, home: Home) -> None:
        fiber: Any = getcurrent()
        self._discard(fiber)
        home.fiber_ends()

    def accept(self, listener: Any) -> tuple[Any, Any]:
        """Accept one connection: at home, as a fiber's from the start."""
        home = self._home
        if home is not None and home.is_here():
            return self._adoption.accept(listener, home.poller)
        return super().accept(listener)

    def adopt(self, request: Any) -> Any:
        """Return a request as something whose waits let other fibers run. Called by its task."""
        if type(request) is FiberSocket:
            return request  # it was accepted as one
        assert self._home is not None  # noqa: S101 - the task runs there
        return self._adoption.adopt(request, self._home.poller)

    def tls_wrapper(self) -> Callable[..., Any] | None:
        """Return what makes cooperative TLS connections, in the home alone; None where all are so already."""
        home = self._home
        if home is None or not home.is_here() or monkey.is_module_patched("ssl"):
            return None
        return partial(tls_sockets.wrap, poller=home.poller)

    def release(self) -> None:
        """Give back the descriptors that were made for datagram listeners which have been closed."""
        self._adoption.release()

    @property
    def tasks(self) -> list[Task]:
        """The tasks under way."""
        begun = (fiber.task for fiber in self._fibers.copy())
        return [*begun, *self._arriving.copy(), *self._coming.copy()]

    def frames(self) -> dict[Task, FrameType]:
        """Return the frame on top of each fiber."""
        home = self._home
        running = None if home is None else sys._current_frames().get(home.poller.thread)
        frames = ((fiber.task, fiber.gr_frame or running) for fiber in self._fibers.copy())
        return {task: frame for task, frame in frames if frame is not None}

    def beside(self, function: Callable[[], object]) -> None:
        """Call a function in a fiber of its own."""
        home = self._enter()
        home.call(self._spawn, home, partial(_reporting, function))

    def running(self) -> int:
        """Return how many connections are being served."""
        return len(self._fibers) + len(self._arriving) + len(self._coming)

    def reap(self) -> None:
        """Do nothing: a fiber that has ended has cleared itself away."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no connection is being served, but for the one that the caller serves."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._join(deadline, self.running, lambda _: True)

    def _join(
        self,
        deadline: float | None,
        count: Callable[[], int],
        is_counted: Callable[[Fiber], bool],
    ) -> bool:
        task = current_task()
        fiber = next((each for each in self._fibers.copy() if each.task is task), None)
        if fiber is None:
            return self._joined(deadline, lambda: count() == 0)
        self._joiners.add(fiber)
        try:
            # Nor for others that wait here themselves: they would wait for this one.
            return self._joined(
                deadline, lambda: count() <= len([*filter(is_counted, self._joiners.copy())])
            )
        finally:
            self._joiners.discard(fiber)

    def _joined(self, deadline: float | None, condition: Callable[[], bool]) -> bool:
        self._tell_joiners()
        while not condition():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._wait_for_an_end(left, condition)
        self._leave_home(None if deadline is None else LAST_TURNS)
        return True

    def wait_at_exit(self) -> None:
        """Wait for those for whom the exit of the interpreter is to wait."""
        while self._is_waited_for():
            self._wait_for_an_end(None, lambda: not self._is_waited_for())

    def _is_waited_for(self) -> bool:
        return self._awaited() > 0 or any(self._loops.copy().values())

    def end_at_exit(self) -> None:
        """End the thread of the fibers, with whoever is left in it."""
        deadline = time.monotonic() + LAST_TURNS
        with self._lock:
            self._is_over = True
        # Who asks for the end of a loop later, at exit too, waits until it has come.
        for stop in self._loops.copy():
            stop()
        while self._loops and (left := deadline - time.monotonic()) > 0:
            self._wait_for_an_end(left, lambda: not self._loops)
        home = self._home
        if home is not None:
            home.end(max(0.0, deadline - time.monotonic()))

    def _wait_for_an_end(self, timeout: float | None, condition: Callable[[], bool]) -> None:
        latch = Latch()
        self._waiting.add(latch)
        try:
            if not condition():
                latch.wait(timeout)
        finally:
            self._waiting.discard(latch)

    def _tell_joiners(self) -> None:
        for latch in tuple(self._waiting):
            latch.set()

    def _leave_home(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, if nobody lives in it any more."""
        home = self._home
        if home is not None:
            home.end_if_empty(timeout)

    def join_workers(self) -> None:
        """Wait until no connection is being served, but for those of fibers that are daemons."""
        self._join(None, self._awaited, lambda fiber: not fiber.is_daemon)

    def _awaited(self) -> int:
        arriving = 0 if self.daemon else len(self._arriving) + len(self._coming)
        return sum(not fiber.is_daemon for fiber in self._fibers.copy()) + arriving

    def end(self, task: Task) -> None:
        """End a task: its connection at once and, where that does not end it, what it waits for."""
        super().end(task)
        self._throw_soon({fiber for fiber in self._fibers.copy() if fiber.task is task})

    def abandon(self, task: Task) -> None:
        """Count a task no longer; its fiber ends when it will, even if that holds up the hub now."""
        was_full = self.limit is not None and not self.has_room()
        self._fibers.difference_update([f for f in self._fibers.copy() if f.task is task])
        home = self._home
        if home is not None:
            home.call(self._tell_of_room, was_full)

    def _discard(self, fiber: Fiber) -> None:
        if fiber not in self._fibers:
            return  # it was given up on before
        was_full = self.limit is not None and not self.has_room()
        self._fibers.discard(fiber)
        self._tell_of_room(was_full)

    def _tell_of_room(self, was_full: bool) -> None:
        if self._waiting:
            self._tell_joiners()
        if was_full:
            self.on_room()

    def cut_off(self) -> None:
        """End every task, as `end` does."""
        for task in self.tasks:
            super().end(task)
        self._throw_soon(self._fibers.copy())

    def _throw_soon(self, fibers: set[Fiber]) -> None:
        home = self._home
        if home is not None:
            home.call(self._end_soon, home, weakref.WeakSet(fibers))

    def _end_soon(self, home: Home, fibers: "weakref.WeakSet[Any]") -> None:
        timer = home.hub.loop.timer(LAST_WORDS)

        def end() -> None:
            timer.close()
            for fiber in list(fibers):
                # Be it one that has been given up on meanwhile.
                if not fiber.dead:
                    fiber.throw(GreenletExit)

        timer.start(end)


def _reporting(function: Callable[[], object]) -> None:
    try:
        function()
    except BaseException:  # noqa: BLE001 - else it would end the hub
        report()


def _served_by(frame: FrameType | None) -> tuple[str, object]:
    """Return whose conversation a frame of a fiber is in: the handler's name, and the client's address."""
    while frame is not None:
        if frame.f_code is FibersEngine._carry.__code__:
            task: Task = frame.f_locals["task"]
            return task.handler, task.client_address
        frame = frame.f_back
    return "the accept loop", "nobody in particular"


if not monkey.is_module_patched("ssl"):
    tls_sockets.look_at_sockets()
sockets.have_them_sent()
